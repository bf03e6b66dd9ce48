"""A constant that is a filter here and a plain operand there: the delegate frees what it repacks.

Found as NaN in a gradient and as crashes: group norm's weights, all ones, were the same tensor as
the ones of a sum, which is a linear layer. Read after it was freed, a mapped page is gone and a
copied one holds something else; both came and went with the neighbors of the constant.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from export.lower import lower
from export.lowering.edge import to_edge
from export.lowering.runtime import ProgramFile
from tests.export.toy import trace

aten = torch.ops.aten
WEIGHT = torch.linspace(-1, 1, 256).reshape(16, 16)


def as_filter(x: Tensor, z: Tensor) -> tuple[Tensor, ...]:
    return (aten.linear.default(x, WEIGHT), aten.add.Tensor(z, z))


def as_operand(x: Tensor, z: Tensor) -> tuple[Tensor, ...]:
    return (
        aten.linear.default(x, aten.permute.default(WEIGHT, [1, 0])),
        aten.mul.Tensor(z, WEIGHT),
    )


def as_both(x: Tensor, z: Tensor) -> tuple[Tensor, ...]:
    backward = aten.linear.default(x, aten.permute.default(WEIGHT, [1, 0]))
    return (aten.linear.default(x, WEIGHT), aten.mul.Tensor(z, WEIGHT), backward)


def inputs() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(4, 16, generator=generator), torch.randn(16, 16, generator=generator)]


@pytest.mark.parametrize(("function", "buffers"), [(as_filter, 1), (as_operand, 1), (as_both, 2)])
def test_a_constant_in_both_roles_becomes_two(function: object, buffers: int) -> None:
    module = trace(function, inputs())
    assert len(to_edge("p", module).graph_signature.buffers) == buffers


def test_both_roles_give_the_right_values_and_are_stored_once(tmp_path: Path) -> None:
    sizes = []
    for function in (as_operand, as_both):
        module = trace(function, inputs())
        program = SimpleNamespace(program=SimpleNamespace(name="p"), graph=module)
        lowered = lower([program], tmp_path / "p.pte")
        sizes.append(lowered.frozen_weight_bytes)
        found = ProgramFile(tmp_path / "p.pte").method("p")(*inputs())
        for one, other in zip(found, function(*inputs()), strict=True):
            torch.testing.assert_close(one, other)
    assert sizes == [WEIGHT.nbytes, WEIGHT.nbytes]
