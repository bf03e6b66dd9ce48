from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from export.passes.resampling import expand_upsampling
from pockettune.errors import ModelUnsupported


@pytest.mark.parametrize("factors", [(2, 2), (1, 3), (3, 1)])
@pytest.mark.parametrize("samples", [1, 2])
def test_upsampling_and_its_gradient(factors, samples, rewritten):
    def function(x, weight):
        x = x.detach().requires_grad_()
        y = F.interpolate(x, scale_factor=factors, mode="nearest")
        return y.detach(), *torch.autograd.grad((y * weight).sum(), x)

    inputs = [torch.randn(samples, 3, 4, 5)]
    inputs.append(torch.randn(samples, 3, 4 * factors[0], 5 * factors[1]))
    graph = rewritten(function, inputs, expand_upsampling)
    graph.check()
    assert not any("upsample" in name for name in graph.counts())
    assert max(node.meta["val"].dim() for node in graph.module.graph.nodes if node.users) <= 4


def test_other_factors_are_refused(rewritten):
    with pytest.raises(ModelUnsupported, match="upsampling"):
        rewritten(
            lambda x: (F.interpolate(x, size=(6, 6)),), [torch.randn(1, 2, 4, 4)], expand_upsampling
        )
