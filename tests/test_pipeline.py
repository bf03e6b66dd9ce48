"""Loading models: what fits is loaded whole, what does not is refused by its name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pockettune.errors import (
    ModelComponentMissing,
    ModelNotFinite,
    ModelNotFound,
    ModelUnsupported,
)
from pockettune.models import starter
from pockettune.models.pipeline import load_pipeline

TEXT_WEIGHTS = "text_encoder/model.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(starter.PATH, tmp_path / "model"))


def edit_json(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def test_the_starter_loads_whole() -> None:
    pipeline = load_pipeline("starter")
    for module in (pipeline.text_encoder, pipeline.vae, pipeline.unet):
        assert not module.training
        for parameter in module.parameters():
            assert parameter.dtype == torch.float32
            assert not parameter.requires_grad
    assert pipeline.name == "starter"
    assert pipeline.max_length == 24
    assert pipeline.latent_shape == (1, 4, 16, 16)
    assert pipeline.image_size == (64, 64)
    assert pipeline.scheduler["prediction_type"] == "v_prediction"
    stored = load_file(starter.PATH / "unet/diffusion_pytorch_model.safetensors")
    for name, weight in pipeline.unet.state_dict().items():
        assert torch.equal(weight, stored[name].float()), name


def test_weights_as_they_are_stored() -> None:
    pipeline = load_pipeline("starter", as_stored=True)
    for component, file in (
        ("unet", "unet/diffusion_pytorch_model.safetensors"),
        ("vae", "vae/diffusion_pytorch_model.safetensors"),
        ("text_encoder", TEXT_WEIGHTS),
    ):
        stored = {weight.dtype for weight in load_file(starter.PATH / file).values()}
        assert {weight.dtype for weight in getattr(pipeline, component).parameters()} == stored


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("no/such/folder", "no such folder"),
        ("./nowhere", "no such folder"),
        ("nowhere", "no such folder"),
        ("someone/some-model", "the hub says"),
    ],
)
def test_a_model_that_is_nowhere(model: str, reason: str) -> None:
    with pytest.raises(ModelNotFound, match=reason):
        load_pipeline(model)


def test_a_folder_of_something_else_and_a_file(tmp_path: Path) -> None:
    (tmp_path / "weights.ckpt").write_bytes(b"")
    with pytest.raises(ModelNotFound, match=r"the folder has no model_index\.json"):
        load_pipeline(tmp_path)
    with pytest.raises(ModelNotFound, match="it is a file"):
        load_pipeline(str(tmp_path / "weights.ckpt"))


@pytest.mark.parametrize("component", ["tokenizer", "text_encoder", "vae", "unet", "scheduler"])
def test_a_missing_component_is_named(folder: Path, component: str) -> None:
    shutil.rmtree(folder / component)
    with pytest.raises(ModelComponentMissing, match=f"no usable '{component}'"):
        load_pipeline(folder)


def test_a_component_that_the_index_leaves_out(folder: Path) -> None:
    edit_json(folder / "model_index.json", lambda index: index.pop("vae"))
    with pytest.raises(ModelComponentMissing, match="no usable 'vae'"):
        load_pipeline(folder)


@pytest.mark.parametrize("content", ["{", "[]", ""])
def test_a_broken_index(folder: Path, content: str) -> None:
    (folder / "model_index.json").write_text(content)
    with pytest.raises(ModelComponentMissing, match=r"no usable 'model_index\.json'"):
        load_pipeline(folder)


def test_a_broken_weight_file(folder: Path) -> None:
    (folder / TEXT_WEIGHTS).write_bytes(b"not safetensors")
    with pytest.raises(ModelComponentMissing, match="no usable 'text_encoder'"):
        load_pipeline(folder)


def test_a_missing_weight_is_not_made_up(folder: Path) -> None:
    weights = load_file(folder / TEXT_WEIGHTS)
    name = next(name for name in weights if "final_layer_norm.bias" in name)
    del weights[name]
    save_file(weights, folder / TEXT_WEIGHTS, {"format": "pt"})
    with pytest.raises(ModelComponentMissing, match=r"text_encoder: .*final_layer_norm\.bias"):
        load_pipeline(folder)


def test_weights_that_are_not_finite(folder: Path) -> None:
    weights = load_file(folder / TEXT_WEIGHTS)
    name = next(name for name in weights if "fc1.weight" in name)
    weights[name][0, 0] = float("nan")
    save_file(weights, folder / TEXT_WEIGHTS, {"format": "pt"})
    with pytest.raises(ModelNotFinite, match=r"text_encoder\..*fc1\.weight"):
        load_pipeline(folder)


@pytest.mark.parametrize(
    ("component", "kind"), [("unet", "FluxTransformer2DModel"), ("text_encoder", "T5EncoderModel")]
)
def test_another_kind_of_component(folder: Path, component: str, kind: str) -> None:
    edit_json(folder / "model_index.json", lambda index: index[component].__setitem__(1, kind))
    with pytest.raises(ModelUnsupported, match=f"{component} '{kind}'"):
        load_pipeline(folder)


def test_a_second_text_encoder(folder: Path) -> None:
    added = {"text_encoder_2": ["transformers", "CLIPTextModelWithProjection"]}
    edit_json(folder / "model_index.json", lambda index: index.update(added))
    with pytest.raises(ModelUnsupported, match="one text encoder"):
        load_pipeline(folder)


@pytest.mark.parametrize(
    ("setting", "value"), [("sample_size", None), ("sample_size", 18), ("act_fn", "gelu")]
)
def test_settings_that_do_not_fit(folder: Path, setting: str, value: object) -> None:
    config = folder / "unet/config.json"
    edit_json(config, lambda content: content.update({setting: value}))
    with pytest.raises(ModelUnsupported, match=f"unet.{setting}"):
        load_pipeline(folder)
