"""Low-rank adapters (LoRA, arXiv 2106.09685) as one flat vector with named views.

A linear layer ``y = W x`` becomes ``y = W x + (alpha / rank) B A x`` with ``A`` ``[rank, in]`` and
``B`` ``[out, rank]``. All A and B of a net lie in one float32 vector, the *pack*, named as PEFT and
diffusers name them in a file: ``unet.<module>.lora_A.weight``. The net itself is never changed:
while a pack is ``attached``, hooks add the update to the outputs of the layers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pockettune.errors import ConfigInvalid
from pockettune.method import View
from pockettune.pack import pack_size
from pockettune.pack import unpack as unpack_views

__all__ = [
    "METADATA_KEY",
    "PREFIX",
    "AdapterLayout",
    "attached",
    "layout_of",
    "merge_",
    "metadata_of",
    "unpack",
]

PREFIX = "unet."
"""The component's prefix of every name in a file."""

METADATA_KEY = "lora_adapter_metadata"
"""Where diffusers keeps rank and alpha in a file's header."""


@dataclass(frozen=True, slots=True)
class AdapterLayout:
    """Where each tensor lies in a pack. ``modules`` are paths of linear layers within the net;
    module i has views 2i (A) and 2i + 1 (B)."""

    rank: int
    alpha: float
    modules: tuple[str, ...]
    views: tuple[View, ...]

    @property
    def size(self) -> int:
        """Number of elements of a pack."""
        return pack_size(self.views)

    @property
    def scale(self) -> float:
        """The factor of ``B A``."""
        return self.alpha / self.rank


def layout_of(
    net: nn.Module, targets: Sequence[str], rank: int, alpha: float, within: Sequence[str] = ("",)
) -> AdapterLayout:
    """The layout for the linear layers of ``net`` whose path ends in one of ``targets`` (PEFT's
    rule) and lies within one of the modules ``within``.

    Raises ConfigInvalid when a target names no such layer.
    """
    linear = {
        name: module
        for name, module in net.named_modules()
        if isinstance(module, nn.Linear)
        and any(part == "" or name.startswith(f"{part}.") for part in within)
    }

    def is_target(name: str, target: str) -> bool:
        return name == target or name.endswith(f".{target}")

    for target in targets:
        if not any(is_target(name, target) for name in linear):
            endings = sorted({_ending(name) for name in linear})
            raise ConfigInvalid("targets", target, endings or "none: no linear layer stays")
    views: list[View] = []
    modules = [name for name in linear if any(is_target(name, target) for target in targets)]
    offset = 0
    for name in modules:
        layer = linear[name]
        shapes = {"lora_A": (rank, layer.in_features), "lora_B": (layer.out_features, rank)}
        for part, shape in shapes.items():
            views.append(View(f"{PREFIX}{name}.{part}.weight", shape, offset))
            offset += math.prod(shape)
    return AdapterLayout(rank, float(alpha), tuple(modules), tuple(views))


def _ending(name: str) -> str:
    """The last part of a path that is not a number, with what follows: "to_out.0"."""
    parts = name.split(".")
    for index in range(len(parts) - 1, 0, -1):
        if not parts[index].isdigit():
            return ".".join(parts[index:])
    return name


def unpack(layout: AdapterLayout, pack: Tensor) -> dict[str, Tensor]:
    """The named tensors of a pack, float32 ``[size]``: views, no copies."""
    return unpack_views(layout.views, pack)


@contextmanager
def attached(
    net: nn.Module, layout: AdapterLayout, tensors: Mapping[str, Tensor]
) -> Iterator[None]:
    """While it lasts, the layers of ``net`` add their low-rank updates from ``tensors`` (by name).

    Take gradients inside too: recomputation runs the layers again.
    """
    handles = []
    try:
        for name, a, b in _pairs(layout, tensors):
            hook = _UpdateHook(a, b, layout.scale)
            handles.append(net.get_submodule(name).register_forward_hook(hook))
        yield
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True, slots=True)
class _UpdateHook:
    a: Tensor
    b: Tensor
    scale: float

    def __call__(self, _: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
        inner = F.linear(arguments[0], self.a)
        # The scale goes on the narrow tensor in the middle, where it is cheapest.
        inner = inner if self.scale == 1.0 else inner * self.scale
        return output + F.linear(inner, self.b)


def _pairs(
    layout: AdapterLayout, tensors: Mapping[str, Tensor]
) -> Iterator[tuple[str, Tensor, Tensor]]:
    for index, name in enumerate(layout.modules):
        a, b = layout.views[2 * index : 2 * index + 2]
        yield name, tensors[a.name], tensors[b.name]


@torch.no_grad()
def merge_(net: nn.Module, layout: AdapterLayout, pack: Tensor, sign: float = 1.0) -> None:
    """Add ``sign * (alpha / rank) B A`` to the weights of ``net`` in place; -1 takes it out."""
    for name, a, b in _pairs(layout, unpack(layout, pack)):
        layer: Any = net.get_submodule(name)
        layer.weight += (b @ a) * (sign * layout.scale)


def metadata_of(layout: AdapterLayout) -> dict[str, str]:
    """The header that lets ``pipe.load_lora_weights()`` restore rank *and* alpha: without it,
    diffusers takes alpha = rank."""
    config = {
        f"{PREFIX}r": layout.rank,
        f"{PREFIX}lora_alpha": layout.alpha,
        f"{PREFIX}target_modules": list(layout.modules),
    }
    return {"format": "pt", METADATA_KEY: json.dumps(config, sort_keys=True)}
