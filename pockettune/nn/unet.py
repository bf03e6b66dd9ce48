"""The U-Net as a list of units, and what a hollow cut takes out of it.

A unit is the smallest part that this repository moves around: one resnet, one transformer, one
sampler, the first convolution, the head. ``units_of`` lists those of a diffusers
``UNet2DConditionModel`` in the order in which its ``forward`` runs them, and names for each resnet
of the decoder the encoder unit whose output it concatenates. Walks over slices of that list are the
full net, the part that precomputes the hidden tensor, and the hollow net: the same modules and
weights each time, no copies, no patched methods.

A *pair* is an encoder output with the decoder resnet that takes it. Pairs nest like brackets, so
each hollow is "everything inside some pair": it is contiguous, what stays never misses a skip, and
the last encoder unit that stays still feeds one. Four have names; in Stable Diffusion's U-Nets they
remove: A the middle (mid); B the deepest level (down2.ds to up0); C one more pair (down2.1 to
up1.0); D the two deepest levels (down1.ds to up1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pockettune.errors import CutIllegal, ModelUnsupported

__all__ = [
    "NO_CUT",
    "Cut",
    "UNetUnits",
    "Unit",
    "check_cut",
    "check_supported",
    "cut_at",
    "cut_by_name",
    "kept_units",
    "legal_cuts",
    "parameters_in",
    "precompute",
    "predict",
    "predict_hollow",
    "units_of",
]

NO_CUT = "none"
"""The name of the cut that removes nothing: the whole net is trained."""

_BLOCKS: Mapping[str, tuple[str | None, ...]] = {  # the first is what an absent setting means
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "mid_block_type": ("UNetMidBlock2DCrossAttn", None),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
}
# Settings that add inputs or arithmetic which a walk over units does not do.
_REQUIRED: Mapping[str, Any] = {
    "addition_embed_type": None,
    "attention_type": "default",
    "center_input_sample": False,
    "class_embed_type": None,
    "dual_cross_attention": False,
    "encoder_hid_dim_type": None,
    "num_class_embeds": None,
    "time_cond_proj_dim": None,
    "time_embedding_act_fn": None,
    "time_embedding_type": "positional",
}


@dataclass(frozen=True, slots=True)
class Unit:
    """One part of the net.

    ``name`` is the path of its module, ``kind`` says how it is called: "resnet" (hidden, time),
    "attention" (hidden, text) or "chain" (hidden through each of ``modules``). ``skip`` is the name
    of the unit whose output a resnet of the decoder concatenates to its input.
    """

    name: str
    kind: str
    modules: tuple[nn.Module, ...]
    skip: str | None = None

    def __call__(self, hidden: Tensor, time: Tensor, text: Tensor, skip: Tensor | None) -> Tensor:
        """Run the unit. The concatenation lies inside, so that recomputation covers it."""
        if skip is not None:
            hidden = torch.cat([hidden, skip], dim=1)
        if self.kind == "resnet":
            return self.modules[0](hidden, time)
        if self.kind == "attention":
            return self.modules[0](hidden, encoder_hidden_states=text, return_dict=False)[0]
        for module in self.modules:
            hidden = module(hidden)
        return hidden


@dataclass(frozen=True, slots=True)
class UNetUnits:
    """A net and its units; ``pairs`` are (source, consumer) indices, the innermost first."""

    model: nn.Module
    units: tuple[Unit, ...]
    pairs: tuple[tuple[int, int], ...]
    pairs_per_level: tuple[int, ...]
    """Number of pairs at each level of resolution, the deepest first."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A hollow: ``units[stop:resume]`` are removed."""

    name: str
    stop: int
    resume: int


def units_of(model: Any) -> UNetUnits:
    """The units of a ``UNet2DConditionModel``.

    Raises ModelUnsupported for a block type or setting beyond Stable Diffusion 1.x and 2.x.
    """
    check_supported(model.config)
    units = [Unit("conv_in", "chain", (model.conv_in,))]
    stack = ["conv_in"]
    pushed = [1]
    for number, block in enumerate(model.down_blocks):
        prefix = f"down_blocks.{number}"
        for index, _ in enumerate(block.resnets):
            units += _layer(block, prefix, index, None)
            stack.append(units[-1].name)
        pushed[-1] += len(block.resnets)
        if block.downsamplers is not None:
            name = f"{prefix}.downsamplers.0"
            units.append(Unit(name, "chain", (block.downsamplers[0],)))
            stack.append(name)
            pushed.append(1)
    if model.mid_block is not None:
        first, *others = model.mid_block.resnets
        units.append(Unit("mid_block.resnets.0", "resnet", (first,)))
        for index, pair in enumerate(zip(model.mid_block.attentions, others, strict=True)):
            units.append(Unit(f"mid_block.attentions.{index}", "attention", pair[:1]))
            units.append(Unit(f"mid_block.resnets.{index + 1}", "resnet", pair[1:]))
    for number, block in enumerate(model.up_blocks):
        prefix = f"up_blocks.{number}"
        for index, _ in enumerate(block.resnets):
            units += _layer(block, prefix, index, stack.pop())
        if block.upsamplers is not None:
            units.append(Unit(f"{prefix}.upsamplers.0", "chain", (block.upsamplers[0],)))
    head = (model.conv_norm_out, model.conv_act, model.conv_out)
    units.append(Unit("conv_out", "chain", tuple(part for part in head if part is not None)))
    place = {unit.name: index for index, unit in enumerate(units)}
    pairs = tuple((place[unit.skip], place[unit.name]) for unit in units if unit.skip is not None)
    return UNetUnits(model, tuple(units), pairs, tuple(reversed(pushed)))


def _layer(block: Any, prefix: str, index: int, skip: str | None) -> list[Unit]:
    """A resnet and, where the block has them, the transformer behind it."""
    name = f"{prefix}.resnets.{index}"
    units = [Unit(name, "resnet", (block.resnets[index],), skip)]
    if getattr(block, "has_cross_attention", False):
        attention = block.attentions[index]
        units.append(Unit(f"{prefix}.attentions.{index}", "attention", (attention,)))
    return units


def check_supported(config: Mapping[str, Any]) -> None:
    """Refuse a net's config beyond Stable Diffusion 1.x and 2.x. Raises ModelUnsupported."""
    for setting, valid in _BLOCKS.items():
        kinds = config.get(setting, valid[0])
        for kind in kinds if isinstance(kinds, list | tuple) else [kinds]:
            if kind not in valid:
                raise ModelUnsupported(f"unet.{setting}", kind, valid)
    for setting, required in _REQUIRED.items():
        if config.get(setting, required) != required:
            raise ModelUnsupported(f"unet.{setting}", config[setting], [required])


def cut_at(net: UNetUnits, pairs: int, name: str) -> Cut:
    """The hollow inside the pair that has ``pairs`` pairs within it."""
    return Cut(name, net.pairs[pairs][0] + 1, net.pairs[pairs][1])


def check_cut(net: UNetUnits, cut: Cut) -> None:
    """Refuse a hollow that is empty, takes a skip away from a unit that stays, or leaves an encoder
    unit that feeds nothing. Raises CutIllegal."""
    legal = [*legal_cuts(net), NO_CUT]
    if cut.stop >= cut.resume:
        raise CutIllegal(cut.name, legal, "it removes nothing")
    removed = range(cut.stop, cut.resume)
    for source, consumer in net.pairs:
        if consumer not in removed and source in removed:
            kept, lost = net.units[consumer].name, net.units[source].name
            raise CutIllegal(cut.name, legal, f"{kept} needs the output of {lost}")
    if not any(source == cut.stop - 1 and consumer >= cut.resume for source, consumer in net.pairs):
        idle = net.units[cut.stop - 1].name
        raise CutIllegal(cut.name, legal, f"the output of {idle} would feed nothing")


def legal_cuts(net: UNetUnits) -> dict[str, Cut]:
    """Cuts A to D as far as this net has the levels for them; the outermost level always stays."""
    deepest, *higher = net.pairs_per_level
    inside = {"A": 0}
    if len(higher) > 0:
        inside |= {"B": deepest, "C": deepest + 1}
    if len(higher) > 1:
        inside["D"] = deepest + higher[0]
    cuts = {name: cut_at(net, pairs, name) for name, pairs in inside.items()}
    # Without a middle block the innermost pair encloses nothing.
    return {name: cut for name, cut in cuts.items() if cut.stop < cut.resume}


def cut_by_name(net: UNetUnits, name: str) -> Cut | None:
    """The cut of that name, or None for "none". Raises CutIllegal naming the legal ones."""
    if name == NO_CUT:
        return None
    cuts = legal_cuts(net)
    if name not in cuts:
        levels = f"the net has {len(net.pairs_per_level)} levels of resolution"
        reason = levels if name in tuple("ABCD") else "no cut has that name"
        raise CutIllegal(name, [*cuts, NO_CUT], reason)
    check_cut(net, cuts[name])
    return cuts[name]


def kept_units(net: UNetUnits, cut: Cut | None) -> tuple[Unit, ...]:
    """The units that the hollow net runs."""
    return net.units if cut is None else net.units[: cut.stop] + net.units[cut.resume :]


def parameters_in(units: Iterable[Unit]) -> int:
    """Number of parameters of these units."""
    modules = (module for unit in units for module in unit.modules)
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def predict(
    net: UNetUnits, sample: Tensor, timestep: Tensor, text: Tensor, *, recompute: bool = False
) -> Tensor:
    """The full net: what ``unet(sample, timestep, text)`` of diffusers returns.

    ``sample`` float32 ``[N, channels, height, width]``, height and width divisible by 2 for each
    down-sampler; ``timestep`` int64 ``[1]``; ``text`` float32 ``[N, tokens, features]``. With
    ``recompute`` the backward pass keeps the inputs of units only and runs each unit again.
    """
    time = _embed_time(net, sample, timestep)
    return _walk(net, net.units, sample, time, text, {}, recompute)


def precompute(net: UNetUnits, cut: Cut, sample: Tensor, timestep: Tensor, text: Tensor) -> Tensor:
    """The hidden tensor that the first decoder unit kept by ``cut`` receives in the full net."""
    time = _embed_time(net, sample, timestep)
    return _walk(net, net.units[: cut.resume], sample, time, text, {}, recompute=False)


def predict_hollow(
    net: UNetUnits,
    cut: Cut,
    sample: Tensor,
    timestep: Tensor,
    text: Tensor,
    hidden: Tensor,
    *,
    recompute: bool = False,
) -> Tensor:
    """The hollow net: kept encoder units for their skips, then kept decoder units on ``hidden``.

    Equals ``predict`` when ``hidden`` comes from ``precompute`` on the same inputs and weights.
    """
    time = _embed_time(net, sample, timestep)
    skips: dict[str, Tensor] = {}
    _walk(net, net.units[: cut.stop], sample, time, text, skips, recompute)
    return _walk(net, net.units[cut.resume :], hidden, time, text, skips, recompute)


def _embed_time(net: UNetUnits, sample: Tensor, timestep: Tensor) -> Tensor:
    model: Any = net.model
    return model.time_embedding(model.get_time_embed(sample=sample, timestep=timestep))


def _walk(
    net: UNetUnits,
    units: Sequence[Unit],
    hidden: Tensor,
    time: Tensor,
    text: Tensor,
    skips: dict[str, Tensor],
    recompute: bool,
) -> Tensor:
    """Run ``units`` in order. ``skips`` is filled by sources and emptied by consumers."""
    sources = {unit.skip for unit in net.units}
    for unit in units:
        skip = skips.pop(unit.skip) if unit.skip is not None else None
        run: Callable[..., Tensor] = unit
        if recompute and torch.is_grad_enabled():
            run = partial(checkpoint, unit, use_reentrant=False, preserve_rng_state=False)
        hidden = run(hidden, time, text, skip)
        if unit.name in sources:
            skips[unit.name] = hidden
    return hidden
