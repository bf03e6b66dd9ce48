"""Small models that a fleet trains whole: an architecture, and its parameters as one pack.

A file in ``pockettune/models/classifiers/`` is a model; its name (``resnet_lite.py`` is
``resnet-lite``) is the model's name everywhere, and listing the folder is the only registry.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call

from pockettune import random
from pockettune.errors import ConfigInvalid
from pockettune.method import View
from pockettune.pack import concatenate, pack_size, unpack, views_of

__all__ = ["Classifier", "Tap", "keep", "load_classifier", "names"]

Tap: TypeAlias = Callable[[str, Tensor], Tensor]
"""Called with an activation's name and value within a forward pass; what it returns is used
instead. This is where activations are quantized."""

_INITIAL_STREAM = 51


def keep(name: str, activation: Tensor) -> Tensor:
    """The tap that changes nothing."""
    del name
    return activation


@dataclass(frozen=True, slots=True)
class Classifier:
    """A model whose parameters travel in packs.

    ``module(inputs, tap)`` maps ``[n, *input_shape]`` to logits ``[n, classes]``, or ``[n, T]`` of
    tokens to ``[n, T, classes]``; its own parameters are on the meta device, so a record costs no
    memory. ``taps`` are the names that it calls its tap with, in order.
    """

    name: str
    module: nn.Module
    input_shape: tuple[int, ...]
    classes: int
    views: tuple[View, ...]
    taps: tuple[str, ...]

    @property
    def size(self) -> int:
        """Number of parameters."""
        return pack_size(self.views)

    @property
    def weights(self) -> tuple[str, ...]:
        """Names of the module's weights, that is, of all its parameters but vectors."""
        named = self.module.named_parameters()
        return tuple(name for name, value in named if value.dim() > 1)

    def width_of(self, weight: str, bits: int, first_last: str) -> int:
        """The bit-width of a weight in a model of ``bits``: with ``first_last`` "eight" the first
        and the last layer have at least 8, with "full" 32, with "same" no other than the rest."""
        if weight not in (self.weights[0], self.weights[-1]) or first_last == "same":
            return bits
        return max(bits, 8) if first_last == "eight" else 32

    def apply(self, parameters: Tensor, inputs: Tensor, tap: Tap = keep) -> Tensor:
        """The logits for a pack of ``parameters`` ``[size]``."""
        return self.apply_named(unpack(self.views, parameters), inputs, tap)

    def apply_named(self, tensors: dict[str, Tensor], inputs: Tensor, tap: Tap = keep) -> Tensor:
        """The logits for parameters by name; names that are not the module's do not matter."""
        own = {name: tensors[name] for name, _ in self.module.named_parameters()}
        logits: Tensor = functional_call(self.module, own, (inputs, tap))
        return logits

    def initial(self, seed: int) -> Tensor:
        """A pack of initial values, float32 ``[size]``: weights and biases uniform within
        ``1 / sqrt(fan_in)`` as PyTorch has them, norms 1 and 0; a function of ``seed`` alone."""
        tensors: dict[str, Tensor] = {}
        for path, module in self.module.named_modules():
            prefix = f"{path}." if path else ""
            own = dict(module.named_parameters(recurse=False))
            for name, parameter in own.items():
                full, shape = prefix + name, tuple(parameter.shape)
                if isinstance(module, nn.GroupNorm | nn.LayerNorm):
                    tensors[full] = torch.full(shape, 1.0 if name == "weight" else 0.0)
                    continue
                fan_in = math.prod(own["weight"].shape[1:])
                index = len(tensors)
                unit = torch.from_numpy(random.uniform(seed, _INITIAL_STREAM, index, shape))
                tensors[full] = (2.0 * unit - 1.0) / math.sqrt(fan_in)
        return concatenate([tensors[view.name] for view in self.views])


def names() -> list[str]:
    """Names of all models, sorted."""
    folder = Path(__file__).parent / "classifiers"
    return sorted(path.stem.replace("_", "-") for path in folder.glob("[a-z]*.py"))


def load_classifier(name: str, input_shape: Sequence[int], classes: int) -> Classifier:
    """The model of that name for inputs of ``input_shape`` (without the batch).

    Raises ConfigInvalid for an unknown name, or a shape or number of classes that the model cannot
    take.
    """
    if name not in names():
        raise ConfigInvalid("model", name, names())
    if classes < 2:
        raise ConfigInvalid("classes", classes, "at least 2")
    source = importlib.import_module(f"pockettune.models.classifiers.{name.replace('-', '_')}")
    shape = tuple(input_shape)
    with torch.device("meta"):
        module: nn.Module = source.build(shape, classes)
        example = torch.zeros((2, *shape), dtype=source.INPUT_DTYPE)
        taps: list[str] = []

        def note(tap_name: str, activation: Tensor) -> Tensor:
            taps.append(tap_name)
            return activation

        module(example, note)
    views = views_of((key, tuple(value.shape)) for key, value in module.named_parameters())
    return Classifier(name, module, shape, classes, views, tuple(taps))
