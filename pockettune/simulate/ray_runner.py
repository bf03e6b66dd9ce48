"""Clients in many processes, on one machine or on a cluster, by Ray.

Every worker builds the same scene from the same settings; the data set lies once in Ray's shared
memory. Results come back in the order of the cohort, so that sums have the same last bits as in one
process, and only a few are under way at a time, so that memory does not grow with the cohort.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pockettune.errors import ToolMissing
from pockettune.federation import Federation
from pockettune.round import ClientResult, Clients, Runner, ServerState
from pockettune.simulate.settings import Scene, Simulation

__all__ = ["ray_runner"]

_UNDER_WAY = 3  # calls a worker may be ahead by
# Clients in a call: a call costs about as much as a step of a small model.
_CLIENTS_A_CALL = 4


@contextmanager
def ray_runner(simulation: Simulation, scene: Scene, workers: int) -> Iterator[Runner]:
    """A runner with that many processes of one thread each. Raises ToolMissing without Ray."""
    try:
        import ray
    except ImportError as error:
        raise ToolMissing("ray", "pip install 'pockettune[federated]'") from error
    started_here = not ray.is_initialized()
    if started_here:
        ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
    try:
        dataset = ray.put(scene.dataset)
        remote = ray.remote(num_cpus=1)(_Worker)
        pool: list[Any] = [remote.remote(simulation, dataset) for _ in range(workers)]

        def run(
            federation: Federation, state: ServerState, chosen: Sequence[int], clients: Clients
        ) -> Iterator[ClientResult]:
            del federation, clients  # the workers have their own
            shared = ray.put(state)
            waiting: deque[Any] = deque()
            # Few clients go out one by one, so that no worker waits for another's last call.
            size = max(1, min(_CLIENTS_A_CALL, len(chosen) // (4 * workers)))
            for call, start in enumerate(range(0, len(chosen), size)):
                some = chosen[start : start + size]
                waiting.append(pool[call % workers].train.remote(shared, some))
                if len(waiting) >= workers * _UNDER_WAY:
                    yield from ray.get(waiting.popleft())
            while waiting:
                yield from ray.get(waiting.popleft())

        yield run
    finally:
        if started_here:
            ray.shutdown()


class _Worker:
    """One process: the scene, built once, and clients one after the other."""

    def __init__(self, simulation: Simulation, dataset: Any) -> None:
        import torch

        from pockettune.simulate.settings import build

        torch.set_num_threads(1)
        self._scene = build(simulation, dataset)

    def train(self, state: ServerState, chosen: Sequence[int]) -> list[ClientResult]:
        from pockettune.round import one_by_one

        federation, clients = self._scene.federation, self._scene.partition.split
        return list(one_by_one(federation, state, chosen, clients))
