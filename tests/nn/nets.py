"""Configurations of nets that tests build: the published ones, and tiny ones of each kind."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import UNet2DConditionModel

CROSS, PLAIN = "CrossAttnDownBlock2D", "DownBlock2D"
CROSS_UP, PLAIN_UP = "CrossAttnUpBlock2D", "UpBlock2D"

# unet/config.json of stable-diffusion-v1-5 and stabilityai/stable-diffusion-2-1.
SD15 = {
    "sample_size": 64,
    "block_out_channels": (320, 640, 1280, 1280),
    "down_block_types": (CROSS, CROSS, CROSS, PLAIN),
    "up_block_types": (PLAIN_UP, CROSS_UP, CROSS_UP, CROSS_UP),
    "layers_per_block": 2,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}
SD21 = SD15 | {
    "sample_size": 96,
    "cross_attention_dim": 1024,
    "attention_head_dim": (5, 10, 20, 20),
    "use_linear_projection": True,
}

TINY_SD15 = SD15 | {
    "sample_size": 16,
    "block_out_channels": (8, 16, 16, 16),
    "norm_num_groups": 4,
    "cross_attention_dim": 12,
    "attention_head_dim": 2,
}
TINY_SD21 = TINY_SD15 | {"attention_head_dim": (1, 2, 4, 4), "use_linear_projection": True}
TINY_STARTER = TINY_SD15 | {
    "block_out_channels": (8, 16, 24),
    "down_block_types": (CROSS, CROSS, PLAIN),
    "up_block_types": (PLAIN_UP, CROSS_UP, CROSS_UP),
    "layers_per_block": 1,
}
TINY_TWO_LEVELS = TINY_STARTER | {
    "block_out_channels": (8, 16),
    "down_block_types": (CROSS, PLAIN),
    "up_block_types": (PLAIN_UP, CROSS_UP),
}
TINY_ONE_LEVEL = TINY_STARTER | {
    "block_out_channels": (8,),
    "down_block_types": (CROSS,),
    "up_block_types": (CROSS_UP,),
}
TINY = {
    "sd15": TINY_SD15,
    "sd21": TINY_SD21,
    "starter": TINY_STARTER,
    "two_levels": TINY_TWO_LEVELS,
    "one_level": TINY_ONE_LEVEL,
}


def build(config: dict[str, Any], seed: int = 0) -> UNet2DConditionModel:
    """A frozen net with random weights that depend on the seed only."""
    torch.manual_seed(seed)
    return UNet2DConditionModel(**config).eval().requires_grad_(requires_grad=False)


def inputs(config: dict[str, Any], seed: int = 1, samples: int = 1) -> tuple[torch.Tensor, ...]:
    """Sample, timestep and text states for a net of this configuration."""
    generator = torch.Generator().manual_seed(seed)
    size, width = config["sample_size"], config["cross_attention_dim"]
    sample = torch.randn(samples, 4, size, size, generator=generator)
    return sample, torch.tensor([321]), torch.randn(samples, 5, width, generator=generator)
