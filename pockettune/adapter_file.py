"""Adapters as files: what PEFT and diffusers write and read (``spec/bundle.md``, section 6).

A file written here restores rank and alpha in ``pipe.load_lora_weights()``. A file that diffusers
has written fits into a pack even with a smaller rank or another alpha: the scale is folded into B.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pockettune import tensor_file
from pockettune.adapter import METADATA_KEY, PREFIX, AdapterLayout, metadata_of, unpack
from pockettune.errors import SafetensorsInvalid, TensorMismatch

__all__ = ["load_adapter", "save_adapter"]


def save_adapter(path: Path, layout: AdapterLayout, pack: Tensor) -> None:
    """Write a pack, float32 ``[size]``. Raises IoFailed or DiskFull, and leaves no half file."""
    tensors = {name: tensor.detach().numpy() for name, tensor in unpack(layout, pack).items()}
    tensor_file.write(path, tensors, metadata_of(layout))


def load_adapter(path: Path, layout: AdapterLayout, initial: Tensor | None = None) -> Tensor:
    """Read a file into a new pack, float32 ``[size]``.

    Layers that the file leaves out, and ranks that it does not use, take A from ``initial`` (else
    0) and B = 0: they change nothing, and with ``initial`` they can still learn. The file's scale
    is that of its metadata, or 1 without (as in diffusers).

    Raises SafetensorsInvalid, IoFailed, or TensorMismatch for layers outside the layout, a larger
    rank or other sizes.
    """
    found = {
        _current_name(name): torch.from_numpy(np.array(values, dtype=np.float32))
        for name, values in tensor_file.read(path).items()
    }
    config = _config(path, tensor_file.read_header(path).metadata)
    pack = torch.zeros(layout.size) if initial is None else initial.clone()
    slots = unpack(layout, pack)
    foreign = [name for name in found if name not in slots]
    if foreign:
        named = ", ".join(foreign[:3]) + (f" and {len(foreign) - 3} more" if foreign[3:] else "")
        raise TensorMismatch(named, "of a layer without an adapter here", f"one of {len(slots)}")
    for index, module in enumerate(layout.modules):
        a_name, b_name = (view.name for view in layout.views[2 * index : 2 * index + 2])
        slots[b_name].zero_()
        if a_name not in found and b_name not in found:
            continue
        for missing in {a_name, b_name} - found.keys():
            raise TensorMismatch(missing, "missing", "there with its partner")
        a, b = found[a_name], found[b_name]
        rank = a.shape[0] if a.ndim == 2 else 0
        _check(a_name, a, (rank, slots[a_name].shape[1]), layout.rank)
        _check(b_name, b, (slots[b_name].shape[0], rank), layout.rank)
        slots[a_name][:rank] = a
        slots[b_name][:, :rank] = b * (_scale(config, module, rank) / layout.scale)
    return pack


def _current_name(name: str) -> str:
    """PEFT's name for one that diffusers' training scripts still write."""
    return name.replace(".lora.down.", ".lora_A.").replace(".lora.up.", ".lora_B.")


def _check(name: str, tensor: Tensor, shape: tuple[int, ...], largest_rank: int) -> None:
    if tuple(tensor.shape) != shape or not 1 <= min(shape) <= largest_rank:
        raise TensorMismatch(
            name, f"of shape {list(tensor.shape)}", f"{list(shape)} of rank 1 to {largest_rank}"
        )


def _config(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """The adapter's settings as diffusers stores them, without the component's prefix."""
    if METADATA_KEY not in metadata:
        return {}
    try:
        stored = json.loads(metadata[METADATA_KEY])
        config = {key.removeprefix(PREFIX): value for key, value in stored.items()}
        float(config.get("lora_alpha", 0)), dict(config.get("alpha_pattern") or {})
    except (AttributeError, TypeError, ValueError) as error:
        raise SafetensorsInvalid(path, f"its {METADATA_KEY} cannot be read") from error
    return config


def _scale(config: Mapping[str, Any], module: str, rank: int) -> float:
    """The factor of B A that the file means."""
    alpha = config.get("lora_alpha", rank)
    for pattern, value in (config.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            alpha = value
    return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)
