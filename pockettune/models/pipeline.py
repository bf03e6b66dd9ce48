"""Load a text-to-image model in diffusers format and refuse what cannot be personalized.

Any Stable Diffusion 1.x or 2.x folder or hub name goes the same way, the embedded starter too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from pockettune.errors import (
    ModelComponentMissing,
    ModelNotFinite,
    ModelNotFound,
    ModelUnsupported,
)
from pockettune.models import starter
from pockettune.nn.unet import check_supported

__all__ = ["Pipeline", "load_pipeline"]

STARTER = "starter"
"""The name of the embedded model."""

_INDEX = "model_index.json"
_CLASSES = {
    "tokenizer": ("CLIPTokenizer", "CLIPTokenizerFast"),
    "text_encoder": ("CLIPTextModel",),
    "vae": ("AutoencoderKL",),
    "unet": ("UNet2DConditionModel",),
}
_SCHEDULER = "scheduler"
# The names under which one file holds a component's weights; there are others.
_WEIGHT_FILES = ("diffusion_pytorch_model.safetensors", "model.safetensors")
_ACTIVATIONS = ("silu", "swish")


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The components of a model: on the CPU, in evaluation mode, without gradients.

    Weights are float32, or as they are in the files (``load_pipeline``). The three networks are
    diffusers' and transformers' own modules; later stages may change them in place. ``scheduler``
    is the content of ``scheduler_config.json``.
    """

    name: str
    tokenizer: Any
    text_encoder: Any
    vae: Any
    unet: Any
    scheduler: Mapping[str, Any]

    @property
    def max_length(self) -> int:
        """Number of tokens of a prompt, padding included."""
        positions = int(self.text_encoder.config.max_position_embeddings)
        return min(int(self.tokenizer.model_max_length), positions)

    @property
    def latent_shape(self) -> tuple[int, int, int, int]:
        """Shape of a picture's latents, ``(1, channels, height, width)``."""
        size = self.unet.config.sample_size
        height, width = (size, size) if isinstance(size, int) else size
        return 1, int(self.vae.config.latent_channels), int(height), int(width)

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of a picture in pixels."""
        factor = 2 ** (len(self.vae.config.block_out_channels) - 1)
        return self.latent_shape[2] * factor, self.latent_shape[3] * factor


def load_pipeline(model: str | Path, *, as_stored: bool = False) -> Pipeline:
    """Load "starter", a folder in diffusers format, or a hub name like "owner/name".

    Weights become float32, or with ``as_stored`` keep the floating dtype that they have in the
    files: for who converts them one by one and has no memory for all of them in float32.
    Raises ModelNotFound, ModelComponentMissing, ModelUnsupported or ModelNotFinite.
    """
    folder = _folder_of(model)
    index = _read_json(folder / _INDEX, model, _INDEX)
    _check_index(index, folder)
    for component in (*_CLASSES, _SCHEDULER):
        if not (folder / component).is_dir():
            raise ModelComponentMissing(folder, component)
    # Before any weight is read: those of a block that we do not know would only be called missing.
    check_supported(_read_json(folder / "unet/config.json", model, "unet"))
    scheduler_file = folder / _SCHEDULER / "scheduler_config.json"
    pipeline = Pipeline(
        name=str(model) if str(model) == STARTER else folder.name,
        scheduler=_read_json(scheduler_file, model, _SCHEDULER),
        **{component: _load(folder, component, as_stored) for component in _CLASSES},
    )
    _check_agreement(pipeline)
    for component in ("text_encoder", "vae", "unet"):
        _check_finite(getattr(pipeline, component), component, folder)
    return pipeline


def _folder_of(model: str | Path) -> Path:
    """The local folder of a model; hub models are fetched into the hub's own cache."""
    if str(model) == STARTER:
        return starter.PATH
    folder = Path(model)
    if folder.is_dir():
        if not (folder / _INDEX).is_file():
            raise ModelNotFound(model, f"the folder has no {_INDEX}")
        return folder
    if folder.exists():
        raise ModelNotFound(model, "it is a file, not a folder")
    if isinstance(model, Path) or model.count("/") != 1 or model.startswith((".", "/", "~")):
        raise ModelNotFound(model, "no such folder")
    return _fetch(model)


def _fetch(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    wanted = [f"{part}/*" for part in (*_CLASSES, _SCHEDULER)]
    try:
        return Path(
            snapshot_download(
                name,
                allow_patterns=[_INDEX, *wanted],
                ignore_patterns=["*.msgpack", "*.onnx*", "*.fp16.*", "*.non_ema.*"],
            )
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else "no answer"
        raise ModelNotFound(name, f"no such folder, and the hub says: {first_line}") from error


def _read_json(path: Path, model: str | Path, component: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelComponentMissing(str(model), component) from error
    if not isinstance(content, dict):
        raise ModelComponentMissing(str(model), component)
    return content


def _check_index(index: Mapping[str, Any], folder: Path) -> None:
    """The components that ``model_index.json`` names, before anything large is read."""
    if "text_encoder_2" in index:
        raise ModelUnsupported("model_index.json", index.get("_class_name"), "one text encoder")
    for component, valid in _CLASSES.items():
        entry = index.get(component)
        if not isinstance(entry, list) or len(entry) != 2 or entry[1] is None:
            raise ModelComponentMissing(folder, component)
        if entry[1] not in valid:
            raise ModelUnsupported(component, entry[1], valid)


def _load(folder: Path, component: str, as_stored: bool) -> Any:
    """A component. Weights that a file leaves out would be random: they are refused."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    path = folder / component
    try:
        dtype = _stored_dtype(path) if as_stored else torch.float32
        with _no_progress_bars():
            if component == "tokenizer":
                return CLIPTokenizer.from_pretrained(path)
            if component == "text_encoder":
                # Plain attention: the fused kernel hides operators that an export must see.
                module, info = CLIPTextModel.from_pretrained(
                    path,
                    dtype=dtype,
                    attn_implementation="eager",
                    output_loading_info=True,
                )
            else:
                kind = AutoencoderKL if component == "vae" else UNet2DConditionModel
                module, info = kind.from_pretrained(path, dtype=dtype, output_loading_info=True)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise ModelComponentMissing(folder, component) from error
    for weight in sorted(info["missing_keys"]):
        raise ModelComponentMissing(folder, f"{component}: {weight}")
    return module.eval().requires_grad_(requires_grad=False)


def _stored_dtype(path: Path) -> torch.dtype:
    """The one floating dtype of a component's weight file; float32 where there is no such."""
    files = [path / name for name in _WEIGHT_FILES]
    for file in (file for file in files if file.is_file()):
        with safe_open(file, framework="pt") as weights:
            names = {weights.get_slice(name).get_dtype() for name in weights.keys()}  # noqa: SIM118 - no mapping
        halves = {"F16": torch.float16, "BF16": torch.bfloat16}
        floating = {halves.get(name, torch.float32) for name in names if "F" in name}
        return floating.pop() if len(floating) == 1 else torch.float32
    return torch.float32


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Loading takes a moment; its bars would only break up those of a command."""
    from transformers.utils import logging

    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()


def _check_agreement(pipeline: Pipeline) -> None:
    """That the components fit each other, and that sizes halve evenly down the net."""
    unet, vae, text = pipeline.unet.config, pipeline.vae.config, pipeline.text_encoder.config
    if unet.sample_size is None:
        raise ModelUnsupported("unet.sample_size", None, "the size of its latents")
    for setting in ("in_channels", "out_channels"):
        if unet[setting] != vae.latent_channels:
            valid = [f"the {vae.latent_channels} latent channels of the vae"]
            raise ModelUnsupported(f"unet.{setting}", unet[setting], valid)
    widths = unet.cross_attention_dim
    for width in widths if isinstance(widths, list | tuple) else [widths]:
        if width != text.hidden_size:
            valid = [f"the {text.hidden_size} features of the text encoder"]
            raise ModelUnsupported("unet.cross_attention_dim", width, valid)
    if unet.act_fn not in _ACTIVATIONS:
        raise ModelUnsupported("unet.act_fn", unet.act_fn, _ACTIVATIONS)
    divisor = 2 ** (len(unet.block_out_channels) - 1)
    for size in pipeline.latent_shape[2:]:
        if size % divisor:
            raise ModelUnsupported("unet.sample_size", size, [f"multiples of {divisor}"])


def _check_finite(module: nn.Module, component: str, folder: Path) -> None:
    for name, weight in module.state_dict().items():
        if weight.is_floating_point() and not bool(torch.isfinite(weight).all()):
            raise ModelNotFinite(folder, f"{component}.{name}")
