from __future__ import annotations

import torch

from export.passes.products import expand_products
from export.passes.views import canonicalize_views, merge_views


def test_products_become_linear(rewritten):
    def function(a, b, c):
        return a @ b.T, a.T @ c, torch.addmm(c[0], a, b.T), (a[None] @ b.T[None])

    inputs = [torch.randn(4, 6), torch.randn(3, 6), torch.randn(4, 3)]
    graph = rewritten(function, inputs, expand_products, canonicalize_views, merge_views)
    graph.check()
    counts = graph.counts()
    assert counts["linear.default"] == 4
    assert not any(name.split(".")[0] in ("mm", "bmm", "addmm") for name in counts)


def test_transposes_cancel(rewritten):
    graph = rewritten(
        lambda a, b: (a @ b.T,),
        [torch.randn(4, 6), torch.randn(3, 6)],
        expand_products,
        canonicalize_views,
        merge_views,
    )
    graph.check()
    assert graph.counts() == {"linear.default": 1}


def test_batches_stay(rewritten):
    inputs = [torch.randn(2, 4, 6), torch.randn(2, 6, 3)]
    graph = rewritten(lambda a, b: (a @ b,), inputs, expand_products)
    graph.check()
    assert graph.counts()["bmm.default"] == 1
