"""Golden vectors: bundles and tensor files that every reader accepts.

The bundle is as small as one can be that has every kind of member, binding and dtype of state. Its
program is not executable; no vector needs that it is.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pockettune import random, strict_json, tensor_file
from pockettune.bundle import encode_manifest
from pockettune.signature import sign
from pockettune.tensor_file import read_header
from pockettune.vectors import classification
from pockettune.vectors.largest import filled
from pockettune.vectors.sdk import KEY

__all__ = [
    "FILES",
    "bundles",
    "describe_tensors",
    "manifest",
    "tensor_files",
    "with_rest",
]

_LENGTH = 4
_PIXELS = [1, 3, 8, 8]
_LATENTS = [1, 4, 1, 1]
_HIDDEN = [1, 2, 2, 2]
_TEXT = [1, _LENGTH, 3]
_ADAPTER = 14
_UNSIGNED = b'"signature":""'

FILES: Mapping[str, bytes] = {
    "programs.pte": b"not a program, only bytes that have to arrive unchanged\n",
    "state/adapter.safetensors": tensor_file.encode(
        {"adapter": random.normal(0, 5, 0, (_ADAPTER,))}, {"made_by": "pockettune.vectors"}
    ),
    "tokenizer/merges.txt": b"#version: 0.2\n",
    "tokenizer/vocab.json": b'{"!</w>":0,"<|endoftext|>":1}\n',
}


def manifest(files: Mapping[str, bytes] = FILES) -> dict[str, Any]:
    """The golden bundle's manifest for these files, without id and signature."""
    state = [("adapter", [_ADAPTER]), ("moment1", [_ADAPTER]), ("moment2", [_ADAPTER])]
    state_arguments = [
        *(_argument(f"state.{name}", shape) for name, shape in state),
        _argument("state.step", [1], "int64"),
    ]
    return {
        "format": 1,
        "name": "A golden bundle",
        "task": "text_to_image",
        "method": {"name": "example", "config": {"rank": 1, "learning_rate": 1e-05}},
        "tools": {"executorch": "1.5.1", "pockettune": "0.1.0"},
        "precision": {"frozen_bits": 32, "state": "float32", "wire": "float32"},
        "files": {
            name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
            for name, data in files.items()
        },
        "tensors": {
            "adapter": {
                "dtype": "float32",
                "shape": [_ADAPTER],
                "role": "adapter",
                "file": "state/adapter.safetensors",
                "views": [
                    {"name": "unet.to_q.lora_A.weight", "shape": [1, 6], "offset": 0},
                    {"name": "unet.to_q.lora_B.weight", "shape": [8, 1], "offset": 6},
                ],
            },
            "moment1": _tensor("float32", [_ADAPTER], "moment"),
            "moment2": _tensor("float32", [_ADAPTER], "moment"),
            "step": _tensor("int64", [1], "counter"),
        },
        "caches": {
            "text_states": _cache(_TEXT, "prompt"),
            "latents": _cache(_LATENTS, "photo"),
            "hidden": {**_cache(_HIDDEN, "sample"), "stored": "float16"},
            "picture": {
                **_cache(_LATENTS, "picture"),
                "initial": {"binding": "random.normal", "stream": 4},
            },
        },
        "programs": {
            "encode_text": _program(
                "encode_text",
                [_argument("batch.input_ids", [1, _LENGTH], "int64")],
                [_argument("cache.text_states", _TEXT)],
            ),
            "encode_image": _program(
                "encode_image",
                [_argument("batch.pixels", _PIXELS)],
                [_argument("cache.latents", _LATENTS)],
            ),
            "prepare": _program(
                "prepare",
                [
                    _argument("cache.latents", _LATENTS),
                    _argument("cache.text_states", _TEXT),
                    _noise(),
                    _timestep(),
                ],
                [_argument("cache.hidden", _HIDDEN)],
            ),
            "train_step": _program(
                "train_step",
                [
                    _argument("cache.latents", _LATENTS),
                    _argument("cache.text_states", _TEXT),
                    _argument("cache.hidden", _HIDDEN),
                    _noise(),
                    _timestep(),
                    _argument("batch.weight", [1]),
                    _argument("hyper.learning_rate", [1]),
                    *state_arguments,
                ],
                [
                    _argument("loss", [1]),
                    _argument("metric.gradient_norm", [1]),
                    *state_arguments,
                ],
            ),
            "denoise": _program(
                "denoise",
                [
                    _argument("cache.picture", _LATENTS),
                    {**_argument("cache.text_states", _TEXT), "prompt": "conditional"},
                    {
                        **_argument("cache.text_states", _TEXT),
                        "name": "unconditional",
                        "prompt": "unconditional",
                    },
                    _argument("hyper.timestep", [1], "int64"),
                    _argument("hyper.previous_timestep", [1], "int64"),
                    _argument("hyper.guidance", [1]),
                    state_arguments[0],
                ],
                [_argument("cache.picture", _LATENTS)],
            ),
            "decode": _program(
                "decode",
                [_argument("cache.picture", _LATENTS)],
                [_argument("output.image", _PIXELS)],
            ),
        },
        "preparation": ["encode_text", "encode_image", "prepare"],
        "training": {
            "program": "train_step",
            "steps": 8,
            "samples": 4,
            "accumulation": 1,
            "hyper": {"learning_rate": 1e-05},
        },
        "generation": {
            "step_program": "denoise",
            "output_program": "decode",
            "prompt_program": "encode_text",
            "steps": 5,
            "train_timesteps": 1000,
            "spacing": "trailing",
            "steps_offset": 0,
            "hyper": {"guidance": 3.5},
        },
        "text": {
            "max_length": _LENGTH,
            "tokenizer": {"vocab": "tokenizer/vocab.json", "merges": "tokenizer/merges.txt"},
            "unconditional_ids": [0, 1, 1, 1],
        },
        "image": {"height": 8, "width": 8},
        "adapter": {"tensors": "adapter", "metadata": {"format": "pt"}},
        "budget": {"programs": {"train_step": {"arena_bytes": 4096, "weight_bytes": 512}}},
        "parity": {"train_step": {"tolerance": {"loss": 1e-06}, "loss": 2.5e-08}},
    }


def with_rest(rest: bytes) -> bytes:
    """A manifest of any bytes after its prefix, with the id that fits them."""
    bundle_id = hashlib.sha256(b"{" + rest).hexdigest().encode("ascii")
    return b'{"bundle_id":"' + bundle_id + b'","signature":"",' + rest


def _signed(plain: bytes) -> bytes:
    """A manifest with the signature of the vectors' key."""
    canonical = b"{" + plain.partition(_UNSIGNED + b",")[2]
    signature = f'"signature":"{sign(canonical, KEY)}"'.encode("ascii")
    return plain.replace(_UNSIGNED, signature, 1)


def bundles() -> dict[str, dict[str, bytes]]:
    """The golden bundles: name -> file -> contents."""
    plain = encode_manifest(manifest())
    tolerant = copy.deepcopy(manifest())
    tolerant["programs"]["decode"]["engines"]["another"] = {"file": "programs.pte", "method": "x"}
    tolerant |= {"unknown": _nested(strict_json.DEEPEST - 1), "name": "\u00fc\U0001f438\u0000"}
    return {
        "bundle": {"manifest.json": plain, **FILES},
        # A reader without a key takes any signature of the right form.
        "bundle_signed": {"manifest.json": _signed(plain), **FILES},
        # Unknown members, the greatest depth, letters beyond ASCII, an engine of the future.
        "bundle_tolerant": {"manifest.json": encode_manifest(tolerant), **FILES},
        # As many values and as much text as a reader takes.
        "bundle_largest": {
            "manifest.json": filled(manifest(), strict_json.MOST_VALUES, strict_json.MOST_TEXT),
            **FILES,
        },
        "bundle_classification": {
            "manifest.json": encode_manifest(classification.manifest()),
            **classification.FILES,
        },
    }


def tensor_files() -> dict[str, bytes]:
    """The golden tensor files."""
    every_dtype = {
        dtype: np.arange(-2, 4).reshape(2, 3).astype(dtype) for dtype in tensor_file.ITEM_BYTES
    }
    # Written as others write it: names out of order, spaces in the JSON, no alignment.
    header = (
        b'{ "b": {"dtype": "U8", "data_offsets": [4, 7], "shape": [3]},'
        b' "a": {"shape": [], "dtype": "F32", "data_offsets": [0, 4]} }'
    )
    return {
        "every_dtype.safetensors": tensor_file.encode(every_dtype, {"format": "pt", "a": "\u00fc"}),
        "foreign.safetensors": len(header).to_bytes(8, "little")
        + header
        + np.float32(1.5).tobytes()
        + b"\x01\x02\x03",
        "no_tensors.safetensors": tensor_file.encode({}),
    }


def describe_tensors(path: Path) -> dict[str, Any]:
    """What ``golden.json`` says about a tensor file."""
    header = read_header(path)
    data = path.read_bytes()[header.data :]
    return {
        name: {
            "dtype": entry.dtype,
            "shape": entry.shape,
            "sha256": hashlib.sha256(data[entry.begin : entry.end]).hexdigest(),
        }
        for name, entry in header.entries.items()
    }


def _nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


def _tensor(dtype: str, shape: list[int], role: str) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "role": role, "file": None, "views": []}


def _cache(shape: list[int], scope: str) -> dict[str, Any]:
    return {"dtype": "float32", "shape": shape, "stored": "float32", "scope": scope}


def _program(method: str, inputs: list[Any], outputs: list[Any]) -> dict[str, Any]:
    engines = {"executorch": {"file": "programs.pte", "method": method}}
    return {"engines": engines, "inputs": inputs, "outputs": outputs}


def _argument(binding: str, shape: list[int], dtype: str = "float32") -> dict[str, Any]:
    name = binding.rpartition(".")[2]
    return {"name": name, "dtype": dtype, "shape": shape, "binding": binding}


def _noise() -> dict[str, Any]:
    argument = {**_argument("random.normal", _LATENTS), "name": "noise"}
    return {**argument, "stream": 2, "index": "sample"}


def _timestep() -> dict[str, Any]:
    argument = {**_argument("random.integer", [1], "int64"), "name": "timestep"}
    return {**argument, "stream": 1, "index": "sample", "low": 0, "high": 1000}
