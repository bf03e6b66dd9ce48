"""The autoencoder's two stages: learn it whole, and later sharpen its decoder alone.

The second leaves latents as they are, so a U-Net trained on them stays valid. Plain reconstruction
losses, no adversary: pictograms are flat areas and edges, which the gradient term looks after.
"""

import math
from collections.abc import Callable, Iterable
from typing import Final

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import Parameter

__all__ = ["encode", "pixels", "psnr", "reconstruction_loss", "train", "train_decoder", "whiten_"]

EDGE_WEIGHT: Final = 0.5
PRIOR_WEIGHT: Final = 2e-4
LATENT_NOISE: Final = (
    0.1  # standard deviations; sampled latents are never quite as clean as encoded ones
)
BATCH: Final = 16

Report = Callable[[int, float], None]
"""Told the steps done and the loss, after each step."""


def pixels(images: Tensor) -> Tensor:
    """(N, H, W, 3) uint8 to (N, 3, H, W) float32 in -1..1."""
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1


def psnr(error: float) -> float:
    """Peak signal-to-noise ratio in dB of a mean squared error over pixels in -1..1."""
    return 10 * math.log10(4 / error)


def reconstruction_loss(made: Tensor, wanted: Tensor) -> Tensor:
    """Absolute and squared error, and the absolute error of both directions' differences."""
    edges = sum((made.diff(dim=dim) - wanted.diff(dim=dim)).abs().mean() for dim in (-1, -2))
    error = made - wanted
    return error.abs().mean() + error.square().mean() + EDGE_WEIGHT * edges


def train(model: AutoencoderKL, images: Tensor, steps: int, seed: int, report: Report) -> None:
    """Learn encoder and decoder from (N, H, W, 3) uint8, in place, and whiten the latents."""
    generator = torch.Generator().manual_seed(seed)

    def loss() -> Tensor:
        wanted = pixels(images[torch.randint(len(images), (BATCH,), generator=generator)])
        posterior = model.encode(wanted).latent_dist
        made = model.decode(posterior.sample(generator)).sample
        return reconstruction_loss(made, wanted) + PRIOR_WEIGHT * posterior.kl().mean() / 1024

    _descend(model, model.parameters(), loss, steps, 2e-3, report)
    sample = images[torch.randperm(len(images), generator=generator)[:2048]]
    whiten_(model, encode(model, sample).float())


def train_decoder(
    model: AutoencoderKL, images: Tensor, latents: Tensor, steps: int, seed: int, report: Report
) -> None:
    """Sharpen the decoder on (N, H, W, 3) uint8 and their latents (N, 4, h, w), in place."""
    generator = torch.Generator().manual_seed(seed)

    def loss() -> Tensor:
        rows = torch.randint(len(images), (BATCH,), generator=generator)
        clean = latents[rows].float()
        noisy = clean + LATENT_NOISE * torch.randn(clean.shape, generator=generator)
        return reconstruction_loss(model.decode(noisy).sample, pixels(images[rows]))

    decoding = [*model.post_quant_conv.parameters(), *model.decoder.parameters()]
    _descend(model, decoding, loss, steps, 1e-3, report)


@torch.no_grad()
def encode(
    model: AutoencoderKL, images: Tensor, advance: Callable[[int], None] | None = None
) -> Tensor:
    """The posterior's mean for (N, H, W, 3) uint8: (N, 4, h, w) float16.

    `advance` is told after each batch how many images it held.
    """
    model.eval()
    parts = []
    for start in range(0, len(images), 32):
        means = model.encode(pixels(images[start : start + 32])).latent_dist.mean
        parts.append(means.half())
        if advance is not None:
            advance(len(means))
    return torch.cat(parts)


@torch.no_grad()
def whiten_(model: AutoencoderKL, latents: Tensor) -> None:
    """Fold into the 1x1 convolutions around the latent what gives `latents` mean 0, covariance 1.

    `latents` (N, 4, h, w) float32 are the model's own. The decoder's output does not change.
    """
    channels = latents.shape[1]
    rows = latents.transpose(0, 1).flatten(1)
    mean = rows.mean(1)
    eigenvalues, vectors = torch.linalg.eigh(torch.cov(rows))
    whitening = vectors @ torch.diag(eigenvalues.rsqrt()) @ vectors.T
    coloring = vectors @ torch.diag(eigenvalues.sqrt()) @ vectors.T

    before, after = model.quant_conv, model.post_quant_conv
    weight = before.weight[:channels, :, 0, 0].clone()
    before.weight[:channels, :, 0, 0] = whitening @ weight
    before.bias[:channels] = whitening @ (before.bias[:channels] - mean)
    # The log-variances follow the diagonal only: nothing downstream samples the posterior.
    before.bias[channels:] += 2 * whitening.diagonal().log()
    weight = after.weight[:, :, 0, 0].clone()
    after.bias += weight @ mean
    after.weight[:, :, 0, 0] = weight @ coloring


def _descend(
    model: AutoencoderKL,
    trained: Iterable[Parameter],
    loss: Callable[[], Tensor],
    steps: int,
    peak_rate: float,
    report: Report,
) -> None:
    """AdamW with a short warm-up and a cosine; ends with the moving average of the weights."""
    parameters = list(trained)
    model.train()
    model.requires_grad_(requires_grad=False)
    for parameter in parameters:
        parameter.requires_grad_()
    optimizer = torch.optim.AdamW(
        parameters, lr=peak_rate, betas=(0.9, 0.98), weight_decay=1e-4, fused=True
    )
    average = [parameter.detach().clone() for parameter in parameters]
    for step in range(steps):
        cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = peak_rate * min(1.0, (step + 1) / 100) * (0.03 + 0.97 * cosine)
        value = loss()
        value.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        decay = min(0.998, (1 + step) / (20 + step))
        torch._foreach_lerp_(average, [parameter.detach() for parameter in parameters], 1 - decay)
        report(step + 1, value.item())
    with torch.no_grad():
        for parameter, mean in zip(parameters, average, strict=True):
            parameter.copy_(mean)
    model.requires_grad_(requires_grad=True)
    model.eval()
