"""The five steps in their order, from a request to a bundle on the disk."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.measure import measure
from export.pack import Packed, pack
from export.prepare import Prepared
from export.progress import Advance, StepClock
from export.targets import TARGETS, check_for, lower_for
from pockettune.errors import IoFailed
from pockettune.runner import find_runner

if TYPE_CHECKING:
    from export.capture import Captured
    from export.lowered import Lowered
    from export.parity import Parity

__all__ = ["Exported", "claim_folder", "export_bundle"]


@dataclass(frozen=True, slots=True)
class Exported:
    """Everything that an export found out: ``lowered`` by target, ``seconds`` by step."""

    prepared: Prepared
    lowered: Sequence[Lowered]
    parity: Mapping[str, Parity]
    packed: Packed
    seconds: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """The result for tools: sizes in bytes, times in seconds. What differs between targets is
        told of the first; the others follow under ``others``."""
        manifest = self.packed.manifest
        first, *others = self.lowered
        return {
            "bundle": str(self.packed.folder),
            "bundle_id": self.packed.bundle_id,
            "bundle_bytes": self.packed.bytes,
            **_figures(first),
            "others": [_figures(other) for other in others],
            "method": manifest["method"],
            "precision": manifest["precision"],
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
            "budget": manifest["budget"],
            "parity": manifest["parity"],
        }


def _figures(lowered: Lowered) -> dict[str, Any]:
    programs = lowered.programs
    return {
        "target": lowered.engine,
        "frozen_weight_bytes": lowered.frozen_weight_bytes,
        "program_file_bytes": lowered.bytes,
        "nodes": {name: program.nodes for name, program in programs.items()},
        "delegates": {name: program.delegates for name, program in programs.items()},
        "portable_operators": {
            name: sum(operator.count for operator in program.portable)
            for name, program in programs.items()
        },
    }


def claim_folder(out: Path) -> None:
    """Make sure that a bundle may be written to ``out``, before any work is done for it.

    Raises ``IoFailed`` when ``out`` holds something that is not a bundle, or when its parent
    cannot be created or written.
    """
    if out.name in ("", ".."):
        # The bundle is renamed to its name in the end.
        raise IoFailed("replace", out, "it names no folder of its own, like out/bundle")
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise IoFailed("replace", out, "it is not a folder")
    if out.is_dir() and any(out.iterdir()) and not (out / "manifest.json").is_file():
        raise IoFailed("replace", out, "the folder holds files but no bundle")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise IoFailed("create", out.parent, error.strerror) from error
    if not os.access(out.parent, os.W_OK | os.X_OK):
        raise IoFailed("write", out.parent, "permission denied")


def export_bundle(
    prepare: Callable[[Advance], Prepared],
    out: Path,
    clock: StepClock,
    *,
    targets: Sequence[str] = TARGETS[:1],
    measured: bool = False,
) -> Exported:
    """Prepare, capture, lower, check, pack into ``out``, for each of ``targets``.

    The program files are made in a folder beside ``out`` that goes away in the end, whatever
    happens: a bundle appears under its name only when it is complete and has passed the check.
    """
    claim_folder(out)
    if measured:
        find_runner()
    with clock.step("prepare") as advance:
        prepared = prepare(advance)

    # They import torch: "--help" shall not wait for it.
    from export.capture import FrozenWeights, capture
    from export.parity import worst_of

    with tempfile.TemporaryDirectory(prefix=".export-", dir=out.parent) as folder:
        with clock.step("capture") as advance:
            store = FrozenWeights()
            captured: list[Captured] = []
            programs = prepared.parts.programs
            for index, program in enumerate(programs):
                advance(program.name, index, len(programs))
                captured.append(capture(program, store))
        with clock.step("lower") as advance:
            lowered = [lower_for(target, captured, Path(folder), advance) for target in targets]
        with clock.step("check") as advance:
            found = [check_for(item, captured, prepared.parts, advance) for item in lowered]
            parity = {name: worst_of([each[name] for each in found]) for name in found[0]}
        with clock.step("pack"):
            packed = pack(prepared, captured, lowered, parity, out)
        if measured:
            with clock.step("measure") as advance:
                figures = measure(packed.folder, list(parity), advance)
                packed = pack(prepared, captured, lowered, parity, out, measured=figures)
    return Exported(prepared, lowered, parity, packed, dict(clock.seconds))
