"""Federated averaging of networks that shall run at several bit-widths.

Kartik Gupta, Marios Fournarakis, Matthias Reisser, Christos Louizos, Markus Nagel, "Quantization
Robust Federated Learning for Efficient Inference on Heterogeneous Devices", TMLR 2023,
arXiv:2206.10844.

Server and wire are those of federated averaging, at full precision; only a client's loss changes.
With ``L`` the cross-entropy, ``Q_b`` the grid of b bits with the scale ``s_b`` of the largest
weight (``pockettune/nn/quantizers.py``) and strength r:

- ``kure``: ``L(w) + r mean over weights l of (Kurt(w_l) - 1.8)^2`` (B. Chmiel et al., arXiv
  2002.07686): uniform weights lose least on a grid.
- ``apqn``: ``L(w + r u)``, u uniform in ``[-s_b / 2, s_b / 2]``, as if it were constant.
- ``qat``: ``L(w + r (Q_b(w) - w))`` with a straight-through gradient.
- ``mqat``: the same with b drawn anew from ``widths`` for each step, round or client.

A strength of 0 is federated averaging, bit for bit. What the paper leaves open, and what is other
here: ``docs/methods/quant_robust.md``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from pockettune import checks
from pockettune.errors import ConfigInvalid
from pockettune.method import Method, Objective
from pockettune.models.classifier import Classifier, Tap, keep
from pockettune.nn.losses import cross_entropy, weighted_mean
from pockettune.nn.quantizers import (
    FULL,
    WIDTHS,
    fake_quantized,
    fake_quantized_activation,
    kurtosis,
    levels,
    max_scale,
)
from pockettune.program import TensorSpec

__all__ = ["METHOD", "Config", "client_loss"]

_VARIANTS = ("fedavg", "kure", "apqn", "qat", "mqat")
_WIDTH_STREAM, _NOISE_STREAM = 52, 53
_UNIFORM_KURTOSIS = 1.8


@dataclass(frozen=True, slots=True)
class Config:
    """What makes weights robust. Raises ConfigInvalid for a value out of range."""

    variant: str = "mqat"
    """"fedavg", "kure", "apqn", "qat" or "mqat"."""
    strength: float = 1.0
    """r, at least 0; at most 1 for "qat" and "mqat"."""
    bits: int = 4
    """b of "apqn" and "qat"."""
    widths: tuple[int, ...] = (2, 3, 4, 8, 32)
    """What "mqat" draws from; 32 is no grid."""
    granularity: str = "step"
    """When "mqat" draws: each "step", each "round" (one width for all), or once for a "client"."""
    activations: bool = False
    """Whether "qat" and "mqat" put activations on a grid of as many bits."""
    per_channel: bool = False
    """Whether each output channel has a scale of its own."""
    first_last: str = "same"
    """Bits of the first and last layer: "same", "eight" (at least 8) or "full"."""

    def __post_init__(self) -> None:
        checks.choice("variant", self.variant, _VARIANTS)
        checks.choice("granularity", self.granularity, ("step", "round", "client"))
        checks.choice("first_last", self.first_last, ("same", "eight", "full"))
        checks.flag("activations", self.activations)
        checks.flag("per_channel", self.per_channel)
        if self.variant in ("qat", "mqat"):
            valid, most = "a number from 0 to 1", 1.0
        else:
            valid, most = "a number of at least 0", math.inf
        checks.number("strength", self.strength, valid, lambda value: 0.0 <= value <= most)
        checks.choice("bits", self.bits, WIDTHS[:-1])
        if not isinstance(self.widths, tuple) or not self.widths:
            raise ConfigInvalid("widths", self.widths, f"some of {WIDTHS}")
        for width in self.widths:
            checks.choice("widths", width, WIDTHS)


_Transform: TypeAlias = Callable[..., tuple[dict[str, Tensor], Tap]]


def client_loss(model: Classifier, config: Config) -> Objective:
    """The client's loss for ``config``."""
    if config.strength == 0.0 or config.variant == "fedavg":
        return _objective(model, lambda named, _: (named, keep))
    if config.variant == "kure":
        return _kure(model, config)
    if config.variant == "apqn":
        return _apqn(model, config)
    return _aware(model, config)


def _objective(model: Classifier, transform: _Transform, *draws: TensorSpec) -> Objective:
    """The cross-entropy with the parameters and the tap that ``transform(parameters, weights,
    *draws)`` gives, ``weights`` ``[B]`` those of the examples."""

    def loss(
        named: dict[str, Tensor], inputs: Tensor, labels: Tensor, weights: Tensor, *drawn: Tensor
    ) -> Tensor:
        changed, tap = transform(named, weights, *drawn)
        logits = model.apply_named(changed, inputs, tap)
        return weighted_mean(cross_entropy(logits, labels), weights)

    return Objective(loss, draws)


def _kure(model: Classifier, config: Config) -> Objective:
    plain = _objective(model, lambda named, _: (named, keep))

    def loss(named: dict[str, Tensor], *batch: Tensor) -> Tensor:
        spread = [(kurtosis(named[name]) - _UNIFORM_KURTOSIS).square() for name in model.weights]
        return plain.loss(named, *batch) + config.strength * torch.stack(spread).mean()

    return Objective(loss)


def _apqn(model: Classifier, config: Config) -> Objective:
    widths = {name: model.width_of(name, config.bits, config.first_last) for name in model.weights}
    noisy = [name for name, width in widths.items() if width != FULL]
    shapes = {view.name: view.shape for view in model.views}
    size = sum(math.prod(shapes[name]) for name in noisy)
    noise = TensorSpec("noise", "float32", (size,), "random.uniform", _NOISE_STREAM, "step")

    def transform(
        named: dict[str, Tensor], _: Tensor, unit: Tensor
    ) -> tuple[dict[str, Tensor], Tap]:
        changed, start = dict(named), 0
        for name in noisy:
            weights, count = named[name], math.prod(shapes[name])
            own = unit[start : start + count].reshape(shapes[name]) - 0.5
            scale = max_scale(weights, levels(widths[name]), per_channel=config.per_channel)
            changed[name] = weights + own * scale * config.strength
            start += count
        return changed, keep

    return _objective(model, transform, noise)


def _aware(model: Classifier, config: Config) -> Objective:
    """Quantization-aware: ``qat`` is ``mqat`` with one width, which needs no draw."""
    widths = config.widths if config.variant == "mqat" else (config.bits,)
    draws: tuple[TensorSpec, ...] = ()
    if len(widths) > 1:
        draws = (
            TensorSpec(
                "width",
                "int64",
                (1,),
                "random.integer",
                _WIDTH_STREAM,
                config.granularity,
                low=0,
                high=len(widths),
            ),
        )

    def grid(name: str | None, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """``top`` and ``share`` of a weight (or an activation) for the width drawn."""
        own = [
            width if name is None else model.width_of(name, width, config.first_last)
            for width in widths
        ]
        tops = torch.tensor([1.0 if width == FULL else levels(width) for width in own])
        shares = torch.tensor([0.0 if width == FULL else config.strength for width in own])
        return (chosen * tops).sum(), (chosen * shares).sum()

    def transform(
        named: dict[str, Tensor], weights: Tensor, *drawn: Tensor
    ) -> tuple[dict[str, Tensor], Tap]:
        chosen = torch.ones(1)
        if drawn:
            chosen = (drawn[0] == torch.arange(len(widths))).to(torch.float32)
        changed = dict(named)
        for name in model.weights:
            changed[name] = fake_quantized(
                named[name], *grid(name, chosen), per_channel=config.per_channel
            )
        if not config.activations:
            return changed, keep
        top, share = grid(None, chosen)
        present = (weights > 0).to(torch.float32)
        return changed, lambda _, value: fake_quantized_activation(value, top, share, present)

    return _objective(model, transform, *draws)


METHOD = Method(paper="arXiv:2206.10844", config=Config, client_loss=client_loss)
