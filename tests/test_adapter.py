"""Packs of low-rank updates against PEFT and diffusers, and their files both ways."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from torch import Tensor

from pockettune import tensor_file
from pockettune.adapter import (
    AdapterLayout,
    attached,
    layout_of,
    merge_,
    metadata_of,
    unpack,
)
from pockettune.adapter_file import load_adapter, save_adapter
from pockettune.bundle import open_bundle
from pockettune.desktop_adapter import fitting_adapter
from pockettune.errors import (
    BundleManifestInvalid,
    ConfigInvalid,
    SafetensorsInvalid,
    TensorMismatch,
)
from pockettune.models import starter
from pockettune.pack import concatenate
from tests.nn import nets

TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
CONFIG = nets.TINY["starter"]


def random_pack(layout: AdapterLayout, seed: int = 3) -> Tensor:
    return 0.1 * torch.randn(layout.size, generator=torch.Generator().manual_seed(seed))


def output(model: torch.nn.Module) -> Tensor:
    with torch.no_grad():
        return model(*nets.inputs(CONFIG)).sample


@pytest.fixture
def pipeline() -> StableDiffusionPipeline:
    pipe = StableDiffusionPipeline.from_pretrained(starter.PATH, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def starter_output(pipe: StableDiffusionPipeline) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    sample = torch.randn(1, 4, 16, 16, generator=generator)
    text = torch.randn(1, 24, 128, generator=generator)
    with torch.no_grad():
        return pipe.unet(sample, torch.tensor([500]), text).sample


def test_views_cover_the_pack_in_order() -> None:
    layout = layout_of(nets.build(CONFIG), TARGETS, rank=3, alpha=6)
    pack = torch.arange(layout.size, dtype=torch.float32)
    tensors = unpack(layout, pack)
    assert torch.equal(concatenate(list(tensors.values())), pack)
    assert [view.name for view in layout.views] == list(tensors)
    assert layout.views[0].name == (
        "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight"
    )
    assert layout.views[0].shape == (3, 8)
    assert layout.scale == 2


@pytest.mark.parametrize("alpha", [3, 6])
def test_an_attached_pack_is_an_adapter_of_peft(alpha: int) -> None:
    model, other = nets.build(CONFIG), nets.build(CONFIG)
    plain = output(model)
    layout = layout_of(model, TARGETS, rank=3, alpha=alpha)
    pack = random_pack(layout)
    other.add_adapter(LoraConfig(r=3, lora_alpha=alpha, target_modules=list(TARGETS)))
    parameters = {name: p for name, p in other.named_parameters() if ".lora_" in name}
    assert len(parameters) == len(layout.views)
    with torch.no_grad():
        for name, tensor in unpack(layout, pack).items():
            module = name.removeprefix("unet.").removesuffix(".weight")
            parameters[f"{module}.default.weight"].copy_(tensor)
    with attached(model, layout, unpack(layout, pack)):
        torch.testing.assert_close(output(model), output(other), rtol=1e-5, atol=1e-6)
        assert (output(model) - plain).abs().max() > 1e-4
    assert torch.equal(output(model), plain)


def test_hooks_go_when_the_body_fails() -> None:
    model = nets.build(CONFIG)
    layout = layout_of(model, TARGETS, rank=2, alpha=2)
    plain = output(model)
    with pytest.raises(KeyError), attached(model, layout, unpack(layout, random_pack(layout))):
        raise KeyError
    assert torch.equal(output(model), plain)


def test_merging_is_attaching_and_can_be_undone() -> None:
    model = nets.build(CONFIG)
    layout = layout_of(model, TARGETS, rank=3, alpha=6)
    pack = random_pack(layout)
    plain = output(model)
    with attached(model, layout, unpack(layout, pack)):
        expected = output(model)
    merge_(model, layout, pack)
    torch.testing.assert_close(output(model), expected, rtol=1e-5, atol=1e-6)
    merge_(model, layout, pack, sign=-1)
    torch.testing.assert_close(output(model), plain, rtol=1e-5, atol=1e-6)


def test_only_layers_within_are_adapted() -> None:
    model = nets.build(CONFIG)
    layout = layout_of(model, ["to_q"], 2, 2, within=["up_blocks.2.attentions.1"])
    prefix = "up_blocks.2.attentions.1.transformer_blocks.0"
    assert layout.modules == (f"{prefix}.attn1.to_q", f"{prefix}.attn2.to_q")


def test_a_target_that_names_no_layer_is_refused() -> None:
    with pytest.raises(ConfigInvalid, match=r"'targets' cannot be 'q_proj'.*to_out\.0, to_q"):
        layout_of(nets.build(CONFIG), ["to_q", "q_proj"], 2, 2)


def test_concatenations_have_at_most_four_operands() -> None:
    tensors = [torch.full((index % 3, 2), float(index)) for index in range(23)]
    expected = torch.cat([tensor.flatten() for tensor in tensors])
    with torch.profiler.profile() as profile:
        assert torch.equal(concatenate(tensors), expected)
    assert sum(event.key == "aten::cat" for event in profile.events()) == 6 + 2 + 1


def test_a_file_comes_back_as_it_was(tmp_path: Path) -> None:
    layout = layout_of(nets.build(CONFIG), TARGETS, rank=3, alpha=6)
    pack = random_pack(layout)
    save_adapter(tmp_path / "a.safetensors", layout, pack)
    assert torch.equal(load_adapter(tmp_path / "a.safetensors", layout), pack)


@pytest.mark.parametrize("alpha", [4.0, 10.0])
def test_diffusers_loads_what_we_save(
    pipeline: StableDiffusionPipeline, tmp_path: Path, alpha: float
) -> None:
    layout = layout_of(pipeline.unet, TARGETS, rank=4, alpha=alpha)
    pack = random_pack(layout)
    with attached(pipeline.unet, layout, unpack(layout, pack)):
        expected = starter_output(pipeline)
    save_adapter(tmp_path / "adapter.safetensors", layout, pack)
    pipeline.load_lora_weights(tmp_path, weight_name="adapter.safetensors")
    (config,) = pipeline.unet.peft_config.values()
    assert (config.r, config.lora_alpha) == (4, alpha)
    torch.testing.assert_close(starter_output(pipeline), expected, rtol=1e-4, atol=1e-5)


def save_with_diffusers(
    pipe: StableDiffusionPipeline, folder: Path, config: LoraConfig, *, with_metadata: bool
) -> Tensor:
    """A random adapter, saved as diffusers' training scripts do; returns the net's output."""
    pipe.unet.add_adapter(config)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in pipe.unet.named_parameters():
            if ".lora_" in name:
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(pipe.unet))
    metadata = pipe.unet.peft_config["default"].to_dict() if with_metadata else None
    if metadata:
        metadata["target_modules"] = sorted(metadata["target_modules"])
    StableDiffusionPipeline.save_lora_weights(
        folder, unet_lora_layers=layers, unet_lora_adapter_metadata=metadata
    )
    result = starter_output(pipe)
    pipe.unet.unload_lora()
    return result


FILE = "pytorch_lora_weights.safetensors"


@pytest.mark.parametrize(
    "config",
    [
        LoraConfig(r=4, lora_alpha=4, target_modules=list(TARGETS)),
        LoraConfig(r=2, lora_alpha=7, target_modules=["to_q", "to_v"]),
        LoraConfig(r=2, lora_alpha=2, use_rslora=True, target_modules=["to_q"]),
        LoraConfig(r=3, lora_alpha=6, target_modules=["to_q"], alpha_pattern={"attn2.to_q": 12}),
    ],
    ids=["same", "smaller rank", "rslora", "alpha by layer"],
)
def test_we_load_what_diffusers_saves(
    pipeline: StableDiffusionPipeline, tmp_path: Path, config: LoraConfig
) -> None:
    expected = save_with_diffusers(pipeline, tmp_path, config, with_metadata=True)
    layout = layout_of(pipeline.unet, TARGETS, rank=4, alpha=8)
    initial = random_pack(layout)
    for start in (None, initial):
        pack = load_adapter(tmp_path / FILE, layout, start)
        with attached(pipeline.unet, layout, unpack(layout, pack)):
            torch.testing.assert_close(starter_output(pipeline), expected, rtol=1e-4, atol=1e-5)
    # Ranks that the file leaves free keep their A, so that they can still learn.
    a = layout.views[0].name
    free = unpack(layout, pack)[a][config.r :]
    assert torch.equal(free, unpack(layout, initial)[a][config.r :])


def test_without_metadata_the_scale_is_one(
    pipeline: StableDiffusionPipeline, tmp_path: Path
) -> None:
    config = LoraConfig(r=2, lora_alpha=2, target_modules=["to_q"])
    expected = save_with_diffusers(pipeline, tmp_path, config, with_metadata=False)
    layout = layout_of(pipeline.unet, TARGETS, rank=2, alpha=6)
    pack = load_adapter(tmp_path / FILE, layout)
    with attached(pipeline.unet, layout, unpack(layout, pack)):
        torch.testing.assert_close(starter_output(pipeline), expected, rtol=1e-4, atol=1e-5)


def test_foreign_layers_and_larger_ranks_are_refused(tmp_path: Path) -> None:
    model = nets.build(CONFIG)
    small = layout_of(model, ["to_q"], rank=2, alpha=2)
    wide = layout_of(model, ["to_q", "to_v"], rank=2, alpha=2)
    high = layout_of(model, ["to_q"], rank=3, alpha=3)
    save_adapter(tmp_path / "wide.safetensors", wide, random_pack(wide))
    save_adapter(tmp_path / "high.safetensors", high, random_pack(high))
    with pytest.raises(TensorMismatch, match=r"unet\.down_blocks.*to_v.*without an adapter here"):
        load_adapter(tmp_path / "wide.safetensors", small)
    with pytest.raises(TensorMismatch, match="of rank 1 to 2"):
        load_adapter(tmp_path / "high.safetensors", small)


def test_half_of_a_layer_and_broken_metadata_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    layout = layout_of(nets.build(CONFIG), ["to_q"], rank=2, alpha=2)
    a, b = (view.name for view in layout.views[:2])
    tensors = {name: t.clone() for name, t in unpack(layout, random_pack(layout)).items()}
    save_file({a: tensors[a]}, tmp_path / "half.safetensors", metadata_of(layout))
    with pytest.raises(TensorMismatch, match=r"lora_B\.weight' is missing"):
        load_adapter(tmp_path / "half.safetensors", layout)
    for text in ("[1]", "{", '{"unet.lora_alpha": "x"}', '{"unet.alpha_pattern": 3}'):
        header = {"lora_adapter_metadata": text}
        save_file({a: tensors[a], b: tensors[b]}, tmp_path / "bad.safetensors", header)
        with pytest.raises(SafetensorsInvalid, match="lora_adapter_metadata cannot be read"):
            load_adapter(tmp_path / "bad.safetensors", layout)


def test_a_bundle_that_does_not_say_how_its_adapter_is_made(tmp_path: Path) -> None:
    """A LoRA from elsewhere cannot be made to fit it; its own adapter still does."""
    bundle = open_bundle(Path(__file__).parent.parent / "spec/vectors/bundle")
    foreign, own = tmp_path / "foreign.safetensors", tmp_path / "own.safetensors"
    tensor_file.write(foreign, {"unet.other.lora_A.weight": np.zeros((2, 2), np.float32)})
    with pytest.raises(BundleManifestInvalid, match=r"at 'adapter\.metadata': it does"):
        fitting_adapter(bundle, foreign, tmp_path)
    adapter = bundle.manifest["adapter"]
    views = bundle.manifest["tensors"][adapter["tensors"]]["views"]
    tensors = {view["name"]: np.zeros(view["shape"], np.float32) for view in views}
    tensor_file.write(own, tensors, adapter["metadata"])
    assert fitting_adapter(bundle, own, tmp_path) == own
