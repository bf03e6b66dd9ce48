"""The engines that a bundle can be exported for, by their names in a manifest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pockettune.errors import ConfigInvalid

if TYPE_CHECKING:
    from torch import Tensor

    from export.capture import Captured
    from export.lowered import Lowered
    from export.parity import Parity
    from pockettune.method import MethodExport

__all__ = ["FLEET_ONLY", "TARGETS", "check_for", "lower_for", "parse_targets"]

TARGETS = ("executorch", "onnxruntime")
FLEET_ONLY = ("onnxruntime",)
"""Targets that only a model that a fleet trains can have."""

Progress = Callable[[str, int, int], None]


def parse_targets(text: str, *, fleet: bool) -> tuple[str, ...]:
    """Names with commas between them. Raises ``ConfigInvalid`` for one that is not a target, or
    none of this kind of model."""
    valid = [name for name in TARGETS if fleet or name not in FLEET_ONLY]
    names = tuple(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in valid:
            raise ConfigInvalid("target", name, valid)
    return names


def lower_for(
    target: str, captured: Sequence[Captured], folder: Path, on_progress: Progress
) -> Lowered:
    """Lower captured programs into ``folder``. Raises what the target's own function raises."""
    # Each takes its runtime's tools with it, which an export for the other does without.
    if target == "executorch":
        from export.lower import lower

        return lower(captured, folder / "programs.pte", on_progress=on_progress)
    from export.to_onnx import lower_to_onnx

    return lower_to_onnx(captured, folder, on_progress=on_progress)


def check_for(
    lowered: Lowered, captured: Sequence[Captured], parts: MethodExport, on_progress: Progress
) -> Mapping[str, Parity]:
    """Compare lowered programs, run by their engine, with eager. Raises ``ParityFailed``,
    ``EngineFailed``."""
    from export.check import check, compare

    if lowered.engine == "executorch":
        return check(lowered.path, captured, parts, on_progress=on_progress)
    from export.onnx_session import first_wrong_value, open_model

    def opened(name: str) -> Callable[..., Sequence[Tensor]]:
        return open_model(name, lowered.files[name])

    return compare(opened, first_wrong_value, captured, parts, on_progress=on_progress)
