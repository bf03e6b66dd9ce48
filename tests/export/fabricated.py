"""Values as the steps of an export hand them on, small and made up: a "net" of one number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from export.prepare import Prepared
from pockettune.method import Cache, MethodExport, StateTensor, View
from pockettune.program import Program, TensorSpec

STATE = TensorSpec("adapter", "float32", (6,), "state.adapter")
MOMENT = TensorSpec("moment", "float32", (6,), "state.moment")
PICTURE = TensorSpec("picture", "float32", (1, 4), "cache.picture")

UNITS: tuple[Mapping[str, Any], ...] = tuple(
    {
        "name": name,
        "level": level,
        "parameters": parameters,
        "kept": kept,
        "trained": trained,
        "skip_from": skip,
    }
    for name, level, parameters, kept, trained, skip in (
        ("conv_in", 0, 100, True, False, None),
        ("down.0", 0, 400, True, True, None),
        ("mid.0", 1, 1600, False, False, None),
        ("up.0", 0, 900, True, True, "down.0"),
        ("up.1", 0, 400, True, False, "conv_in"),
    )
)


@dataclass(frozen=True, slots=True)
class FabricatedParity:
    """Measured differences in the way of export/check.py."""

    tolerance: Mapping[str, float]
    max_abs_difference: float
    max_relative_error: float


def _program(name: str, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> Program:
    def function(*values: Tensor) -> tuple[Tensor, ...]:
        return values

    return Program(name, function, inputs, outputs, lambda _seed: ())


def method_export() -> MethodExport:
    """A text-to-image export that a bundle can hold."""
    views = (View("unet.a.lora_A.weight", (2, 2), 0), View("unet.a.lora_B.weight", (2, 1), 4))
    text = TensorSpec("text", "float32", (1, 3), "cache.text_states")
    rate = TensorSpec("rate", "float32", (1,), "hyper.learning_rate")
    return MethodExport(
        task="text_to_image",
        programs=(
            _program(
                "encode_text",
                (TensorSpec("input_ids", "int64", (1, 2), "batch.input_ids"),),
                (text,),
            ),
            _program(
                "train_step",
                (text, rate, STATE, MOMENT),
                (TensorSpec("loss", "float32", (1,), "loss"), STATE, MOMENT),
            ),
            _program("denoise", (PICTURE, STATE), (PICTURE,)),
            _program(
                "decode",
                (PICTURE,),
                (TensorSpec("image", "float32", (1, 3, 2, 2), "output.image"),),
            ),
        ),
        tensors={
            "adapter": StateTensor("float32", (6,), "adapter", torch.arange(6.0), views),
            "moment": StateTensor("float32", (6,), "moment", torch.zeros(6)),
        },
        caches={
            "text_states": Cache("float32", (1, 3), "float32", "prompt"),
            "picture": Cache(
                "float32", (1, 4), "float16", "picture", {"binding": "random.normal", "stream": 4}
            ),
        },
        preparation=("encode_text",),
        training={
            "program": "train_step",
            "steps": 3,
            "samples": 3,
            "accumulation": 1,
            "hyper": {"learning_rate": 0.001},
        },
        generation={
            "step_program": "denoise",
            "output_program": "decode",
            "prompt_program": "encode_text",
            "steps": 2,
            "train_timesteps": 10,
            "spacing": "trailing",
            "steps_offset": 0,
            "hyper": {"guidance": 4.0},
        },
        text={
            "max_length": 2,
            "tokenizer": {"vocab": "tokenizer/vocab.json", "merges": "tokenizer/merges.txt"},
            "unconditional_ids": (0, 1),
        },
        image={"height": 2, "width": 2},
        adapter={"tensors": "adapter", "metadata": {"alpha": "2"}},
        files={"tokenizer/vocab.json": b"{}", "tokenizer/merges.txt": b"#version: 0.2\n"},
        facts={"parameters": {"total": 3400}, "legal_cuts": ("A", "none")},
    )


def prepared() -> Prepared:
    """The result of step 1."""
    return Prepared(
        model="fabricated",
        method="some_method",
        settings={"rank": 2, "targets": ["to_q"]},
        bits=8,
        parameters={"text_encoder": 10, "unet": 3400, "vae": 20},
        net=UNITS,
        parts=method_export(),
    )


def captured() -> list[Any]:
    """The result of step 2, as far as the last step reads it."""
    return [
        SimpleNamespace(program=program, statistics=SimpleNamespace(constant_bytes=1000 * index))
        for index, program in enumerate(method_export().programs, 1)
    ]


def lowered(path: Path, content: bytes = b"program" * 100) -> Any:
    """The result of step 3, with a file at ``path``.

    Stand-ins of the same fields: the module of the real records takes the runtime's tools with it,
    half a minute on a slow machine.
    """
    path.write_bytes(content)
    portable = SimpleNamespace(
        operator="aten.add.Tensor", count=2, reason="dtype int64 <not float32>"
    )
    programs = {
        program.name: SimpleNamespace(
            nodes=10 * index,
            delegates=index,
            portable=(portable,) if index == 2 else (),
            arena_bytes=4096 * index,
        )
        for index, program in enumerate(method_export().programs, 1)
    }
    return SimpleNamespace(
        path=path,
        programs=programs,
        bytes=len(content),
        frozen_weight_bytes=600,
        engine="executorch",
        files=dict.fromkeys(programs, path),
    )


def parity() -> dict[str, Any]:
    """The result of step 4."""
    return {
        program.name: FabricatedParity({"value": 1e-4}, 1.234567e-6, 3.21e-6)
        for program in method_export().programs
    }
