from __future__ import annotations

import pytest
import torch

from export.passes.finishing import own_outputs
from export.passes.views import (
    canonicalize_views,
    merge_views,
    repeat_views,
    share_views,
)


def test_views_have_three_forms(rewritten):
    def function(x):
        first, second = x.split([1, 3], 1)
        return (
            x.unsqueeze(0) * 2,
            x.view(-1) * 2,
            x.t() * 2,
            x[1] * first[2],
            second.transpose(0, 1).unsqueeze(1).squeeze(1) * 2,
        )

    graph = rewritten(function, [torch.randn(3, 4)], canonicalize_views)
    graph.check()
    allowed = {"reshape.default", "permute.default", "slice.Tensor", "mul.Tensor"}
    assert set(graph.counts()) <= allowed


def test_chains_merge(rewritten):
    def function(x):
        return (
            x.permute(1, 2, 0).permute(2, 0, 1) * 2,
            x.reshape(6, 4).reshape(2, 12) * 2,
            x.reshape(2, 1, 12).permute(1, 0, 2) * 2,
        )

    graph = rewritten(function, [torch.randn(2, 3, 4)], canonicalize_views, merge_views)
    graph.check()
    assert graph.counts() == {"mul.Tensor": 3, "reshape.default": 2}


def test_equal_views_are_shared_when_close(rewritten):
    def function(x):
        a = x[:, :2] + 1
        for _ in range(10):
            a = a * 2
        return (a + x[:, :2],)

    near = rewritten(function, [torch.randn(3, 4)], share_views)
    far = rewritten(function, [torch.randn(3, 4)], lambda editor: share_views(editor, 5))
    for graph, slices in ((near, 1), (far, 2)):
        graph.check()
        assert graph.counts()["slice.Tensor"] == slices


def test_repeated_computations_are_not_shared(rewritten):
    graph = rewritten(lambda x: (x.exp() + x.exp(),), [torch.randn(3)], share_views)
    graph.check()
    assert graph.counts()["exp.default"] == 2


@pytest.mark.parametrize("others", [False, True])
def test_views_are_made_again_for_far_users(others, rewritten):
    """... unless nothing else reads what they are views of."""

    def function(x):
        x = x * 3
        turned = x.t()
        a = turned + 1
        for _ in range(12):
            a = a * 2
        results = (a + turned, a + x.t())
        return (*results, x * 2) if others else results

    def step(editor):
        canonicalize_views(editor)
        share_views(editor, 5)
        repeat_views(editor, 5)

    graph = rewritten(function, [torch.randn(3, 4)], step)
    graph.check()
    assert graph.counts()["permute.default"] == (3 if others else 1)
    far = graph.module.graph.output_node().args[0][0]
    assert far.args[1].target is torch.ops.aten.permute.default
    assert (far.prev is far.args[1]) is others


def test_outputs_are_their_own(rewritten):
    table = torch.randn(2)

    def function(x):
        y = x + table
        return x, y, y, table

    graph = rewritten(function, [torch.randn(2)], own_outputs)
    graph.check()
    (output,) = (node for node in graph.module.graph.nodes if node.op == "output")
    assert len(set(output.args[0])) == 4
    assert {node.op for node in output.args[0]} == {"call_function"}
