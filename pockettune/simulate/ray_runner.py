"""Clients in many processes, on one machine or on a cluster, by Ray.

Every worker builds the same scene from the same settings; the data set lies once in Ray's shared
memory. Groups come back in the order of the cohort, so that sums have the same last bits as in one
process, and only a few are under way at a time, so that memory does not grow with the cohort.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pockettune.errors import ConfigInvalid, Interrupted, OutOfMemory, PocketTuneError, ToolMissing
from pockettune.federation import Federation
from pockettune.round import Clients, Folded, Runner, ServerState, groups
from pockettune.simulate.settings import Scene, Simulation

__all__ = ["ray_runner"]

_UNDER_WAY = 3  # groups a worker may be ahead by


@contextmanager
def ray_runner(simulation: Simulation, scene: Scene, workers: int) -> Iterator[Runner]:
    """A runner with that many processes of one thread each.

    Raises ConfigInvalid for no process at all, ToolMissing without Ray; a round raises what a
    client raises, OutOfMemory, or Interrupted when a process is gone.
    """
    if workers < 1:
        raise ConfigInvalid("workers", workers, "an integer of at least 1")
    try:
        import ray
    except ImportError as error:
        raise ToolMissing("ray", "pip install 'pockettune[federated]'") from error
    started_here = not ray.is_initialized()
    if started_here:
        ray.init(
            num_cpus=workers,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    try:
        dataset = ray.put(scene.dataset)
        remote = ray.remote(num_cpus=1)(_Worker)
        pool: list[Any] = [remote.remote(simulation, dataset) for _ in range(workers)]

        def run(
            federation: Federation, state: ServerState, chosen: Sequence[int], clients: Clients
        ) -> Iterator[Folded]:
            del federation, clients  # the workers have their own
            shared = ray.put(state)
            waiting: deque[Any] = deque()
            for index, group in enumerate(groups(chosen)):
                waiting.append(pool[index % workers].train.remote(shared, group))
                if len(waiting) >= workers * _UNDER_WAY:
                    yield _result(waiting.popleft())
            while waiting:
                yield _result(waiting.popleft())

        yield run
    finally:
        if started_here:
            ray.shutdown()


def _result(reference: Any) -> Folded:
    """A group's result, once it is there. Raises our own errors as they were raised there."""
    import ray

    try:
        folded: Folded = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, PocketTuneError):
            raise error.cause from None
        raise
    except ray.exceptions.OutOfMemoryError as error:
        raise OutOfMemory("have fewer --workers") from error
    except ray.exceptions.RayActorError as error:
        raise Interrupted("the end of a worker process, perhaps for want of memory") from error
    return folded


class _Worker:
    """One process: the scene, built once, and clients one after the other."""

    def __init__(self, simulation: Simulation, dataset: Any) -> None:
        import torch

        from pockettune.simulate.settings import build

        torch.set_num_threads(1)
        self._scene = build(simulation, dataset)

    def train(self, state: ServerState, group: Sequence[int]) -> Folded:
        from pockettune.round import train_group

        return train_group(self._scene.federation, state, group, self._scene.partition.split)
