"""Trained convolutions and pooling against PyTorch's own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from export.passes.pooling import expand_pooling
from export.passes.trained import expand_trained_convolutions
from pockettune.errors import ModelUnsupported


@pytest.mark.parametrize(
    ("size", "kernel", "padding"),
    [
        ((6, 5), (3, 3), 0),
        ((6, 5), (3, 3), 1),
        ((1, 8), (1, 5), (0, 2)),
        ((7, 7), (6, 2), 0),
        ((1, 4), (3, 3), 1),
        ((4, 4), (3, 3), 3),
    ],
)
@pytest.mark.parametrize("inputs", [1, 3])
def test_equals_convolution(size, kernel, padding, inputs, rewritten):
    torch.manual_seed(0)
    x, weight = torch.randn(2, inputs, *size), torch.randn(4, inputs, *kernel)
    bias = torch.randn(4)
    y = F.conv2d(x, weight, bias, padding=padding)

    def function(x, weight, bias, gradient):
        leaves = [value.detach().requires_grad_() for value in (x, weight, bias)]
        y = F.conv2d(*leaves, padding=padding)
        return y.detach(), *torch.autograd.grad((y * gradient).sum(), leaves)

    examples = [x, weight, bias, torch.randn_like(y)]
    graph = rewritten(function, examples, expand_trained_convolutions)
    graph.check()
    assert "convolution" not in str(graph.module.graph)


@pytest.mark.parametrize("options", [{"stride": 2}, {"dilation": 2}, {"groups": 3}])
def test_other_trained_convolutions_are_refused(options, rewritten):
    weight = torch.randn(3, 3 // options.get("groups", 1), 3, 3)
    with pytest.raises(ModelUnsupported, match="trained convolution"):
        rewritten(
            lambda x, weight: (F.conv2d(x, weight, **options),),
            [torch.randn(1, 3, 8, 8), weight],
            expand_trained_convolutions,
        )


@pytest.mark.parametrize("window", [(2, 2), (1, 2), (2, 1)])
@pytest.mark.parametrize("pool", [F.max_pool2d, F.avg_pool2d])
def test_equals_pooling_with_ties(pool, window, rewritten):
    torch.manual_seed(0)
    # Few different values: most windows have ties.
    x = torch.randint(0, 3, (2, 3, 4, 6)).float()

    def function(x, gradient):
        x = x.detach().requires_grad_()
        y = pool(F.relu(x - 1.0), window)
        return y.detach(), *torch.autograd.grad((y * gradient).sum(), x)

    inputs = [x, torch.randn_like(pool(x, window))]
    graph = rewritten(function, inputs, expand_pooling)
    graph.check()
    assert "pool" not in str(graph.module.graph)
    assert "threshold" not in str(graph.module.graph)


def test_equals_pooling_of_what_others_read_too(rewritten):
    torch.manual_seed(0)
    x = torch.randint(0, 3, (2, 3, 4, 6)).float()

    def function(x, gradient):
        x = x.detach().requires_grad_()
        rectified = F.relu(x - 1.0)
        y = F.max_pool2d(rectified, 2)
        return torch.autograd.grad((y * gradient).sum() + (rectified * rectified).sum(), x)

    rewritten(function, [x, torch.randn(2, 3, 2, 3)], expand_pooling).check()


@pytest.mark.parametrize("options", [{"stride": 1}, {"padding": 1}])
def test_overlapping_pooling_is_refused(options, rewritten):
    with pytest.raises(ModelUnsupported, match="do not overlap"):
        rewritten(
            lambda x: (F.avg_pool2d(x, 2, **options),), [torch.randn(1, 3, 4, 4)], expand_pooling
        )
