"""The programs of ``toy_bundle.py`` in torch, lowered with the stock partitioner."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import ExecutorchBackendConfig, to_edge_transform_and_lower
from executorch.exir.passes import MemoryPlanningPass
from torch import Tensor, nn
from toy_bundle import BETA1, BETA2, EMBEDDING, EPSILON, FROZEN, LATENTS, PROGRAMS, SIZE


class EncodeText(nn.Module):
    """Prompt ids to states ``[1, LENGTH, 4]``."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.from_numpy(EMBEDDING.copy()))

    def forward(self, input_ids: Tensor) -> tuple[Tensor]:
        return (nn.functional.embedding(input_ids, self.embedding),)


class EncodeImage(nn.Module):
    """Pixels to latents: three channel means and their mean, per quarter of the picture."""

    def forward(self, pixels: Tensor) -> tuple[Tensor]:
        means = nn.functional.avg_pool2d(pixels, SIZE // 2)
        return (torch.cat([means, means.mean(1, keepdim=True)], 1),)


def _noisy(latents: Tensor, noise: Tensor, timestep: Tensor) -> Tensor:
    level = (timestep.to(torch.float32) / 1000).reshape(1, 1)
    return latents.reshape(4, 4) * (1 - level) + noise.reshape(4, 4) * level


class Prepare(nn.Module):
    """The frozen part of the prediction that training adds the rest to."""

    def forward(
        self, latents: Tensor, text_states: Tensor, noise: Tensor, timestep: Tensor
    ) -> tuple[Tensor]:
        noisy = _noisy(latents, noise, timestep)
        return ((0.25 * noisy + text_states.mean() * 0.5).reshape(LATENTS),)


class TrainStep(nn.Module):
    """One AdamW step (no decay) on the pack."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Parameter(torch.from_numpy(FROZEN.copy()), requires_grad=False)

    def forward(
        self,
        latents: Tensor,
        text_states: Tensor,
        hidden: Tensor,
        noise: Tensor,
        timestep: Tensor,
        weight: Tensor,
        learning_rate: Tensor,
        adapter: Tensor,
        moment1: Tensor,
        moment2: Tensor,
        step: Tensor,
    ) -> tuple[Tensor, ...]:
        x = _noisy(latents, noise, timestep)
        a, b = adapter[:8].reshape(2, 4), adapter[8:].reshape(4, 2)
        condition = text_states.mean()
        error = self.frozen @ x + b @ (a @ x) + hidden.reshape(4, 4) + condition
        error = error - noise.reshape(4, 4)
        loss = (weight * (error * error).mean()).reshape(1)
        slope = error * (weight / 8)
        gradient = torch.cat(
            [
                (b.transpose(0, 1) @ slope @ x.transpose(0, 1)).reshape(8),
                (slope @ (a @ x).transpose(0, 1)).reshape(8),
            ]
        )
        count = step + 1
        exponent = count.to(torch.float32)
        m1 = BETA1 * moment1 + (1 - BETA1) * gradient
        m2 = BETA2 * moment2 + (1 - BETA2) * gradient * gradient
        corrected1 = m1 / (1 - torch.pow(torch.full((1,), BETA1), exponent))
        corrected2 = m2 / (1 - torch.pow(torch.full((1,), BETA2), exponent))
        updated = adapter - learning_rate * corrected1 / (torch.sqrt(corrected2) + EPSILON)
        norm = torch.sqrt((gradient * gradient).sum()).reshape(1)
        return loss, norm, updated, m1, m2, count


class Denoise(nn.Module):
    """One step towards the picture, with guidance: no scheduler's, but deterministic."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Parameter(torch.from_numpy(FROZEN.copy()), requires_grad=False)

    def forward(
        self,
        picture: Tensor,
        text_states: Tensor,
        unconditional: Tensor,
        timestep: Tensor,
        previous_timestep: Tensor,
        guidance: Tensor,
        adapter: Tensor,
    ) -> tuple[Tensor]:
        x = picture.reshape(4, 4)
        a, b = adapter[:8].reshape(2, 4), adapter[8:].reshape(4, 2)
        base = self.frozen @ x + b @ (a @ x)
        without, within = base + unconditional.mean(), base + text_states.mean()
        predicted = without + guidance * (within - without)
        stride = (timestep - previous_timestep).to(torch.float32) / 1000
        return ((x - stride * predicted).reshape(LATENTS),)


class Decode(nn.Module):
    """Latents to a picture: three channels, enlarged."""

    def forward(self, picture: Tensor) -> tuple[Tensor]:
        rows = picture[:, :3].reshape(1, 3, 2, 1, 2, 1).expand(1, 3, 2, 4, 2, 4)
        return (torch.clamp(rows.reshape(1, 3, SIZE, SIZE), -1.0, 1.0),)


MODULES: dict[str, nn.Module] = {
    "encode_text": EncodeText(),
    "encode_image": EncodeImage(),
    "prepare": Prepare(),
    "train_step": TrainStep(),
    "denoise": Denoise(),
    "decode": Decode(),
}


def _example(argument: dict[str, Any]) -> Tensor:
    if argument["dtype"] == "int64":
        return torch.ones(argument["shape"], dtype=torch.int64)
    return torch.linspace(-1, 1, int(np.prod(argument["shape"]))).reshape(argument["shape"])


def lower(*, planned_arguments: bool = False) -> bytes:
    """The programs in one file; inputs and outputs lie in the arena when ``planned_arguments``."""
    with torch.no_grad():
        exported = {
            name: torch.export.export(module, tuple(map(_example, PROGRAMS[name][0])))
            for name, module in MODULES.items()
        }
    lowered = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
    planning = MemoryPlanningPass(
        alloc_graph_input=planned_arguments, alloc_graph_output=planned_arguments
    )
    config = ExecutorchBackendConfig(memory_planning_pass=planning)
    return bytes(lowered.to_executorch(config).buffer)


if __name__ == "__main__":
    torch.set_num_threads(1)
    Path(sys.argv[1]).write_bytes(lower(planned_arguments=sys.argv[2] == "planned"))
