"""A LoRA that was trained elsewhere, made to fit a bundle."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pockettune import tensor_file
from pockettune.bundle import Bundle
from pockettune.errors import BundleManifestInvalid

if TYPE_CHECKING:
    from pockettune.adapter import AdapterLayout

__all__ = ["fitting_adapter"]


def fitting_adapter(bundle: Bundle, adapter: Path, folder: Path) -> Path:
    """A file with exactly the tensors that the bundle's programs take.

    That is ``adapter`` itself when this bundle trained it. A LoRA of diffusers or PEFT (smaller
    rank, another alpha, fewer layers) is converted into a file in ``folder``. Raises
    SafetensorsInvalid, IoFailed, TensorMismatch for layers that the bundle does not adapt, or
    BundleManifestInvalid when the bundle does not say how its adapter is made.
    """
    member = bundle.manifest["adapter"]
    views = bundle.manifest["tensors"][member["tensors"]]["views"]
    header = tensor_file.read_header(adapter)
    found = {name: (entry.dtype, entry.shape) for name, entry in header.entries.items()}
    expected = {view["name"]: ("float32", tuple(view["shape"])) for view in views}
    # The metadata holds alpha: the same tensors with another alpha mean something else.
    if found == expected and dict(header.metadata) == dict(member["metadata"]):
        return adapter

    # It imports torch, which nobody needs for adapters of this bundle's own.
    from pockettune.adapter_file import load_adapter, save_adapter

    layout = _layout(bundle, views, member["metadata"])
    converted = folder / "adapter.safetensors"
    save_adapter(converted, layout, load_adapter(adapter, layout))
    return converted


def _layout(
    bundle: Bundle, views: Sequence[Mapping[str, Any]], metadata: Mapping[str, str]
) -> AdapterLayout:
    """Where each tensor lies in the bundle's pack, from its manifest."""
    from pockettune.adapter import METADATA_KEY, PREFIX, AdapterLayout
    from pockettune.method import View

    try:
        config = json.loads(metadata[METADATA_KEY])
        rank, alpha = config[f"{PREFIX}r"], config[f"{PREFIX}lora_alpha"]
        modules = tuple(config[f"{PREFIX}target_modules"])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        reason = "it does not say rank, alpha and layers as PEFT does"
        raise BundleManifestInvalid(bundle.folder, "adapter.metadata", reason) from error
    return AdapterLayout(
        rank=rank,
        alpha=alpha,
        modules=modules,
        views=tuple(View(view["name"], tuple(view["shape"]), view["offset"]) for view in views),
    )
