"""Step 1 of an export for a model that a fleet trains: from names and settings to programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.prepare import Prepared
from export.progress import Advance
from pockettune.errors import ConfigInvalid
from pockettune.method import PLAIN, compose, get

__all__ = ["FederatedRequest", "is_federated", "prepare_federated"]

PREDICTION_BITS = (8, 4)
WIDTHS = (*range(2, 9), 32)


@dataclass(frozen=True, slots=True)
class FederatedRequest:
    """What a person asks for: names of methods and model, the shape of an input without the batch,
    settings of the methods, and options of a client's training by their names there."""

    model: str
    method: str
    input_shape: tuple[int, ...]
    classes: int
    settings: Mapping[str, Any]
    local: Mapping[str, Any]
    bits: Sequence[int] = PREDICTION_BITS
    seed: int = 0
    parameters: Path | None = None
    """Safetensors with the values that training starts from."""


def is_federated(method: str) -> bool:
    """Whether a method is one for fleets, whose bundle is made of the client's stages. Raises
    ConfigInvalid for an unknown one."""
    names = [name for name in method.split("+") if name != PLAIN]
    return all(get(name).export is None for name in names)


def prepare_federated(request: FederatedRequest, advance: Advance) -> Prepared:
    """Bind methods and model, and make the programs of a client.

    Raises ConfigInvalid for an unknown name, a value out of range, or a model that reads anything
    but numbers; of a file of parameters SafetensorsInvalid, TensorMismatch, ModelNotFinite,
    IoFailed.
    """
    for bits in request.bits:
        if bits not in WIDTHS:
            raise ConfigInvalid("predict_bits", bits, "2 to 8, or 32")
    composition = compose(request.method, request.settings)

    # They import torch: a wrong setting should be told without waiting for it.
    from pockettune.aggregate import ServerOptimizer
    from pockettune.federation import bind
    from pockettune.local import LocalTraining
    from pockettune.models.classifier import load_classifier
    from pockettune.models.federated import federated_export
    from pockettune.parameters_file import read_pack

    local = LocalTraining(**request.local)
    advance("making programs", 0, 1)
    model = load_classifier(request.model, request.input_shape, request.classes)
    if len(request.input_shape) < 2:
        raise ConfigInvalid("model", request.model, "a model of pictures or of windows of readings")
    federation = bind(composition, model, local, ServerOptimizer(), seed=request.seed)
    initial = None
    if request.parameters is not None:
        initial = read_pack(request.parameters, federation.model.views)
    parts = federated_export(federation, request.bits, initial)
    advance("", 1, 1)
    unused = ("server", "codec")
    config = {name: v for name, v in federation.description.items() if name not in unused}
    return Prepared(
        model=model.name,
        method=composition.name,
        settings=config,
        bits=32,
        parameters={},
        net=(),
        parts=parts,
    )
