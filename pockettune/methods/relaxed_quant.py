"""Relaxed Quantization, centrally (one client) or in a fleet.

Christos Louizos, Matthias Reisser, Tijmen Blankevoort, Efstratios Gavves, Max Welling, "Relaxed
Quantization for Discretized Neural Networks", ICLR 2019, arXiv:1810.01875.

Each weight, and each activation behind a ReLU, is replaced by a relaxed draw from its distribution
over the grid (``pockettune/nn/relaxed.py``). The grid's step alpha and the noise's scale sigma of
each tensor are learnt beside the weights: both are ``softplus`` of a parameter. On a device values
are rounded.

Differs from the paper, or is our choice where our notes do not know it
(``docs/methods/relaxed_quant.md``): alpha begins at ``max|w|`` over the grid's end and, for
activations, at ``first_range`` over it; the local grid has 7 points for every width; the values of
a tensor share random shifts (``pockettune/nn/relaxed.py``), a seventh of the random numbers.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from pockettune import checks
from pockettune.method import Method, Objective
from pockettune.models.classifier import Classifier, Tap, keep
from pockettune.nn.losses import cross_entropy, weighted_mean
from pockettune.nn.relaxed import POINTS, grid_ends, relaxed, rounded, shifted
from pockettune.pack import unpack, views_of
from pockettune.program import TensorSpec

__all__ = [
    "METHOD",
    "Config",
    "client_loss",
    "init_state",
    "prepare",
    "quantized_logits",
    "with_scales",
]

_WEIGHT_STREAM, _ACTIVATION_STREAM = 54, 55
_ALPHA, _SIGMA = "quantizer.alpha.", "quantizer.sigma."


@dataclass(frozen=True, slots=True)
class Config:
    """The grids and the relaxation. Raises ConfigInvalid for a value out of range."""

    bits: int = 4
    """Of weights and, where asked, activations: 2 to 8."""
    activations: bool = True
    """Whether activations are quantized as well."""
    straight_through: bool = False
    """RQ-ST: the forward pass takes a point of the grid."""
    weight_temperature: float = 1.0
    activation_temperature: float = 2.0
    noise: float = 1.0 / 3.0
    """First sigma, in steps of the grid."""
    first_range: float = 4.0
    """Where the grid of activations first ends."""
    batch_size: int = 32
    """Examples of a batch: activations of each draw their own noise."""

    def __post_init__(self) -> None:
        checks.integer("bits", self.bits, 2, 8)
        for name in ("weight_temperature", "activation_temperature", "noise", "first_range"):
            checks.number(name, getattr(self, name), "a number above 0", lambda value: value > 0)
        checks.flag("activations", self.activations)
        checks.flag("straight_through", self.straight_through)
        checks.integer("batch_size", self.batch_size, 1, 2**20 - 1)


def prepare(model: Classifier, config: Config) -> Classifier:
    """``model`` with an alpha and a sigma for each quantized tensor."""
    names = (*model.weights, *(model.taps if config.activations else ()))
    more = [(prefix + name, (1,)) for name in names for prefix in (_ALPHA, _SIGMA)]
    views = views_of([*((view.name, view.shape) for view in model.views), *more])
    return dataclasses.replace(model, views=views)


def init_state(model: Classifier, config: Config, seed: int) -> Tensor:
    """The plain model's initial values, and steps with which the grids cover them."""
    return with_scales(model, config, _plain(model).initial(seed), {})


def with_scales(
    model: Classifier, config: Config, plain: Tensor, ranges: Mapping[str, float]
) -> Tensor:
    """The pack of ``model`` from one of the plain model, trained or not: grids cover the weights,
    and those of activations end at ``ranges`` by their taps' names, else at ``first_range``."""
    views = _plain(model).views
    tensors = unpack(views, plain)
    more = []
    for view in model.views[len(views) :]:
        name = view.name.removeprefix(_ALPHA).removeprefix(_SIGMA)
        low, high = grid_ends(config.bits, signed=name in tensors)
        if name in tensors:
            reach = float(tensors[name].abs().max())
        else:
            reach = ranges.get(name, config.first_range)
        step = reach / max(-low, high)
        value = step if view.name.startswith(_ALPHA) else step * config.noise
        more.append(math.log(math.expm1(value)))
    return torch.cat([plain, torch.tensor(more)])


def client_loss(model: Classifier, config: Config) -> Objective:
    """The cross-entropy of a relaxed draw of the network."""
    sizes = {view.name: math.prod(view.shape) for view in model.views}
    weight_draws = sum(sizes[name] + POINTS for name in model.weights)
    draws = [
        TensorSpec(
            "weight_noise", "float32", (weight_draws,), "random.uniform", _WEIGHT_STREAM, "step"
        )
    ]
    shapes = _tap_shapes(model, config.batch_size) if config.activations else {}
    if shapes:
        count = sum(math.prod(shape) + POINTS for shape in shapes.values())
        draws.append(
            TensorSpec(
                "activation_noise",
                "float32",
                (count,),
                "random.uniform",
                _ACTIVATION_STREAM,
                "step",
            )
        )

    def loss(
        named: dict[str, Tensor], inputs: Tensor, labels: Tensor, weights: Tensor, *drawn: Tensor
    ) -> Tensor:
        take = _Noise(drawn[0])

        def draw_of(name: str, value: Tensor, noise: _Noise, temperature: float) -> Tensor:
            low, high = grid_ends(config.bits, signed=name in sizes)
            return relaxed(
                value,
                *_scales(named, name),
                low,
                high,
                noise.next(value.shape),
                temperature=temperature,
                straight_through=config.straight_through,
            )

        changed = dict(named)
        for name in model.weights:
            changed[name] = draw_of(name, named[name], take, config.weight_temperature)
        tap: Tap = keep
        if shapes:
            tap = partial(
                draw_of, noise=_Noise(drawn[1]), temperature=config.activation_temperature
            )
        logits = model.apply_named(changed, inputs, tap)
        return weighted_mean(cross_entropy(logits, labels), weights)

    return Objective(loss, tuple(draws))


def quantized_logits(
    model: Classifier, config: Config, parameters: Tensor, inputs: Tensor
) -> Tensor:
    """The logits of the rounded network, as a device computes them."""
    named = unpack(model.views, parameters)

    def on_grid(name: str, value: Tensor) -> Tensor:
        low, high = grid_ends(config.bits, signed=name in model.weights)
        return rounded(value, _scales(named, name)[0], low, high)

    changed = named | {name: on_grid(name, named[name]) for name in model.weights}
    tap: Tap = on_grid if config.activations else lambda _, value: value
    return model.apply_named(changed, inputs, tap)


class _Noise:
    """Random numbers of one draw, handed out tensor by tensor."""

    def __init__(self, flat: Tensor) -> None:
        self._flat = flat
        self._start = 0

    def next(self, shape: torch.Size) -> Tensor:
        """The next ones, ``[*shape, POINTS]``, from shifts and one number for each value."""
        first = self._start + POINTS
        shifts, self._start = self._flat[self._start : first], first + math.prod(shape)
        return shifted(self._flat[first : self._start].reshape(shape), shifts)


def _plain(model: Classifier) -> Classifier:
    """The model before ``prepare``."""
    own = {name for name, _ in model.module.named_parameters()}
    return dataclasses.replace(model, views=tuple(v for v in model.views if v.name in own))


def _scales(named: dict[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    """Alpha and sigma of a tensor, each ``[1]`` and above 0."""
    floor = 1e-8
    return F.softplus(named[_ALPHA + name]) + floor, F.softplus(named[_SIGMA + name]) + floor


def _tap_shapes(model: Classifier, batch_size: int) -> dict[str, torch.Size]:
    """The shapes of the activations of a batch, found without computing them."""
    shapes: dict[str, torch.Size] = {}

    def note(name: str, value: Tensor) -> Tensor:
        shapes[name] = value.shape
        return value

    model.module(torch.zeros((batch_size, *model.input_shape), device="meta"), note)
    return shapes


METHOD = Method(
    paper="arXiv:1810.01875",
    config=Config,
    prepare=prepare,
    init_state=init_state,
    client_loss=client_loss,
)
