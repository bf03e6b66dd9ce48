"""Whole nets made lean compute what they computed before."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.models.attention_processor import Attention

from pockettune.errors import ModelUnsupported
from pockettune.nn.feed_forward import LeanFeedForward
from pockettune.nn.lean import LeanOptions, make_lean_


def pipeline() -> SimpleNamespace:
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8,
        layers_per_block=1,
        block_out_channels=(8, 16),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=6,
        attention_head_dim=2,
        norm_num_groups=4,
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        sample_size=16,
    )
    return SimpleNamespace(unet=unet.eval(), vae=vae.eval(), text_encoder=None)


@torch.no_grad()
def outputs(pipe: SimpleNamespace) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(2, 4, 8, 8, generator=generator)
    text = torch.randn(2, 5, 6, generator=generator)
    pixels = torch.randn(1, 3, 16, 16, generator=generator)
    noise = pipe.unet(latents, torch.tensor([7]), text, return_dict=False)[0]
    return [noise, pipe.vae.encode(pixels).latent_dist.mean, pipe.vae.decode(latents).sample]


@pytest.mark.parametrize("width", [0, 20])
def test_pipeline_keeps_its_values(width: int) -> None:
    pipe = pipeline()
    expected = outputs(pipe)
    make_lean_(pipe, LeanOptions(attention_elements=100, feed_forward_width=width))
    for value, reference in zip(outputs(pipe), expected, strict=True):
        torch.testing.assert_close(value, reference, rtol=1e-5, atol=1e-5)
    swapped = [module for module in pipe.unet.modules() if isinstance(module, LeanFeedForward)]
    assert len(swapped) == (4 if width else 0)


def test_refuses_an_attention_it_does_not_know() -> None:
    net = torch.nn.Sequential(Attention(8, heads=2, dim_head=4, qk_norm="layer_norm"))
    with pytest.raises(ModelUnsupported, match="norm_q"):
        make_lean_(net)
