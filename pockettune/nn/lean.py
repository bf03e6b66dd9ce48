"""Swap the memory-hungry cores of a diffusion pipeline for lean ones, in place.

The lean cores compute the same values (``pockettune/nn/attention.py``, ``feed_forward.py``); what
changes is how much of them exists at a time, and that only two-dimensional products remain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from pockettune.errors import ModelUnsupported
from pockettune.nn.attention import LeanAttentionProcessor
from pockettune.nn.feed_forward import LeanFeedForward

__all__ = ["LeanOptions", "make_lean_"]

# Features of a diffusers attention layer that Stable Diffusion 1.x and 2.x do not use.
_UNUSED_ATTENTION_FEATURES = ("spatial_norm", "norm_cross", "norm_q", "norm_k", "add_k_proj")


@dataclass(frozen=True, slots=True)
class LeanOptions:
    """How much of a core may exist at a time."""

    attention_elements: int = 4 * 1024 * 1024
    """Most elements of one matrix of attention scores (4 Mi: 16 MiB); at least 1."""
    feed_forward_width: int = 640
    """Most inner units of a feed-forward layer at a time; 0 leaves these layers as they are, which
    adapters on them need."""


def make_lean_(model: Any, options: LeanOptions | None = None) -> None:
    """Make ``model`` lean in place: a module, or a pipeline with ``unet`` and ``vae``.

    Raises ``ModelUnsupported`` for an attention layer with a feature that Stable Diffusion 1.x and
    2.x do not have.
    """
    options = options or LeanOptions()
    for module in [model] if isinstance(model, nn.Module) else [model.unet, model.vae]:
        _make_attention_lean(module, options.attention_elements)
        if options.feed_forward_width:
            _make_feed_forward_lean(module, options.feed_forward_width)


def _make_attention_lean(module: nn.Module, max_elements: int) -> None:
    from diffusers.models.attention_processor import Attention

    processor = LeanAttentionProcessor(max_elements)
    for name, layer in module.named_modules():
        if isinstance(layer, Attention):
            for feature in _UNUSED_ATTENTION_FEATURES:
                if getattr(layer, feature, None):
                    raise ModelUnsupported("attention", f"{name}.{feature}", "plain attention")
            layer.set_processor(processor)


def _make_feed_forward_lean(module: nn.Module, width: int) -> None:
    from diffusers.models.activations import GEGLU
    from diffusers.models.attention import FeedForward

    for parent in list(module.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, FeedForward) and isinstance(layer.net[0], GEGLU):
                setattr(parent, name, LeanFeedForward(layer, width))
