"""AdamW and momentum SGD as pure functions of flat vectors, for use inside a program.

Everything is elementwise on float32 ``[P]`` or ``[1]``, so that a step graph spends a dozen nodes
on the optimizer. Learning rate, weight decay, clipping bound and warm-up are inputs, not constants.

- AdamW (arXiv 1711.05101), as ``torch.optim.AdamW``: decoupled weight decay, bias correction.
- SGD with momentum, as ``torch.optim.SGD``: weight decay is added to the gradient.
- Clipping by the global norm, as ``torch.nn.utils.clip_grad_norm_``.
- Accumulation over k calls: the *sum* of the calls' gradients is applied at each k-th call. Sample
  weights belong in the loss; weights 1/k give the mean, weights 1 and w the DreamBooth sum.

Branches are products with 0 or 1, which are exact, so both outcomes are one graph.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["BETA1", "BETA2", "EPSILON", "MOMENTUM", "Hyper", "Optimizer", "OptimizerState"]

BETA1 = 0.9
BETA2 = 0.999
EPSILON = 1e-8
MOMENTUM = 0.9
# clip_grad_norm_ of torch adds this to the norm.
_NORM_EPSILON = 1e-6


@dataclass(frozen=True, slots=True)
class Hyper:
    """Inputs of an update, each float32 ``[1]``.

    ``warmup_steps`` counts updates over which the rate rises linearly to ``learning_rate``, which
    it has reached at update number ``warmup_steps``; 0 or 1 is no warm-up.
    """

    learning_rate: Tensor
    weight_decay: Tensor
    max_gradient_norm: Tensor
    warmup_steps: Tensor


@dataclass(frozen=True, slots=True)
class OptimizerState:
    """What an update reads and writes: float32 ``[P]`` vectors and ``step``, int64 ``[1]``, which
    counts calls. ``moment2`` is None for SGD, ``moment1`` too without momentum, ``accumulator`` is
    None without accumulation."""

    parameters: Tensor
    moment1: Tensor | None
    moment2: Tensor | None
    accumulator: Tensor | None
    step: Tensor

    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors that exist, in the order of the fields."""
        fields = (self.parameters, self.moment1, self.moment2, self.accumulator, self.step)
        return tuple(tensor for tensor in fields if tensor is not None)


@dataclass(frozen=True, slots=True)
class Optimizer:
    """``kind`` is "adamw" or "sgd"; ``accumulation`` >= 1 calls make an update; with ``cosine`` the
    rate falls to 0 over the ``total_updates`` after warm-up, else it stays. ``momentum`` is that of
    "sgd": with 0 there is no moment. Without ``clipping`` the bound is ignored, without ``decay``
    the weight decay of "sgd"."""

    kind: str
    accumulation: int = 1
    cosine: bool = False
    total_updates: int = 1
    momentum: float = MOMENTUM
    clipping: bool = True
    decay: bool = True

    def names(self) -> tuple[str, ...]:
        """Names of the state's vectors besides the parameters, in the order of the fields."""
        moments: tuple[str, ...] = ("moment1", "moment2")
        if self.kind == "sgd":
            moments = ("moment1",) if self.momentum else ()
        return moments + (("accumulator",) if self.accumulation > 1 else ()) + ("step",)

    def state(self, parameters: Tensor, *rest: Tensor) -> OptimizerState:
        """The state from its tensors in the order of ``names``."""
        by_name = dict(zip(self.names(), rest, strict=True))
        return OptimizerState(
            parameters,
            by_name.get("moment1"),
            by_name.get("moment2"),
            by_name.get("accumulator"),
            by_name["step"],
        )

    def update(
        self, state: OptimizerState, gradient: Tensor, hyper: Hyper
    ) -> tuple[OptimizerState, Tensor]:
        """One call. Returns the new state and the gradient's norm before clipping, ``[1]``.

        ``gradient`` float32 ``[P]`` is this call's; the norm is that of the sum so far.
        """
        calls = state.step + 1
        if state.accumulator is not None:
            gradient = state.accumulator + gradient
        due: Tensor | None = None
        updates = calls.to(torch.float32)
        if self.accumulation > 1:
            # 1 at each k-th call, else 0; small integers are exact in float32.
            whole = torch.floor(updates / float(self.accumulation))
            due = 1.0 - (updates - whole * float(self.accumulation)).clamp(max=1.0)
            # Before the first update the result is discarded, but must be finite.
            updates = whole.clamp(min=1.0)
        norm = torch.sqrt((gradient * gradient).sum(dim=0, keepdim=True))
        clipped = gradient
        if self.clipping:
            clipped = gradient * (hyper.max_gradient_norm / (norm + _NORM_EPSILON)).clamp(max=1.0)
        rate = hyper.learning_rate * self._rate_factor(updates, hyper.warmup_steps)
        apply = self._adamw if self.kind == "adamw" else self._sgd
        new = apply(state, clipped, updates, rate, hyper.weight_decay)
        if due is None:
            return OptimizerState(*new, None, calls), norm
        hold = 1.0 - due
        parameters, moment1, moment2 = new
        if moment1 is not None and state.moment1 is not None:
            moment1 = moment1 * due + state.moment1 * hold
        if moment2 is not None and state.moment2 is not None:
            moment2 = moment2 * due + state.moment2 * hold
        chosen = OptimizerState(
            parameters * due + state.parameters * hold, moment1, moment2, gradient * hold, calls
        )
        return chosen, norm

    def _rate_factor(self, updates: Tensor, warmup: Tensor) -> Tensor:
        """The factor of the learning rate at update number ``updates``, counted from 1."""
        factor = (updates / warmup.clamp(min=1.0)).clamp(max=1.0)
        if not self.cosine:
            return factor
        length = (float(self.total_updates) - warmup).clamp(min=1.0)
        progress = ((updates - 1.0 - warmup) / length).clamp(0.0, 1.0)
        return factor * (torch.cos(progress * math.pi) * 0.5 + 0.5)

    def _adamw(
        self, state: OptimizerState, gradient: Tensor, updates: Tensor, rate: Tensor, decay: Tensor
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        if state.moment1 is None or state.moment2 is None:
            raise ValueError("AdamW needs two moments")
        moment1 = state.moment1 * BETA1 + gradient * (1.0 - BETA1)
        moment2 = state.moment2 * BETA2 + gradient * gradient * (1.0 - BETA2)
        spread = torch.sqrt(moment2) / torch.sqrt(_one_minus_power(BETA2, updates)) + EPSILON
        move = moment1 / spread * (rate / _one_minus_power(BETA1, updates))
        return state.parameters * (1.0 - rate * decay) - move, moment1, moment2

    def _sgd(
        self, state: OptimizerState, gradient: Tensor, _: Tensor, rate: Tensor, decay: Tensor
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        if self.decay:
            gradient = gradient + state.parameters * decay
        if state.moment1 is None:
            return state.parameters - gradient * rate, None, None
        moment1 = state.moment1 * self.momentum + gradient
        return state.parameters - moment1 * rate, moment1, None


def _one_minus_power(base: float, exponent: Tensor) -> Tensor:
    """``1 - base**exponent`` without cancellation: with ``y = -exponent ln(base)`` it is
    ``tanh(y/2) (1 + exp(-y))``; the plain difference loses 4 digits at 0.999 and exponent 1."""
    half = exponent * (-0.5 * math.log(base))
    return torch.tanh(half) * (torch.exp(-2.0 * half) + 1.0)
