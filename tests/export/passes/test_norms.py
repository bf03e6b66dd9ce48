from __future__ import annotations

import pytest
import torch
from torch import nn

from export.passes.norms import expand_norms
from export.passes.views import canonicalize_views, merge_views


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("shape", [(2, 6, 4, 5), (1, 6, 7)])
def test_group_norm_and_its_gradient(shape, affine, rewritten):
    layer = nn.GroupNorm(3, 6, affine=affine).requires_grad_(requires_grad=False)
    check(layer, shape, rewritten)


@pytest.mark.parametrize("affine", [False, True])
def test_layer_norm_and_its_gradient(affine, rewritten):
    layer = nn.LayerNorm(6, elementwise_affine=affine).requires_grad_(requires_grad=False)
    check(layer, (2, 3, 6), rewritten)


def check(layer, shape, rewritten):
    torch.manual_seed(0)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)

    def function(x, weight):
        x = x.detach().requires_grad_()
        y = layer(x)
        return y.detach(), *torch.autograd.grad((y * weight).sum(), x)

    graph = rewritten(function, [torch.randn(shape) + 3, torch.randn(shape)], expand_norms)
    graph.check()
    assert not any("native" in name for name in graph.counts())


@pytest.mark.parametrize("affine", [False, True])
def test_group_norm_of_what_lies_pixels_first(affine, rewritten):
    """... as a trained convolution gives it: nothing is laid out anew, every gradient is there."""
    torch.manual_seed(0)
    x, factors = torch.randn(4, 5, 2, 6) + 3, torch.randn(2, 6)

    def function(x, factors, gradient):
        leaves = [value.detach().requires_grad_() for value in (x, factors)]
        weight, bias = leaves[1] if affine else (None, None)
        y = nn.functional.group_norm(leaves[0].permute(2, 3, 0, 1), 3, weight, bias)
        y = y.permute(2, 3, 0, 1)
        return y.detach(), *torch.autograd.grad(y, leaves[: 1 + affine], gradient)

    def step(editor):
        canonicalize_views(editor)
        expand_norms(editor)
        merge_views(editor)

    graph = rewritten(function, [x, factors, torch.randn(4, 5, 2, 6)], step)
    graph.check()
    assert not any("native" in name for name in graph.counts())
    moved = [n for n in graph.module.graph.nodes if n.target is torch.ops.aten.permute.default]
    assert [node for node in moved if node.meta["val"].numel() > factors.numel()] == []
