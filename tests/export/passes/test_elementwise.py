from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from export.passes.elementwise import (
    expand_elementwise,
    expand_error_function,
    numbers_to_tensors,
)
from export.passes.folding import fold_constants


def test_error_function(rewritten):
    x = torch.cat([torch.linspace(-6, 6, 2001), torch.tensor([0.0, 1e-20, -1e-8])])
    graph = rewritten(lambda x: (torch.erf(x),), [x], expand_error_function)
    with torch.no_grad():
        (result,) = torch.fx.Interpreter(graph.module).run(x)
    exact = np.array([math.erf(value) for value in x.tolist()])
    assert np.abs(result.numpy() - exact).max() < 4e-7
    assert not graph.counts()["erf.default"]


def test_gradient_of_gelu(rewritten):
    def function(x):
        x = x.detach().requires_grad_()
        return torch.autograd.grad(F.gelu(x).sum(), x)

    passes = (expand_error_function, expand_elementwise, numbers_to_tensors)
    graph = rewritten(function, [torch.linspace(-5, 5, 101)], *passes)
    graph.check(1e-6)
    assert not graph.counts()["erf.default"]


def test_powers_and_reciprocals(rewritten):
    def function(x):
        return x**1.0 * 2, x**2, x**0.5, x**-0.5, 1 / x, x**3

    graph = rewritten(function, [torch.rand(3, 4) + 0.5], expand_elementwise, numbers_to_tensors)
    graph.check()
    assert graph.counts()["pow.Tensor_Scalar"] == 1


def test_expansions_multiply_with_small_ones(rewritten):
    graph = rewritten(
        lambda x: (x.expand(5, 4, 3).clone(),), [torch.randn(4, 1)], expand_elementwise
    )
    graph.check()
    assert [tuple(constant.shape) for constant in graph.module.buffers()] == [(5, 1, 3)]


@pytest.mark.parametrize(("start", "end"), [(0, 2), (1, 4), (3, 5)])
def test_scattered_slices_become_pads(start, end, rewritten):
    def function(x):
        x = x.detach().requires_grad_()
        return torch.autograd.grad((x[:, start:end] ** 2).sum(), x)

    graph = rewritten(function, [torch.randn(3, 5)], fold_constants, expand_elementwise)
    graph.check()
    assert graph.counts()["constant_pad_nd.default"] == 1
    assert not graph.counts()["slice_scatter.default"]


def test_numbers_become_tensors(rewritten):
    def function(x, count):
        return x + 2, 3 - x, x / 4, 5 * x, x.sum() + 1, count + 1

    inputs = [torch.randn(2, 3), torch.tensor([7])]
    graph = rewritten(function, inputs, numbers_to_tensors)
    graph.check()
    with_numbers = [
        node.meta["val"].dtype
        for node in graph.module.graph.nodes
        if node.op == "call_function"
        and any(isinstance(argument, int | float) for argument in node.args)
    ]
    assert with_numbers == [torch.int64]


def test_times_one_is_nothing(rewritten):
    def function(x):
        return ((x / 1.0) * 1 + x * 2, (1 / x) * 2)

    graph = rewritten(function, [torch.rand(3) + 1], numbers_to_tensors)
    graph.check()
    counts = graph.counts()
    assert counts["mul.Tensor"] == 2
