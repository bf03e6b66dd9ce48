from __future__ import annotations

import math

import torch

from export.passes.folding import fold_constants, fold_fills
from export.passes.views import drop_copies


def test_tables_are_computed_at_export(rewritten):
    def function(x):
        frequencies = torch.exp(torch.arange(4) * -math.log(10.0) / 4)
        return (x * frequencies[None, :],)

    graph = rewritten(function, [torch.randn(3, 4)], fold_constants)
    graph.check()
    assert graph.counts() == {"constant": 1, "mul.Tensor": 1}


def test_masks_stay_finite(rewritten):
    def function(x):
        mask = torch.full((4, 4), float("-inf")).triu(1)
        return (torch.softmax(x + mask, -1),)

    graph = rewritten(function, [torch.randn(4, 4)], fold_constants)
    graph.check()
    (constant,) = graph.module.buffers()
    assert torch.isfinite(constant).all()


def test_large_results_are_not_stored(rewritten):
    def function(x):
        return (x + torch.arange(400.0)[:, None] * torch.arange(400.0),)

    graph = rewritten(function, [torch.randn(400, 400)], fold_constants)
    graph.check()
    assert max(constant.numel() for constant in graph.module.buffers()) == 400


def test_fills_become_constants(rewritten):
    def function(x):
        return (x * torch.ones_like(x) + torch.full_like(x, 2.0) + torch.zeros_like(x),)

    graph = rewritten(function, [torch.randn(3, 4)], fold_fills)
    graph.check()
    assert set(graph.counts()) == {"constant", "mul.Tensor", "add.Tensor"}


def test_a_tensor_traced_twice_is_one_constant(rewritten):
    table = torch.randn(3)
    graph = rewritten(lambda x: (x * table + table,), [torch.randn(3)], drop_copies)
    graph.check()
    assert graph.counts()["constant"] == 1
