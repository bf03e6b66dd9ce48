from __future__ import annotations

import numpy as np
import pytest
import torch

from export.passes.reductions import expand_reductions

DELEGATED = {"linear.default", "reshape.default", "permute.default", "constant"}


@pytest.mark.parametrize("dimensions", [(0,), (1,), (-1,), (0, 2), (1, 2), (0, 1, 2, 3)])
@pytest.mark.parametrize("keep", [False, True])
def test_sum_and_mean(dimensions, keep, rewritten):
    def function(x):
        return x.sum(dimensions, keepdim=keep), x.mean(dimensions, keepdim=keep)

    graph = rewritten(function, [torch.randn(2, 3, 1, 5)], expand_reductions)
    graph.check()
    assert set(graph.counts()) <= DELEGATED


def test_of_everything(rewritten):
    graph = rewritten(lambda x: (x.sum(), x.mean()), [torch.randn(4, 6)], expand_reductions)
    graph.check()
    assert set(graph.counts()) <= DELEGATED


@pytest.mark.parametrize("count", [129, 521, 4096, 7 * 521, 512 * 512 + 8, 524309])
def test_long_sums_keep_their_accuracy(count, rewritten):
    """521 and 524309 are prime: a pad of zeros makes them divisible."""
    x = torch.rand(count)
    graph = rewritten(lambda x: (x.sum(),), [x], expand_reductions)
    with torch.no_grad():
        (result,) = torch.fx.Interpreter(graph.module).run(x)
    exact = x.numpy().sum(dtype=np.float64)
    assert abs(float(result) - exact) / exact < 5e-7
    widest = max(constant.numel() for constant in graph.module.buffers())
    assert widest <= 128


def test_integers_are_left_alone(rewritten):
    graph = rewritten(lambda x: (x.sum(),), [torch.arange(5)], expand_reductions)
    graph.check()
    assert graph.counts() == {"sum.dim_IntList": 1}
