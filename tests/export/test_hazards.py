"""Faults of the delegate (executorch 1.5.1) that we work around, each fenced by a test.

A test here that fails after an update of executorch means that a fault has gone or changed: read
what works around it again.
"""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from export.lower import lower
from export.lowering.runtime import ProgramFile
from export.parity import relative_error
from tests.export import toy

aten = torch.ops.aten
ROOT = Path(__file__).parents[2]


def captured(name: str, function: Any, *inputs: Tensor) -> Any:
    return toy.Captured(SimpleNamespace(name=name), toy.trace(function, inputs))


@pytest.mark.parametrize("shared", [True, False])
def test_one_filter_for_a_convolution_and_a_transposed_one_is_wrong(
    tmp_path: Path, shared: bool
) -> None:
    """The serializer keeps the layout of a constant's first use, silently, for the second.

    Capture writes convolutions as taps of linear layers, so our programs have neither operator;
    that the check finds such a delegate is in test_check.
    """
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(16, 16, 3, 3, generator=generator) * 0.1
    other = weight if shared else weight.clone()
    turned = True

    def function(x: Tensor, gradient: Tensor) -> tuple[Tensor, ...]:
        def convolution(value: Tensor, kernel: Tensor, transposed: bool, extra: int) -> Tensor:
            return aten.convolution.default(
                value, kernel, None, [2, 2], [1, 1], [1, 1], transposed, [extra, extra], 1
            )

        forward = convolution(x, weight, not turned, 0)
        return forward, convolution(gradient, other, turned, 1)

    x = torch.randn(1, 16, 16, 16, generator=generator)
    gradient = torch.randn(1, 16, 8, 8, generator=generator)
    expected = function(x, gradient)
    path = lower([captured("both", function, x, gradient)], tmp_path / "both.pte").path
    found = ProgramFile(path).method("both")(x, gradient)
    assert relative_error(found[0], expected[0]) < 1e-5
    error = relative_error(found[1], expected[1])
    # As large as that of unrelated numbers, not a matter of rounding.
    assert error > 0.5 if shared else error < 1e-5


WORKSPACE = """
import os, sys
from pathlib import Path
import torch
from export.lowering.runtime import ProgramFile

def status(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))

ProgramFile(Path(sys.argv[1])).method("chain")(torch.zeros(1))  # whatever is made only once
for path in sys.argv[1:]:
    reader, writer = os.pipe()
    if os.fork() == 0:
        run = ProgramFile(Path(path)).method("chain")
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        before = status("VmRSS")
        run(torch.zeros(1))
        os.write(writer, str(status("VmHWM") - before).encode())
        os._exit(0)
    os.wait()
    print(os.read(reader, 100).decode())
"""
MEBI = 2**20


def one_delegate_for_each(sizes: list[int], x: Tensor) -> tuple[Tensor, ...]:
    """A chain of parts with one number between them and `size` numbers, thrice, within."""
    for size in sizes:
        wide = aten.constant_pad_nd.default(x, [0, size - 1], 0.5)
        wide = aten.add.Tensor(aten.exp.default(wide), aten.tanh.default(wide))
        x = aten.slice.Tensor(wide, 0, 0, 1)
    return (x,)


@pytest.mark.e2e
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_growing_workspace_is_there_twice_for_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All delegates share one workspace. When one needs more, a larger one is made while the old
    one lives, so the peak of a first run is the sum of both: unless the first delegate asks for
    what the largest needs (``export/lowering/workspace.py``).
    """
    small, large = 4 * MEBI, 5 * MEBI
    paths = []
    cases = {"first": [1], "falls": [large, small], "reserved": [small, large]}
    for name, sizes in (*cases.items(), ("grows", [small, large])):
        if name == "grows":
            monkeypatch.setattr("export.lower.reserve", lambda _graph, plan: plan)
        function = partial(one_delegate_for_each, sizes)
        item = captured("chain", function, torch.zeros(1))
        lowered = lower([item], tmp_path / f"{name}.pte", chunk_nodes=5)
        assert lowered.programs["chain"].delegates == len(sizes)
        paths.append(str(lowered.path))
    command = [sys.executable, "-c", WORKSPACE, *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    _, falls, reserved, grows = map(int, done.stdout.split())
    # Three values of `size` float32 numbers live at once in each chunk.
    needed = 3 * 4 * large
    assert needed * 0.9 < falls < needed * 1.15
    assert needed * 0.9 < reserved < needed * 1.15
    assert grows > falls + 0.8 * 3 * 4 * small


RECOMPUTED = """
import sys
from pathlib import Path
import torch
from export.lower import lower
from export.lowering.runtime import ProgramFile
from export.parity import relative_error
from tests.export.test_hazards import captured, recomputed_convolutions

torch.set_num_threads(1)
function = recomputed_convolutions(layers=8, side=8, channels=16)
x = torch.randn(1, 8, 8, 16, generator=torch.Generator().manual_seed(1)) * 0.1
lowered = lower([captured("step", function, x)], Path(sys.argv[1]), chunk_nodes=200)
assert lowered.programs["step"].delegates > 3
run = ProgramFile(lowered.path).method("step")
for _ in range(3):
    for found, expected in zip(run(x), function(x), strict=True):
        assert relative_error(found, expected) < 1e-5
print("right")
"""


def recomputed_convolutions(*, layers: int, side: int, channels: int) -> Any:
    """A stack of 3x3 convolutions in taps of one sliced fp32 constant, then all of it again, last
    layer first, as a backward pass with recomputation does."""
    generator = torch.Generator().manual_seed(0)
    filters = [
        torch.randn(9, channels, channels, generator=generator) * (0.33 / channels**0.5)
        for _ in range(layers)
    ]

    def convolution(x: Tensor, taps: Tensor) -> Tensor:
        padded = aten.constant_pad_nd.default(x, [0, 0, 1, 1, 1, 1], 0.0)
        total: Tensor | None = None
        for index in range(9):
            row, column = divmod(index, 3)
            part = aten.slice.Tensor(padded, 1, row, row + side)
            part = aten.slice.Tensor(part, 2, column, column + side)
            tap = aten.reshape.default(
                aten.slice.Tensor(taps, 0, index, index + 1), [channels, channels]
            )
            product = aten.linear.default(aten.reshape.default(part, [side * side, channels]), tap)
            total = product if total is None else aten.add.Tensor(total, product)
        return aten.reshape.default(total, [1, side, side, channels])

    def function(x: Tensor) -> tuple[Tensor, ...]:
        values = [x]
        for taps in filters:
            values.append(aten.tanh.default(convolution(values[-1], taps)))
        gradient = values[-1]
        for taps, value in zip(reversed(filters), reversed(values[:-1]), strict=True):
            again = aten.tanh.default(convolution(value, taps))
            gradient = aten.mul.Tensor(convolution(gradient, taps), again)
        return values[-1], gradient

    return function


@pytest.mark.e2e
def test_sliced_fp32_taps_with_recomputation_run(tmp_path: Path) -> None:
    """A program of this form once ended with a segmentation fault in the delegate. It has not come
    back at this size; if it does, the process dies here and not a person's."""
    command = [sys.executable, "-c", RECOMPUTED, str(tmp_path / "step.pte")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, f"ended with {done.returncode}: {done.stderr[-2000:]}"
    assert done.stdout == "right\n"
