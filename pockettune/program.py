"""Programs: what a method hands to the exporter and the manifest describes to a device.

A program is a pure function of tensors with named, bound inputs and outputs (``spec/bundle.md``,
section 3). This module holds the two records; it imports torch for typing only, so that readers of
a manifest need no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Program", "TensorSpec"]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a program.

    ``dtype`` is a name of ``spec/bundle.md`` ("float32", "int64", ...), ``binding`` one of its
    bindings. The remaining fields are set only where the binding asks for them: ``stream``,
    ``index``, ``low`` and ``high`` for ``random.*``, ``prompt`` for a cache of prompts.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    binding: str
    stream: int | None = None
    index: str | None = None
    low: int | None = None
    high: int | None = None
    prompt: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The manifest's entry: unset fields are left out."""
        entry: dict[str, Any] = {
            "name": self.name,
            "dtype": self.dtype,
            "shape": list(self.shape),
            "binding": self.binding,
        }
        for field in ("stream", "index", "low", "high", "prompt"):
            value = getattr(self, field)
            if value is not None:
                entry[field] = value
        return entry


@dataclass(frozen=True, slots=True)
class Program:
    """A pure function with bound inputs and outputs.

    ``function`` takes the inputs positionally and returns a tuple with the outputs in order; it may
    be called eagerly (this is the reference that the final program is compared with) and traced.
    ``example`` gives inputs of the right shapes and dtypes for a seed; values are typical (a
    random, non-zero adapter; a timestep within range), so that comparing on them means something.
    """

    name: str
    function: Callable[..., tuple[Tensor, ...]]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    example: Callable[[int], tuple[Tensor, ...]]
