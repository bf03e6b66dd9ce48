"""What a program file holds beside its weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from export.capture import FrozenWeights, capture
from export.lower import lower
from export.prepare import Request, prepare

pytestmark = pytest.mark.e2e


def test_the_starters_programs_are_a_tenth_of_its_weights(tmp_path: Path) -> None:
    request = Request("starter", "hollowed_net", {"cut": "C"}, bits=8)
    prepared = prepare(request, lambda _what, _done, _total: None)
    store = FrozenWeights()
    captured = [capture(program, store) for program in prepared.parts.programs]
    lowered = lower(captured, tmp_path / "programs.pte")
    assert lowered.bytes == (tmp_path / "programs.pte").stat().st_size
    # All weights, each stored once: a byte for each, and little for scales, norms and biases.
    weights = sum(prepared.parameters.values())
    assert weights < lowered.frozen_weight_bytes < 1.1 * weights
    assert lowered.bytes <= 1.1 * lowered.frozen_weight_bytes
