from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from export.passes import FrozenWeights
from export.passes.folding import fold_constants
from export.passes.weights import TracedWeight, share_embeddings, share_linears
from pockettune.nn.quantize import quantize_


def frozen(module: nn.Module, bits: int) -> nn.Module:
    module.requires_grad_(requires_grad=False)
    quantize_(module, bits)
    return module


@pytest.mark.parametrize("bits", [32, 8])
def test_forward_and_backward_read_one_constant(bits, rewritten, with_weights):
    torch.manual_seed(0)
    layer = frozen(nn.Linear(6, 4), bits)
    store = FrozenWeights()

    def function(x):
        x = x.detach().requires_grad_()
        y = layer(x).tanh()
        return y.detach(), *torch.autograd.grad(y.sum(), x)

    graph = rewritten(function, [torch.randn(3, 6)], with_weights(share_linears, store))
    graph.check()
    counts = graph.counts()
    assert counts["linear.default"] == 2
    assert not counts["mm.default"] + counts["addmm.default"]
    stored = [value for name, value in graph.module.named_buffers() if name == "weight_0"]
    assert [value.dtype for value in stored] == [torch.int8 if bits == 8 else torch.float32]
    assert counts["dequantize_per_tensor.default"] == (2 if bits == 8 else 0)
    assert store.bytes == (24 + 16 if bits == 8 else 96)


def test_frozen_weights_are_not_folded(rewritten, with_weights):
    layer = frozen(nn.Linear(6, 4, bias=False), 32)

    def function(gradient):
        return (gradient @ layer.weight,)

    store = FrozenWeights()
    passes = (with_weights(share_linears, store), fold_constants)
    graph = rewritten(function, [torch.randn(3, 4)], *passes)
    graph.check()
    assert graph.counts()["permute.default"] == 1
    assert store.bytes == 96


def test_programs_share_constants(rewritten, with_weights):
    layer, other = frozen(nn.Linear(6, 4), 8), frozen(nn.Linear(6, 4), 8)
    store = FrozenWeights()
    step = with_weights(share_linears, store)
    first = rewritten(lambda x: (layer(x),), [torch.randn(3, 6)], step)
    second = rewritten(lambda x: (other(layer(x) @ layer.weight),), [torch.randn(2, 6)], step)
    assert first.module.weight_0 is second.module.weight_0
    assert second.module.weight_1 is not second.module.weight_0
    assert store.bytes == 2 * (24 + 16)


@pytest.mark.parametrize("bits", [32, 8])
def test_embedding_reads_stored_rows(bits, rewritten, with_weights):
    table = frozen(nn.Embedding(7, 5), bits)
    store = FrozenWeights()
    indices = torch.tensor([[3, 0, 6]])
    graph = rewritten(lambda i: (table(i),), [indices], with_weights(share_embeddings, store))
    graph.check()
    assert graph.counts()["embedding.default"] == (2 if bits == 8 else 1)
    assert store.bytes == (35 + 28 if bits == 8 else 140)


def test_computed_matrices_are_left_alone(rewritten, with_weights):
    store = FrozenWeights()
    inputs = [torch.randn(3, 4), torch.randn(5, 4)]
    graph = rewritten(lambda x, w: (F.linear(x, w),), inputs, with_weights(share_linears, store))
    graph.check()
    assert store.bytes == 0


def test_rows_of_filters_are_stored_without_a_copy():
    layer = frozen(nn.Conv2d(3, 5, 3), 8)
    weight = layer.weight
    rows = FrozenWeights().taps(TracedWeight(weight.grid, weight.scales), joined=True)
    assert len(rows) == 3
    for index, row in enumerate(rows):
        expected = weight.grid[:, :, index]
        assert row.stored.data_ptr() == expected.data_ptr()
        assert torch.equal(row.stored[0], expected.transpose(1, 2).reshape(5, 9))
        # A delegate writes whole storages to the file.
        assert row.stored.untyped_storage().nbytes() == 45


def test_a_filter_is_stored_tap_by_tap():
    weight = frozen(nn.Conv2d(3, 5, 3), 8).weight
    parts = FrozenWeights().taps(TracedWeight(weight.grid, weight.scales))
    taps = torch.cat([part.stored[0] for part in parts], 1)
    assert torch.equal(taps, weight.grid.permute(0, 2, 3, 1).reshape(5, 27))
    for part in parts:
        assert part.stored.untyped_storage().nbytes() == 15


def test_stacked_rows_of_a_filter_are_stored_without_a_copy():
    weight = frozen(nn.Conv2d(3, 5, 3), 8).weight
    (part,) = FrozenWeights().taps(TracedWeight(weight.grid, weight.scales), stacked=True)
    assert part.stored.data_ptr() == weight.grid.data_ptr()
    for index, row in enumerate(part.stored[0].split(5)):
        assert torch.equal(row, weight.grid[:, :, index].transpose(1, 2).reshape(5, 9))
