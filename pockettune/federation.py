"""A method bound to a model: every stage decided, those left out as in federated averaging.

Federated averaging is B. McMahan et al., "Communication-Efficient Learning of Deep Networks from
Decentralized Data", arXiv 1602.05629: clients run SGD on their cross-entropy, send the difference
to the server's parameters as it is, and the server adds the mean weighted by examples.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pockettune import checks, random
from pockettune.aggregate import Aggregator, ServerOptimizer, weighted_mean
from pockettune.codecs import Codec, parse_codec
from pockettune.data.dataset import Split
from pockettune.errors import ConfigInvalid
from pockettune.local import LocalTraining, Step, local_step
from pockettune.method import STAGES, Composition, Objective
from pockettune.models.classifier import Classifier
from pockettune.nn import losses

__all__ = ["DEFAULT_CODEC", "Federation", "bind", "cross_entropy_objective"]

DEFAULT_CODEC = "dense:f32"

_CLIENT_SEED_STREAM = 60


@dataclass(frozen=True, slots=True)
class Federation:
    """What is trained, by whom and how. ``description`` is all of it as JSON.

    ``model`` and ``initial`` are those after the method's ``prepare`` and ``init_state``.
    """

    composition: Composition
    model: Classifier
    objective: Objective
    step: Step
    client_data: Callable[[Split, int], Split]
    codec: Codec
    aggregator: Aggregator
    local: LocalTraining
    server: ServerOptimizer
    seed: int
    description: dict[str, Any]

    @property
    def digest(self) -> str:
        """SHA-256 of the description, 64 lower-case hex digits: what an update is bound to where
        there is no bundle."""
        text = json.dumps(self.description, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def initial(self) -> NDArray[np.float32]:
        """The pack that the first round starts from, float32 ``[size]``."""
        given = self.composition.stage("init_state", self.model, seed=self.seed)
        pack: Tensor = self.model.initial(self.seed) if given is None else given
        values: NDArray[np.float32] = pack.numpy()
        return values


def cross_entropy_objective(model: Classifier) -> Objective:
    """The mean cross-entropy of a client's examples, in nats."""

    def loss(
        parameters: dict[str, Tensor], inputs: Tensor, labels: Tensor, weights: Tensor
    ) -> Tensor:
        logits = model.apply_named(parameters, inputs)
        return losses.weighted_mean(losses.cross_entropy(logits, labels), weights)

    return Objective(loss)


def bind(
    composition: Composition,
    model: Classifier,
    local: LocalTraining,
    server: ServerOptimizer,
    *,
    seed: int = 0,
    codec: str | None = None,
) -> Federation:
    """The federation of these parts. ``codec`` names another than the method's.

    Raises ConfigInvalid when ``codec`` is given although the method encodes updates itself, for a
    method that changes nothing of a round, and for a seed out of range.
    """
    for name, method in composition.methods.items():
        if all(getattr(method, stage) is None for stage in STAGES if stage != "export"):
            raise ConfigInvalid("method", name, "those of fleets: it changes nothing of a round")
    checks.integer("seed", seed, 0, 2**64 - 1)
    prepared: Classifier = composition.stage("prepare", model) or model
    objective: Objective = composition.stage("client_loss", prepared) or cross_entropy_objective(
        prepared
    )
    description = {
        "method": composition.name,
        "configs": composition.to_json(),
        "model": model.name,
        "input_shape": list(model.input_shape),
        "classes": model.classes,
        "local": asdict(local),
        "server": asdict(server),
        "codec": codec,
        "seed": seed,
    }

    def client_data(split: Split, client: int) -> Split:
        own_seed = int(random.words(seed, _CLIENT_SEED_STREAM, client, 0, 1).view(np.uint64)[0, 0])
        given = composition.stage("client_data", split, model.classes, seed=own_seed)
        return split if given is None else given

    return Federation(
        composition=composition,
        model=prepared,
        objective=objective,
        step=local_step(prepared, objective, local.make_optimizer(), local.proximal),
        client_data=client_data,
        codec=_codec(composition, codec),
        aggregator=composition.stage("aggregate") or weighted_mean(),
        local=local,
        server=server,
        seed=seed,
        description=description,
    )


def _codec(composition: Composition, text: str | None) -> Codec:
    own: Codec | None = composition.stage("encode")
    if own is None:
        return parse_codec(DEFAULT_CODEC if text is None else text)
    if text is not None:
        raise ConfigInvalid("codec", text, f"none: {composition.name} encodes updates itself")
    return own
