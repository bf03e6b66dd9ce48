"""Models with random weights in Stable Diffusion's format, for tests and for timings.

``python -m benchmarks.synthetic --size sd15 --out out/sd15`` writes a folder that loads like a
checkpoint. Nothing is downloaded; what such a model draws is noise.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

__all__ = ["SIZES", "Size", "write_model"]


@dataclass(frozen=True, slots=True)
class Size:
    """The shape of a model. ``latents`` is the edge of its latent pictures."""

    channels: tuple[int, ...]
    layers: int
    heads: int
    norm_groups: int
    latents: int
    text_width: int
    text_layers: int
    text_heads: int
    vocabulary: int
    text_length: int
    vae_channels: tuple[int, ...]
    vae_layers: int
    vae_norm_groups: int


SIZES: Mapping[str, Size] = {
    # U-Net parameters: 0.2 M, for tests.
    "tiny": Size((16, 32), 1, 2, 8, 8, 32, 1, 2, 600, 16, (8, 16), 1, 4),
    # 3.2 M, 12.6 M, 78 M: three sizes to plot time over nodes.
    "small": Size((32, 64, 128), 1, 8, 32, 32, 64, 2, 4, 2000, 16, (16, 32, 32, 64), 1, 8),
    "medium": Size((64, 128, 256), 1, 8, 32, 32, 64, 2, 4, 2000, 16, (16, 32, 32, 64), 1, 8),
    "large": Size((160, 320, 640), 1, 8, 32, 32, 256, 4, 4, 8000, 77, (32, 64, 64, 64), 1, 8),
    # Stable Diffusion 1.5's own configuration: 859,520,964.
    "sd15": Size(
        (320, 640, 1280, 1280), 2, 8, 32, 64, 768, 12, 12, 49408, 77, (128, 256, 512, 512), 2, 32
    ),
}


def write_model(
    folder: Path, size: Size, *, seed: int = 0, dtype: torch.dtype | None = None
) -> int:
    """Write a model of ``size`` to ``folder``; returns the number of its U-Net's parameters.

    ``dtype`` is that of the file (default: float16, as checkpoints usually are). The same seed
    gives the same weights.
    """
    from diffusers import DDIMScheduler, StableDiffusionPipeline
    from transformers import CLIPTokenizer

    torch.manual_seed(seed)
    unet = _unet(size)
    pipeline = StableDiffusionPipeline(
        vae=_vae(size),
        text_encoder=_text_encoder(size),
        tokenizer=CLIPTokenizer(
            vocab=_vocabulary(size.vocabulary), merges=[], model_max_length=size.text_length
        ),
        unet=unet,
        scheduler=DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(dtype=dtype or torch.float16)
    pipeline.save_pretrained(folder)
    # Checkpoints come with these two as well; transformers writes only their union by now.
    (folder / "tokenizer/vocab.json").write_text(json.dumps(_vocabulary(size.vocabulary)))
    (folder / "tokenizer/merges.txt").write_text("#version: 0.2\n")
    return sum(weight.numel() for weight in unet.parameters())


def _unet(size: Size) -> torch.nn.Module:
    from diffusers import UNet2DConditionModel

    deeper = len(size.channels) - 1
    return UNet2DConditionModel(
        sample_size=size.latents,
        layers_per_block=size.layers,
        block_out_channels=size.channels,
        down_block_types=("CrossAttnDownBlock2D",) * deeper + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * deeper,
        cross_attention_dim=size.text_width,
        attention_head_dim=size.heads,
        norm_num_groups=size.norm_groups,
    )


def _vae(size: Size) -> torch.nn.Module:
    from diffusers import AutoencoderKL

    levels = len(size.vae_channels)
    return AutoencoderKL(
        sample_size=size.latents * 2 ** (levels - 1),
        block_out_channels=size.vae_channels,
        layers_per_block=size.vae_layers,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        norm_num_groups=size.vae_norm_groups,
    )


def _text_encoder(size: Size) -> torch.nn.Module:
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=size.vocabulary,
            hidden_size=size.text_width,
            intermediate_size=4 * size.text_width,
            num_hidden_layers=size.text_layers,
            num_attention_heads=size.text_heads,
            max_position_embeddings=size.text_length,
            projection_dim=size.text_width,
            bos_token_id=size.vocabulary - 2,
            eos_token_id=size.vocabulary - 1,
            pad_token_id=size.vocabulary - 1,
        )
    )


def _vocabulary(size: int) -> dict[str, int]:
    """A byte-level vocabulary: every byte alone and as a word's end, the two marks last.

    Byte-level BPE names bytes by printable letters; the table is GPT-2's.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(others))]
    words = letters + [f"{letter}</w>" for letter in letters]
    return {
        **{word: index for index, word in enumerate(words)},
        "<|startoftext|>": size - 2,
        "<|endoftext|>": size - 1,
    }


def main() -> None:
    """Write one model and say what it is."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.synthetic", description="Write a model with random weights."
    )
    parser.add_argument("--size", choices=SIZES, default="tiny")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    parameters = write_model(options.out, SIZES[options.size], seed=options.seed)
    print(json.dumps({"folder": str(options.out), "unet_parameters": parameters}))


if __name__ == "__main__":
    main()
