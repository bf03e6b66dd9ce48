"""A tiny text-to-image bundle that runs on the real runtime: a linear net on 2 x 2 latents.

The net predicts noise from noisy latents: ``F x + B A x + hidden + c``, with frozen ``F``, adapter
``A [2, 4]`` and ``B [4, 2]``, and ``c`` the mean of the prompt's states. Gradients are written by
hand, so that the NumPy reference of the tests is a few lines and shares nothing with torch. The
torch side is ``toy_programs.py``, which only the lowering imports: importing torch takes longer
than all tests together.
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any

import numpy as np

from pockettune import tensor_file
from pockettune.bundle import write_bundle

SIZE = 8
LENGTH = 4
LATENTS = (1, 4, 2, 2)
PACK = 16
STEPS = 12
HYPER = {"learning_rate": 0.05}
BETA1, BETA2, EPSILON = 0.9, 0.99, 1e-8
GUIDANCE = 2.0

FROZEN = np.array(
    [[0.5, 0.1, 0, -0.2], [0.0, 0.4, 0.3, 0], [-0.1, 0, 0.6, 0.2], [0.3, 0, 0, 0.5]], np.float32
)
EMBEDDING = (np.arange(40, dtype=np.float32).reshape(10, 4) - 20) / 40
INITIAL = np.concatenate(
    [(np.arange(8, dtype=np.float32) - 3.5) / 8, np.zeros(8, np.float32)]
).astype(np.float32)


def _argument(name: str, binding: str, shape: tuple[int, ...], **more: Any) -> dict[str, Any]:
    dtype = more.pop("dtype", "float32")
    return {"name": name, "dtype": dtype, "shape": list(shape), "binding": binding, **more}


_TEXT = (1, LENGTH, 4)
_NOISE = _argument("noise", "random.normal", LATENTS, stream=2, index="sample")
_TIMESTEP = _argument(
    "timestep", "random.integer", (1,), dtype="int64", stream=1, index="sample", low=0, high=1000
)
_STATE = [
    *(_argument(name, f"state.{name}", (PACK,)) for name in ("adapter", "moment1", "moment2")),
    _argument("step", "state.step", (1,), dtype="int64"),
]
_LATENTS = _argument("latents", "cache.latents", LATENTS)
_STATES = _argument("text_states", "cache.text_states", _TEXT)
_PICTURE = _argument("picture", "cache.picture", LATENTS)
_HIDDEN = _argument("hidden", "cache.hidden", LATENTS)

PROGRAMS: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "encode_text": (
        [_argument("input_ids", "batch.input_ids", (1, LENGTH), dtype="int64")],
        [_STATES],
    ),
    "encode_image": (
        [_argument("pixels", "batch.pixels", (1, 3, SIZE, SIZE))],
        [_LATENTS],
    ),
    "prepare": ([_LATENTS, _STATES, _NOISE, _TIMESTEP], [_HIDDEN]),
    "train_step": (
        [
            _LATENTS,
            _STATES,
            _HIDDEN,
            _NOISE,
            _TIMESTEP,
            _argument("weight", "batch.weight", (1,)),
            _argument("learning_rate", "hyper.learning_rate", (1,)),
            *_STATE,
        ],
        [
            _argument("loss", "loss", (1,)),
            _argument("gradient_norm", "metric.gradient_norm", (1,)),
            *_STATE,
        ],
    ),
    "denoise": (
        [
            _PICTURE,
            {**_STATES, "prompt": "conditional"},
            {**_STATES, "name": "unconditional", "prompt": "unconditional"},
            _argument("timestep", "hyper.timestep", (1,), dtype="int64"),
            _argument("previous_timestep", "hyper.previous_timestep", (1,), dtype="int64"),
            _argument("guidance", "hyper.guidance", (1,)),
            _argument("adapter", "state.adapter", (PACK,)),
        ],
        [_PICTURE],
    ),
    "decode": ([_PICTURE], [_argument("image", "output.image", (1, 3, SIZE, SIZE))]),
}


def manifest() -> dict[str, Any]:
    """Everything but files, identity and format."""
    views = [
        {"name": "unet.mid.lora_A.weight", "shape": [2, 4], "offset": 0},
        {"name": "unet.mid.lora_B.weight", "shape": [4, 2], "offset": 8},
    ]
    zeros = {"dtype": "float32", "shape": [PACK], "role": "moment", "file": None}

    def cache(shape: tuple[int, ...], scope: str, stored: str = "float32") -> dict[str, Any]:
        return {"dtype": "float32", "shape": list(shape), "stored": stored, "scope": scope}

    return {
        "name": "toy",
        "task": "text_to_image",
        "method": {"name": "toy", "config": {}},
        "tools": {"executorch": importlib.metadata.version("executorch")},
        "precision": {"frozen_bits": 32, "state": "float32", "wire": "float32"},
        "tensors": {
            "adapter": {
                "dtype": "float32",
                "shape": [PACK],
                "role": "adapter",
                "file": "state/adapter.safetensors",
                "views": views,
            },
            "moment1": zeros,
            "moment2": zeros,
            "step": {"dtype": "int64", "shape": [1], "role": "counter", "file": None},
        },
        "caches": {
            "text_states": cache(_TEXT, "prompt"),
            "latents": cache(LATENTS, "photo"),
            "hidden": cache(LATENTS, "sample", "float16"),
            "picture": {
                **cache(LATENTS, "picture"),
                "initial": {"binding": "random.normal", "stream": 4},
            },
        },
        "programs": {
            name: {
                "engines": {"executorch": {"file": "programs.pte", "method": name}},
                "inputs": inputs,
                "outputs": outputs,
            }
            for name, (inputs, outputs) in PROGRAMS.items()
        },
        "preparation": ["encode_text", "encode_image", "prepare"],
        "training": {
            "program": "train_step",
            "steps": STEPS,
            "samples": 5,
            "accumulation": 1,
            "hyper": HYPER,
        },
        "generation": {
            "step_program": "denoise",
            "output_program": "decode",
            "prompt_program": "encode_text",
            "steps": 4,
            "train_timesteps": 1000,
            "spacing": "trailing",
            "steps_offset": 0,
            "hyper": {"guidance": GUIDANCE},
        },
        "text": {
            "max_length": LENGTH,
            "tokenizer": {"vocab": "tokenizer/vocab.json", "merges": "tokenizer/merges.txt"},
            "unconditional_ids": [9, 9, 9, 9],
        },
        "image": {"height": SIZE, "width": SIZE},
        "adapter": {"tensors": "adapter", "metadata": {"format": "pt"}},
        "budget": {"programs": {}},
        "parity": {},
    }


def write_toy(folder: Path, lowered: bytes, /, **changes: Any) -> Path:
    """Writes the bundle with top-level members replaced by ``changes``."""
    files: dict[str, Path | bytes] = {
        "programs.pte": lowered,
        "state/adapter.safetensors": tensor_file.encode({"adapter": INITIAL}),
        "tokenizer/vocab.json": b"{}",
        "tokenizer/merges.txt": b"",
    }
    write_bundle(folder, {**manifest(), **changes}, files)
    return folder


def inputs() -> dict[str, np.ndarray[Any, Any]]:
    """Three photos, a prompt and a class prompt."""
    pixels = np.sin(np.arange(3 * 3 * SIZE * SIZE, dtype=np.float32)).reshape(3, 3, SIZE, SIZE)
    return {
        "pixels": pixels,
        "input_ids": np.array([[1, 2, 3, 9]], np.int64),
        "class_input_ids": np.array([[4, 5, 9, 9]], np.int64),
    }
