"""The eager side of a comparison: a bundle's programs run by PyTorch, by the manifest's bindings.

`Personalization` does what ``pockettune-run personalize`` does, with the programs as Python
functions: the same samples, noise and timesteps (``spec/random.md``), the same rounding of caches.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from pockettune import random
from pockettune.method import MethodExport
from pockettune.program import Program, TensorSpec

__all__ = ["Personalization", "step_seconds"]


@dataclass(slots=True)
class Personalization:
    """One run on ``pixels`` (float32 ``[n, 3, H, W]``) and one prompt (int64 ``[1, L]``)."""

    parts: MethodExport
    pixels: Tensor
    input_ids: Tensor
    seed: int = 0
    losses: list[float] = field(default_factory=list)
    state: dict[str, Tensor] = field(default_factory=dict)
    _caches: dict[tuple[str, int], Tensor] = field(default_factory=dict)

    def run(self, steps: int, samples: int | None = None) -> list[float]:
        """Prepare and train; returns the losses of all ``steps``."""
        samples = min(samples or steps, steps)
        self.state = {name: self._initial(name) for name in self.parts.tensors}
        by_name = {program.name: program for program in self.parts.programs}
        for name in self.parts.preparation:
            program = by_name[name]
            scope = self.parts.caches[self._cache_of(program.outputs[0])].scope
            for index in range({"prompt": 1, "photo": len(self.pixels), "sample": samples}[scope]):
                self._call(program, index)
        train = by_name[self.parts.training["program"]]
        for step in range(steps):
            outputs = self._call(train, step % samples)
            self.losses.append(float(outputs["loss"].reshape(-1)[0]))
        return self.losses

    def _initial(self, name: str) -> Tensor:
        tensor = self.parts.tensors[name]
        if tensor.initial is not None:
            return tensor.initial.clone()
        return torch.zeros(tensor.shape, dtype=getattr(torch, tensor.dtype))

    @staticmethod
    def _cache_of(spec: TensorSpec) -> str:
        return spec.binding.removeprefix("cache.")

    def _call(self, program: Program, index: int) -> dict[str, Tensor]:
        outputs = program.function(*(self._input(spec, index) for spec in program.inputs))
        for spec, value in zip(program.outputs, outputs, strict=True):
            kind, _, name = spec.binding.partition(".")
            if kind == "state":
                self.state[name] = value
            elif kind == "cache":
                stored = getattr(torch, self.parts.caches[name].stored)
                self._caches[name, index] = value.to(stored)
        return {spec.name: value for spec, value in zip(program.outputs, outputs, strict=True)}

    def _input(self, spec: TensorSpec, index: int) -> Tensor:
        kind, _, name = spec.binding.partition(".")
        photo = index % len(self.pixels)
        match kind:
            case "batch":
                values = {"pixels": self.pixels[photo : photo + 1], "input_ids": self.input_ids}
                return values[name] if name in values else torch.ones(spec.shape)
            case "state":
                return self.state[name]
            case "cache":
                items = {"prompt": 0, "photo": photo, "sample": index}
                stored = self._caches[name, items[self.parts.caches[name].scope]]
                return stored.to(getattr(torch, spec.dtype))
            case "random":
                return self._random(spec, name, index)
            case _:
                return torch.full(spec.shape, float(self.parts.training["hyper"][name]))

    def _random(self, spec: TensorSpec, distribution: str, index: int) -> Tensor:
        if spec.stream is None:
            raise ValueError(f"{spec.name} has no stream")
        if distribution == "integer":
            low, high = spec.low or 0, spec.high or 1
            drawn = random.integer(self.seed, spec.stream, index, spec.shape, low, high)
            return torch.from_numpy(np.asarray(drawn)).to(getattr(torch, spec.dtype))
        draw = {"normal": random.normal, "uniform": random.uniform}[distribution]
        return torch.from_numpy(np.asarray(draw(self.seed, spec.stream, index, spec.shape)))


def step_seconds(program: Program, repeats: int, warmup: int = 1) -> list[float]:
    """Seconds of each of ``repeats`` calls of a program on its example inputs."""
    inputs = program.example(0)
    seconds = []
    for call in range(warmup + repeats):
        start = time.perf_counter()
        program.function(*inputs)
        if call >= warmup:
            seconds.append(time.perf_counter() - start)
    return seconds
