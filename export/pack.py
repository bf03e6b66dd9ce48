"""Step 5: programs, initial state and figures as one bundle (``spec/bundle.md``).

Same model, settings and seed give the same bytes: nothing here depends on a clock, a path or a
dictionary's order, and measured differences are rounded.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_UP, Context
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

import pockettune
from export.prepare import Prepared
from pockettune import tensor_file
from pockettune.bundle import open_bundle, write_bundle
from pockettune.method import Cache, MethodExport, StateTensor
from pockettune.program import Program

if TYPE_CHECKING:
    from export.capture import Captured
    from export.lowered import Lowered
    from export.parity import Parity

__all__ = ["Packed", "build_manifest", "initial_state", "pack", "rounded_up"]

STATE_FILE = "state.safetensors"
TOOLS = ("torch",)
ENGINE_TOOLS: Mapping[str, Sequence[str]] = {"onnxruntime": ("onnx", "onnxruntime")}
"""The packages that make and check an engine's programs, where it is not the one of its name."""
PICTURE_TOOLS = ("diffusers", "transformers")


@dataclass(frozen=True, slots=True)
class Packed:
    """A bundle on the disk; ``bytes`` counts all its files, the manifest included."""

    folder: Path
    bundle_id: str
    manifest: Mapping[str, Any]
    bytes: int


def pack(
    prepared: Prepared,
    captured: Sequence[Captured],
    lowered: Sequence[Lowered],
    parity: Mapping[str, Parity],
    folder: Path,
    *,
    measured: Mapping[str, Mapping[str, Any]] | None = None,
) -> Packed:
    """Write the bundle to ``folder``, replacing a bundle there only once this one is complete.

    ``lowered`` is what each engine gets, ``measured`` what the native runner measured, by program.
    Raises ``DiskFull`` or ``IoFailed``; nothing then bears the final name that did not before.
    """
    state = initial_state(prepared.parts.tensors)
    manifest = build_manifest(prepared, captured, lowered, parity, has_state=bool(state))
    for name, figures in (measured or {}).items():
        manifest["budget"]["programs"][name]["measured"] = dict(figures)
    files: dict[str, Path | bytes] = {
        path.name: path for item in lowered for path in item.files.values()
    }
    files |= prepared.parts.files
    if state:
        files[STATE_FILE] = tensor_file.encode(state)
    bundle_id = write_bundle(folder, manifest, files)
    written = open_bundle(folder, verify=False).manifest
    size = sum(entry["bytes"] for entry in written["files"].values())
    size += (folder / "manifest.json").stat().st_size
    return Packed(folder, bundle_id, written, size)


def initial_state(tensors: Mapping[str, StateTensor]) -> dict[str, NDArray[Any]]:
    """The state tensors whose initial value is not all zeros (zeros need no bytes)."""
    return {
        name: tensor.initial.detach().numpy()
        for name, tensor in tensors.items()
        if tensor.initial is not None and bool(tensor.initial.count_nonzero())
    }


def build_manifest(
    prepared: Prepared,
    captured: Sequence[Captured],
    lowered: Sequence[Lowered],
    parity: Mapping[str, Parity],
    *,
    has_state: bool,
) -> dict[str, Any]:
    """The manifest without what the writer fills in: ``files``, ``bundle_id``, ``signature``."""
    parts = prepared.parts
    stored = initial_state(parts.tensors) if has_state else {}
    engines = [ENGINE_TOOLS.get(item.engine, (item.engine,)) for item in lowered]
    tools = (*TOOLS, *itertools.chain(*engines), *(PICTURE_TOOLS if parts.generation else ()))
    return {
        "format": 1,
        "name": f"{prepared.model}, {prepared.method}, {prepared.bits} bits",
        "task": parts.task,
        "method": {"name": prepared.method, "config": dict(prepared.settings)},
        "tools": {
            "pockettune": pockettune.__version__,
            **{name: version(name).partition("+")[0] for name in tools},
        },
        "precision": {"frozen_bits": prepared.bits, "state": "float32", "wire": "float32"},
        "tensors": {
            name: _tensor(tensor, STATE_FILE if name in stored else None)
            for name, tensor in parts.tensors.items()
        },
        "caches": {name: _cache(cache) for name, cache in parts.caches.items()},
        "programs": {program.name: _program(program, lowered) for program in parts.programs},
        **_members(parts),
        "budget": {
            "programs": {
                item.program.name: {
                    "arena_bytes": max(
                        one.programs[item.program.name].arena_bytes for one in lowered
                    ),
                    "weight_bytes": item.statistics.constant_bytes,
                }
                for item in captured
            }
        },
        "parity": {name: _figures(dataclasses.asdict(value)) for name, value in parity.items()},
    }


def _members(parts: MethodExport) -> dict[str, Any]:
    """The manifest's members that a method writes as they stand; those that its task does not have
    are left out."""
    members = {"preparation": list(parts.preparation), "training": dict(parts.training)}
    of_tasks = {
        "generation": parts.generation,
        "text": parts.text,
        "image": parts.image,
        "adapter": parts.adapter,
        "classification": parts.classification,
    }
    return members | {name: dict(value) for name, value in of_tasks.items() if value}


def _tensor(tensor: StateTensor, file: str | None) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "dtype": tensor.dtype,
        "shape": list(tensor.shape),
        "role": tensor.role,
        "file": file,
    }
    if tensor.views:
        entry["views"] = [
            {"name": view.name, "shape": list(view.shape), "offset": view.offset}
            for view in tensor.views
        ]
    return entry


def _cache(cache: Cache) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "dtype": cache.dtype,
        "shape": list(cache.shape),
        "stored": cache.stored,
        "scope": cache.scope,
    }
    if cache.initial is not None:
        entry["initial"] = dict(cache.initial)
    return entry


def _program(program: Program, lowered: Sequence[Lowered]) -> dict[str, Any]:
    return {
        "engines": {
            item.engine: {"file": item.files[program.name].name, "method": program.name}
            for item in lowered
        },
        "inputs": [spec.to_json() for spec in program.inputs],
        "outputs": [spec.to_json() for spec in program.outputs],
    }


def _figures(value: Any) -> Any:
    """Measured differences as the manifest keeps them: floats rounded up to two digits."""
    if isinstance(value, float):
        return rounded_up(value)
    if isinstance(value, Mapping):
        return {str(name): _figures(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [_figures(item) for item in value]
    return value


def rounded_up(value: float) -> float:
    """``value`` to two significant digits, away from zero: never better than it was measured."""
    # By its decimal digits: in binary, 0.0012 would be a little more than it seems and go up.
    return float(Context(prec=2, rounding=ROUND_UP).create_decimal(repr(value)))
