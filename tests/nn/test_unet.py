"""The walk over units against diffusers' own forward, and the cuts against published sizes."""

from __future__ import annotations

import pytest
import torch
from diffusers import UNet2DConditionModel

from pockettune.errors import CutIllegal, ModelUnsupported
from pockettune.nn.unet import (
    Cut,
    check_cut,
    cut_at,
    cut_by_name,
    kept_units,
    legal_cuts,
    parameters_in,
    precompute,
    predict,
    predict_hollow,
    units_of,
)
from tests.nn import nets


@pytest.mark.parametrize("name", nets.TINY)
@pytest.mark.parametrize("samples", [1, 2])
def test_the_walk_is_the_forward_of_diffusers(name: str, samples: int) -> None:
    model = nets.build(nets.TINY[name])
    sample, timestep, text = nets.inputs(nets.TINY[name], samples=samples)
    with torch.no_grad():
        expected = model(sample, timestep, text).sample
        assert torch.equal(predict(units_of(model), sample, timestep, text), expected)


@pytest.mark.parametrize("name", nets.TINY)
def test_the_hollow_equals_the_full_net_for_every_legal_cut(name: str) -> None:
    net = units_of(nets.build(nets.TINY[name]))
    sample, timestep, text = nets.inputs(nets.TINY[name])
    with torch.no_grad():
        full = predict(net, sample, timestep, text)
        for cut in legal_cuts(net).values():
            hidden = precompute(net, cut, sample, timestep, text)
            assert torch.equal(predict_hollow(net, cut, sample, timestep, text, hidden), full)


def test_every_pair_bounds_a_legal_hollow() -> None:
    config = nets.TINY["sd15"]
    net = units_of(nets.build(config))
    sample, timestep, text = nets.inputs(config)
    with torch.no_grad():
        full = predict(net, sample, timestep, text)
        for pairs in range(len(net.pairs)):
            cut = cut_at(net, pairs, str(pairs))
            check_cut(net, cut)
            hidden = precompute(net, cut, sample, timestep, text)
            assert torch.equal(predict_hollow(net, cut, sample, timestep, text, hidden), full)


def test_the_hollow_runs_without_what_it_removes() -> None:
    config = nets.TINY["sd15"]
    net = units_of(nets.build(config))
    sample, timestep, text = nets.inputs(config)
    cut = legal_cuts(net)["C"]
    with torch.no_grad():
        hidden = precompute(net, cut, sample, timestep, text)
        expected = predict_hollow(net, cut, sample, timestep, text, hidden)
        for unit in net.units[cut.stop : cut.resume]:
            for module in unit.modules:
                for parameter in module.parameters():
                    parameter.fill_(float("nan"))
        assert torch.equal(predict_hollow(net, cut, sample, timestep, text, hidden), expected)
        assert predict(net, sample, timestep, text).isnan().any()


# Totals and removed parameters (millions), computed from the architecture: papers.md, section 1.
PUBLISHED = {
    "sd15": (nets.SD15, 859_520_964, {"A": 97.0, "B": 336.3, "C": 486.1, "D": 723.6}),
    "sd21": (nets.SD21, 865_910_724, {"A": 97.7, "B": 337.0, "C": 488.1, "D": 727.5}),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_cuts_of_the_published_nets_have_their_sizes(name: str) -> None:
    config, total, removed = PUBLISHED[name]
    with torch.device("meta"):
        net = units_of(UNet2DConditionModel(**config))
    assert sum(parameter.numel() for parameter in net.model.parameters()) == total
    cuts = legal_cuts(net)
    found = {
        name: round(parameters_in(net.units[cut.stop : cut.resume]) / 1e6, 1)
        for name, cut in cuts.items()
    }
    assert found == removed
    for cut in cuts.values():
        inside = parameters_in(net.units[cut.stop : cut.resume])
        embedding = sum(p.numel() for p in net.model.time_embedding.parameters())
        assert inside + parameters_in(kept_units(net, cut)) + embedding == total
    if name == "sd15":
        cut = cuts["C"]
        share = parameters_in(net.units[cut.stop : cut.resume]) / total
        assert round(100 * share, 1) == 56.6


def test_pairing_of_the_published_net() -> None:
    """papers.md, section 1: up0 takes down3.1, down3.0, down2.ds; and so on outwards."""
    with torch.device("meta"):
        net = units_of(UNet2DConditionModel(**nets.SD15))
    pairs = [(net.units[a].name, net.units[b].name) for a, b in net.pairs]
    sources = [
        *("down_blocks.3.resnets.1", "down_blocks.3.resnets.0", "down_blocks.2.downsamplers.0"),
        *("down_blocks.2.attentions.1", "down_blocks.2.attentions.0"),
        "down_blocks.1.downsamplers.0",
        *("down_blocks.1.attentions.1", "down_blocks.1.attentions.0"),
        "down_blocks.0.downsamplers.0",
        *("down_blocks.0.attentions.1", "down_blocks.0.attentions.0", "conv_in"),
    ]
    consumers = [f"up_blocks.{block}.resnets.{index}" for block in range(4) for index in range(3)]
    assert pairs == list(zip(sources, consumers, strict=True))
    removed = {
        name: (net.units[cut.stop].name, net.units[cut.resume - 1].name)
        for name, cut in legal_cuts(net).items()
    }
    assert removed == {
        "A": ("mid_block.resnets.0", "mid_block.resnets.1"),
        "B": ("down_blocks.2.downsamplers.0", "up_blocks.0.upsamplers.0"),
        "C": ("down_blocks.2.resnets.1", "up_blocks.1.attentions.0"),
        "D": ("down_blocks.1.downsamplers.0", "up_blocks.1.upsamplers.0"),
    }


@pytest.mark.parametrize(
    ("name", "legal"), [("starter", "ABCD"), ("two_levels", "ABC"), ("one_level", "A")]
)
def test_nets_with_fewer_levels_have_fewer_cuts(name: str, legal: str) -> None:
    net = units_of(nets.build(nets.TINY[name]))
    assert list(legal_cuts(net)) == list(legal)
    assert cut_by_name(net, "none") is None
    for cut in "ABCD":
        if cut in legal:
            assert cut_by_name(net, cut) == legal_cuts(net)[cut]
        else:
            valid = ", ".join([*legal, "none"])
            with pytest.raises(CutIllegal, match=f"choose one of {valid}"):
                cut_by_name(net, cut)


def test_an_unknown_cut_is_refused() -> None:
    net = units_of(nets.build(nets.TINY["starter"]))
    with pytest.raises(CutIllegal, match="no cut has that name; choose one of A, B, C, D, none"):
        cut_by_name(net, "E")


def test_a_net_without_a_middle_has_no_cut_of_it() -> None:
    config = nets.TINY["starter"] | {"mid_block_type": None}
    net = units_of(nets.build(config))
    assert list(legal_cuts(net)) == ["B", "C", "D"]
    sample, timestep, text = nets.inputs(config)
    with torch.no_grad():
        expected = net.model(sample, timestep, text).sample
        assert torch.equal(predict(net, sample, timestep, text), expected)


def test_hollows_that_break_the_net_are_refused() -> None:
    """Whole blocks of the encoder and decoder leave a skip without a source, or an idle unit."""
    net = units_of(nets.build(nets.TINY["sd15"]))
    place = {unit.name: index for index, unit in enumerate(net.units)}
    entry, middle = place["down_blocks.3.resnets.0"], place["mid_block.resnets.0"]
    out = place["up_blocks.1.resnets.0"]
    with pytest.raises(CutIllegal, match=r"down_blocks\.2\.downsamplers\.0 would feed nothing"):
        check_cut(net, Cut("x", entry, out))
    with pytest.raises(CutIllegal, match=r"up_blocks\.0\.resnets\.0 needs the output of down"):
        check_cut(net, Cut("x", entry, place["up_blocks.0.resnets.0"]))
    with pytest.raises(CutIllegal, match="removes nothing"):
        check_cut(net, Cut("x", middle, middle))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("addition_embed_type", "text_time"),
        ("class_embed_type", "timestep"),
        ("center_input_sample", True),
        ("down_block_types", ("CrossAttnDownBlock2D", "AttnDownBlock2D")),
        ("up_block_types", ("ResnetUpsampleBlock2D", "UpBlock2D")),
        ("mid_block_type", "UNetMidBlock2DSimpleCrossAttn"),
    ],
)
def test_nets_of_another_form_are_refused(setting: str, value: object) -> None:
    model = nets.build(nets.TINY["two_levels"])
    model.register_to_config(**{setting: value})
    with pytest.raises(ModelUnsupported, match=setting):
        units_of(model)


@pytest.mark.parametrize("cut_name", ["C", "none"])
def test_recomputation_gives_the_same_gradients(cut_name: str) -> None:
    config = nets.TINY["sd21"]
    net = units_of(nets.build(config))
    sample, timestep, text = nets.inputs(config)
    cut = cut_by_name(net, cut_name)
    weight = net.units[2].modules[0].proj_in.weight.requires_grad_()
    gradients = []
    for recompute in (False, True):
        if cut is None:
            out = predict(net, sample, timestep, text, recompute=recompute)
        else:
            hidden = precompute(net, cut, sample, timestep, text).detach()
            out = predict_hollow(net, cut, sample, timestep, text, hidden, recompute=recompute)
        gradients.append(torch.autograd.grad(out.square().mean(), weight)[0])
    assert gradients[0].abs().max() > 0
    assert torch.equal(*gradients)
