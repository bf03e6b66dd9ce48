from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from export.passes import FrozenWeights
from export.passes.convolutions import expand_convolutions
from pockettune.errors import ModelUnsupported
from pockettune.nn.quantize import quantize_

PRODUCTS = (torch.ops.aten.linear.default, torch.ops.aten.mm.default)


def both_ways(layer, padding=(0, 0, 0, 0)):
    """A function giving the output and the gradient of the input."""

    def function(x, weight):
        x = x.detach().requires_grad_()
        y = layer(F.pad(x, padding))
        return y.detach(), *torch.autograd.grad((y * weight).sum(), x)

    return function


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "samples", "bits"),
    [
        ((6, 5), 3, 1, 1, 1, 32),
        ((6, 5), 3, 1, 1, 2, 8),
        ((6, 5), 3, 1, 0, 2, 8),
        ((4, 4), 1, 1, 0, 2, 8),
        ((4, 4), 1, 1, 1, 2, 8),
        ((4, 4), 3, 1, 3, 1, 8),
        ((6, 8), 3, 2, 1, 1, 32),
        ((6, 8), 3, 2, 1, 2, 8),
        ((5, 7), 3, 2, 0, 2, 8),
        ((7, 7), 3, 3, 1, 2, 8),
        ((6, 6), 1, 2, 0, 2, 8),
        ((6, 6), (1, 3), 1, (0, 1), 2, 8),
    ],
)
def test_equals_convolution(size, kernel, stride, padding, samples, bits, rewritten, with_weights):
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 5, kernel, stride, padding).requires_grad_(requires_grad=False)
    quantize_(layer, bits)
    x = torch.randn(samples, 3, *size)
    inputs = [x, torch.randn_like(layer(x))]
    store = FrozenWeights()
    graph = rewritten(both_ways(layer), inputs, with_weights(expand_convolutions, store))
    graph.check()
    assert not any("convolution" in name for name in graph.counts())
    weights = layer.weight.numel()
    assert store.bytes == (weights + 4 * 5 if bits == 8 else 4 * weights)


def test_no_product_sums_over_more_than_a_row_of_taps(rewritten, with_weights):
    """The delegate adds one number after the other: sums over nine taps doubled what float32 loses
    in the starter's gradients (docs/log.md)."""
    layer = nn.Conv2d(8, 6, 3, padding=1).requires_grad_(requires_grad=False)
    inputs = [torch.randn(1, 8, 4, 4), torch.randn(1, 6, 4, 4)]
    step = with_weights(expand_convolutions, FrozenWeights())
    graph = rewritten(both_ways(layer), inputs, step)
    products = [node for node in graph.module.graph.nodes if node.target in PRODUCTS]
    assert sorted(node.args[0].meta["val"].shape[1] for node in products) == [3 * 6, 3 * 8]


def test_padding_on_one_side(rewritten, with_weights):
    """The down-sampler of an autoencoder pads right and below only."""
    layer = nn.Conv2d(3, 4, 3, 2).requires_grad_(requires_grad=False)
    inputs = [torch.randn(1, 3, 8, 8), torch.randn(1, 4, 4, 4)]
    step = with_weights(expand_convolutions, FrozenWeights())
    rewritten(both_ways(layer, (0, 1, 0, 1)), inputs, step).check()


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 4, 3, groups=2),
        nn.Conv2d(4, 4, 3, dilation=2),
        nn.Conv2d(4, 4, 3, stride=(1, 2)),
        nn.ConvTranspose2d(4, 4, 3),
    ],
)
def test_other_convolutions_are_refused(layer, rewritten, with_weights):
    step = with_weights(expand_convolutions, FrozenWeights())
    with pytest.raises(ModelUnsupported, match="convolution"):
        rewritten(lambda x: (layer(x),), [torch.randn(1, 4, 8, 8)], step)


def test_trained_filters_are_refused(rewritten, with_weights):
    def function(x, weight):
        weight = weight.detach().requires_grad_()
        return torch.autograd.grad(F.conv2d(x, weight).sum(), weight)

    step = with_weights(expand_convolutions, FrozenWeights())
    with pytest.raises(ModelUnsupported, match="trained filter"):
        rewritten(function, [torch.randn(1, 3, 4, 4), torch.randn(2, 3, 3, 3)], step)
