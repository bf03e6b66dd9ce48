from __future__ import annotations

import torch

from export.passes.ranks import sink_reshapes
from export.passes.views import canonicalize_views, merge_views


def test_reshapes_around_elementwise_operators_cancel(rewritten):
    """A layer norm's end, and two residual additions between layers that compute on matrices."""

    def function(matrix, weight, bias, stream):
        normalized = matrix.reshape(1, 6, 4) * weight + bias
        first = stream + torch.sigmoid(normalized)
        second = first + (first.reshape(6, 4) * 2).reshape(1, 6, 4)
        return ((second.reshape(6, 4) @ matrix.t()),)

    inputs = [torch.randn(6, 4), torch.randn(4), torch.randn(1), torch.randn(1, 6, 4)]
    before = rewritten(function, inputs, canonicalize_views, merge_views)
    after = rewritten(function, inputs, canonicalize_views, sink_reshapes, merge_views)
    after.check()
    assert before.counts()["reshape.default"] == 4
    assert after.counts()["reshape.default"] == 1  # of the stream, which comes in another shape


def test_statistics_of_rows_move_along(rewritten):
    def function(x, mean):
        centered = x.reshape(1, 6, 4) - mean.reshape(1, 6, 1)
        return (centered.reshape(6, 4) * 2,)

    inputs = [torch.randn(6, 4), torch.randn(6, 1)]
    graph = rewritten(function, inputs, canonicalize_views, sink_reshapes, merge_views)
    graph.check()
    assert "reshape.default" not in graph.counts()


def test_operands_that_mean_another_thing_stay(rewritten):
    """The column of one shape is not that of the other, nor is a square's row its column."""

    def function(x, column, square):
        wide = x.reshape(2, 12) * column
        turned = square.reshape(4, 1, 4) + square
        return wide * 2, turned * 2

    inputs = [torch.randn(6, 4), torch.randn(2, 1), torch.randn(4, 4)]
    graph = rewritten(function, inputs, canonicalize_views, sink_reshapes, merge_views)
    graph.check()


def test_a_division_keeps_its_options(rewritten):
    def function(x):
        return (torch.div(x.reshape(1, 6) * 3, x.reshape(1, 6), rounding_mode="floor"),)

    graph = rewritten(function, [torch.rand(6) + 1], canonicalize_views, sink_reshapes)
    graph.check()
