"""What lowering gives: the files of a bundle's programs for one engine, and figures of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Lowered", "LoweredProgram", "PortableOperator"]


@dataclass(frozen=True, slots=True)
class PortableOperator:
    """``count`` nodes of ``operator`` that run outside the delegate, for the same ``reason``."""

    operator: str
    count: int
    reason: str


@dataclass(frozen=True, slots=True)
class LoweredProgram:
    """``nodes`` of the graph, ``delegates`` it is cut into, what is left, bytes of the arena.

    An engine without delegates has 0 and nothing that is left.
    """

    nodes: int
    delegates: int
    portable: tuple[PortableOperator, ...]
    arena_bytes: int


@dataclass(frozen=True, slots=True)
class Lowered:
    """Programs for one engine, at ``path``: a file, or a folder with one for each.

    ``files`` says in which file each program is. They have ``bytes`` together, of which
    ``frozen_weight_bytes`` are constants.
    """

    path: Path
    programs: Mapping[str, LoweredProgram]
    bytes: int
    frozen_weight_bytes: int
    engine: str
    files: Mapping[str, Path]
