from __future__ import annotations

import pytest
import torch
from torch import nn

from export.passes.norms import expand_norms


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
