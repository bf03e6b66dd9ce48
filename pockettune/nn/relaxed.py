"""Relaxed Quantization: a value as a distribution over the points of its grid.

C. Louizos, M. Reisser, T. Blankevoort, E. Gavves, M. Welling, "Relaxed Quantization for Discretized
Neural Networks", ICLR 2019, arXiv 1810.01875.

The grid is ``g_i = alpha i`` for whole numbers ``i`` from ``low`` to ``high``. Logistic noise of
scale ``sigma`` moves a value x to the bin of ``g_i`` with probability

``pi_i  ~  S((g_i + alpha / 2 - x) / sigma) - S((g_i - alpha / 2 - x) / sigma)``, S the sigmoid,

over the points that there are. With ``a`` and ``b`` the two arguments the difference is ``S(a)
S(-b) (1 - exp(b - a))``, whose last factor is the same for all points; so the logits are ``log S(a)
+ log S(-b)``, stable however small ``sigma`` is. A draw is relaxed by the concrete distribution (C.
Maddison et al., arXiv 1611.00712): ``y = softmax((log pi + G) / temperature)``, Gumbel noise G.

Only ``2 reach + 1`` points around the value are looked at (the paper's local grid): at ``sigma =
alpha / 3`` less than 1e-3 of the mass lies beyond, and the cost does not grow with the width.

Random numbers are dear on a phone (``spec/random.md``), so a value has one of its own, and each
point of the local grid a shift that a tensor's values share: ``u_k = (u + shift_k) mod 1``. All are
uniform, one value's are independent, and so are any three; only the four of two values at two
points depend on one another.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["POINTS", "REACH", "grid_ends", "log_probabilities", "relaxed", "rounded", "shifted"]

REACH = 3
POINTS = 2 * REACH + 1
"""Points of the local grid."""

_NEVER = -1e9


def grid_ends(bits: int, *, signed: bool) -> tuple[float, float]:
    """The smallest and largest whole number of a grid: two's complement, or from 0."""
    if signed:
        return -float(2 ** (bits - 1)), float(2 ** (bits - 1) - 1)
    return 0.0, float(2**bits - 1)


def log_probabilities(
    x: Tensor, alpha: Tensor, sigma: Tensor, low: float, high: float
) -> tuple[Tensor, Tensor]:
    """``log pi`` and the whole numbers of the local grid's points, both ``[..., POINTS]``.

    ``alpha`` and ``sigma`` are positive and broadcast against ``x``. Points beyond the grid's ends
    have a probability of 0.
    """
    logits, points = _logits(x, alpha, sigma, low, high)
    return torch.log_softmax(logits, dim=-1), points


def _logits(
    x: Tensor, alpha: Tensor, sigma: Tensor, low: float, high: float
) -> tuple[Tensor, Tensor]:
    """``log pi`` up to a number that is the same for all points of a value."""
    middle = (x / alpha).detach().round().clamp(low, high).unsqueeze(-1)
    points = middle + torch.arange(-REACH, REACH + 1, dtype=x.dtype)
    bins = points * alpha.unsqueeze(-1)
    half, distance = 0.5 * alpha.unsqueeze(-1), bins - x.unsqueeze(-1)
    spread = sigma.unsqueeze(-1)
    logits = F.logsigmoid((distance + half) / spread) + F.logsigmoid((half - distance) / spread)
    beyond = (points < low) | (points > high)
    return logits + beyond.to(x.dtype) * _NEVER, points


def relaxed(
    x: Tensor,
    alpha: Tensor,
    sigma: Tensor,
    low: float,
    high: float,
    uniform: Tensor,
    *,
    temperature: float,
    straight_through: bool,
) -> Tensor:
    """A relaxed draw of x's point, of the shape of ``x``; ``uniform`` ``[..., POINTS]`` are its
    random numbers in (0, 1).

    With ``straight_through`` the value is the likeliest point of the draw (RQ-ST), the gradient
    that of the relaxed one.
    """
    # The softmax does not need pi normalized.
    logits, points = _logits(x, alpha, sigma, low, high)
    # Uniform numbers may round to 1, whose Gumbel noise is infinite.
    gumbel = -torch.log(-torch.log(uniform.clamp(1e-12, 1.0 - 1e-7)))
    weights = torch.softmax((logits + gumbel) / temperature, dim=-1)
    if straight_through:
        best = weights.amax(dim=-1, keepdim=True)
        hard = (weights >= best).to(x.dtype)
        # Two points may tie in float32: their mean is then taken, not their sum.
        hard = hard / hard.sum(dim=-1, keepdim=True)
        weights = weights + (hard - weights).detach()
    return (weights * points).sum(dim=-1) * alpha


def shifted(own: Tensor, shifts: Tensor) -> Tensor:
    """Random numbers ``[..., POINTS]`` from one of each value, ``own`` ``[...]``, and ``shifts``
    ``[POINTS]``; all in [0, 1]."""
    total = own.unsqueeze(-1) + shifts
    return total - (total >= 1.0).to(total.dtype)


def rounded(x: Tensor, alpha: Tensor, low: float, high: float) -> Tensor:
    """What a device computes: ``alpha clip(round(x / alpha), low, high)``."""
    return (x / alpha).round().clamp(low, high) * alpha
