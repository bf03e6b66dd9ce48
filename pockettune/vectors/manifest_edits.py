"""Single edits of the golden manifest, each of which makes it ``bundle_manifest_invalid``."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["INVALID", "REMOVED", "edited"]

REMOVED = object()

_Member = tuple[str | int, ...]
_TENSOR: _Member = ("tensors", "adapter")
_VIEWS: _Member = (*_TENSOR, "views")
_STEP: _Member = ("programs", "train_step")
_NOISE: _Member = (*_STEP, "inputs", 3)
_TIMESTEP: _Member = (*_STEP, "inputs", 4)
_UNIFORM: dict[str, Any] = {
    "name": "noise",
    "dtype": "float16",
    "shape": [1],
    "binding": "random.uniform",
}
_UNIFORM |= {"stream": 2, "index": "sample"}
_LOSS: _Member = (*_STEP, "outputs", 0)
_STATE: _Member = (*_STEP, "outputs", 2)
_FILE: _Member = ("files", "programs.pte")

_REQUIRED = [
    *[("name",), ("task",), ("method",), ("method", "name"), ("method", "config"), ("tools",)],
    *[("precision",), *(("precision", key) for key in ("frozen_bits", "state", "wire"))],
    *[("format",), ("files",), (*_FILE, "sha256"), (*_FILE, "bytes")],
    *[("tensors",), *((*_TENSOR, key) for key in ("dtype", "shape", "role", "file"))],
    *((*_VIEWS, 0, key) for key in ("name", "shape", "offset")),
    *[("caches",), *(("caches", "hidden", key) for key in ("dtype", "shape", "stored", "scope"))],
    *(("caches", "picture", "initial", key) for key in ("binding", "stream")),
    *[("programs",), *((*_STEP, key) for key in ("engines", "inputs", "outputs"))],
    *((*_STEP, "engines", "executorch", key) for key in ("file", "method")),
    *((*_NOISE, key) for key in ("name", "dtype", "shape", "binding", "stream", "index")),
    *((*_TIMESTEP, key) for key in ("low", "high")),
    *[("preparation",), ("training",)],
    *(("training", key) for key in ("program", "steps", "samples", "accumulation", "hyper")),
    ("generation",),
    *(("generation", f"{key}_program") for key in ("step", "output", "prompt")),
    *(("generation", key) for key in ("steps", "train_timesteps", "spacing", "steps_offset")),
    *[("generation", "hyper"), ("text",)],
    *(("text", key) for key in ("max_length", "tokenizer", "unconditional_ids")),
    *(("text", "tokenizer", key) for key in ("vocab", "merges")),
    *[("image",), ("image", "height"), ("image", "width")],
    *[("adapter",), ("adapter", "tensors"), ("adapter", "metadata")],
    *[("budget",), ("budget", "programs")],
    *(("budget", "programs", "train_step", key) for key in ("arena_bytes", "weight_bytes")),
    *[("parity",), ("parity", "train_step", "tolerance")],
]

_EDITS: dict[str, tuple[_Member, Any]] = {
    "format_text": (("format",), "1"),
    "format_float": (("format",), 1.0),
    "format_boolean": (("format",), True),
    "name_number": (("name",), 1),
    "method_text": (("method",), "example"),
    "config_list": (("method", "config"), []),
    "tools_version_number": (("tools", "executorch"), 1.5),
    "precision_bits": (("precision", "frozen_bits"), 5),
    "precision_bits_float": (("precision", "frozen_bits"), 32.0),
    "precision_state": (("precision", "state"), "float16"),
    "precision_wire": (("precision", "wire"), "float64"),
    "files_list": (("files",), []),
    "file_null": (_FILE, None),
    "file_hash_upper_case": ((*_FILE, "sha256"), "A" * 64),
    "file_hash_short": ((*_FILE, "sha256"), "a" * 63),
    "file_hash_newline": ((*_FILE, "sha256"), "a" * 64 + "\n"),
    "file_bytes_negative": ((*_FILE, "bytes"), -1),
    "file_bytes_float": ((*_FILE, "bytes"), 56.0),
    "file_bytes_text": ((*_FILE, "bytes"), "56"),
    "file_bytes_huge": ((*_FILE, "bytes"), 2**53),
    "tensors_null": (("tensors",), None),
    "tensor_dtype": ((*_TENSOR, "dtype"), "float64"),
    "tensor_role": ((*_TENSOR, "role"), "weight"),
    "tensor_file_number": ((*_TENSOR, "file"), 0),
    "tensor_file_unknown": ((*_TENSOR, "file"), "state/another.safetensors"),
    "tensor_file_outside": ((*_TENSOR, "file"), "../state.safetensors"),
    "tensor_shape_zero": (("tensors", "moment1", "shape"), [0]),
    "tensor_shape_negative": (("tensors", "moment1", "shape"), [-14]),
    "tensor_shape_float": (("tensors", "moment1", "shape"), [14.0]),
    "tensor_shape_boolean": (("tensors", "step", "shape"), [True]),
    "tensor_shape_text": (("tensors", "moment1", "shape"), "14"),
    "tensor_shape_number": (("tensors", "moment1", "shape"), 14),
    "tensor_shape_large": (("tensors", "moment1", "shape"), [2**31]),
    "tensor_shape_nine": (("tensors", "moment1", "shape"), [1] * 8 + [14]),
    "tensor_too_large": (("tensors", "unused"), {"shape": [2**30, 2**10]}),
    "tensor_size_wraps": (("tensors", "unused"), {"shape": [2**16] * 4}),
    "views_number": (_VIEWS, 1),
    "view_short": ((*_VIEWS, 1, "shape"), [7, 1]),
    "view_long": ((*_VIEWS, 1, "shape"), [9, 1]),
    "view_hole": ((*_VIEWS, 1, "offset"), 7),
    "view_overlap": ((*_VIEWS, 1, "offset"), 5),
    "view_missing": ((*_VIEWS, 1), REMOVED),
    "view_first_missing": ((*_VIEWS, 0), REMOVED),
    "view_negative": ((*_VIEWS, 0, "offset"), -1),
    "view_name_twice": ((*_VIEWS, 1, "name"), "unet.to_q.lora_A.weight"),
    "view_name_number": ((*_VIEWS, 0, "name"), 1),
    "cache_dtype": (("caches", "hidden", "dtype"), "bfloat16"),
    "cache_stored": (("caches", "hidden", "stored"), "int8"),
    "cache_stored_wider": (("caches", "unused"), {"dtype": "float16", "stored": "float32"}),
    "cache_scope": (("caches", "hidden", "scope"), "step"),
    "cache_initial_binding": (("caches", "picture", "initial", "binding"), "random.uniform"),
    "cache_initial_stream": (("caches", "picture", "initial", "stream"), 2**32),
    "program_list": (_STEP, []),
    "program_without_engine": ((*_STEP, "engines"), {}),
    "program_file_unknown": ((*_STEP, "engines", "executorch", "file"), "another.pte"),
    "program_file_outside": ((*_STEP, "engines", "executorch", "file"), "/programs.pte"),
    "engine_unknown_file_unknown": (
        (*_STEP, "engines", "abacus"),
        {"file": "another.bin", "method": "x"},
    ),
    "engine_unknown_without_method": ((*_STEP, "engines", "abacus"), {"file": "programs.pte"}),
    "engine_unknown_method_number": (
        (*_STEP, "engines", "abacus"),
        {"file": "programs.pte", "method": 1},
    ),
    "engine_unknown_list": ((*_STEP, "engines", "abacus"), []),
    "program_inputs_object": ((*_STEP, "inputs"), {}),
    "input_dtype": ((*_NOISE, "dtype"), "float"),
    "input_shape": ((*_NOISE, "shape"), [1, 0]),
    "input_binding_unknown": ((*_NOISE, "binding"), "random.bytes"),
    "input_binding_kind": ((*_NOISE, "binding"), "file.noise"),
    "input_binding_number": ((*_NOISE, "binding"), 1),
    "input_binding_empty": ((*_NOISE, "binding"), ""),
    "input_binding_nameless": ((*_NOISE, "binding"), "batch."),
    "input_binding_output": ((*_NOISE, "binding"), "loss"),
    "input_binding_newline": ((*_NOISE, "binding"), "random.normal\n"),
    "input_state_unknown": ((*_STEP, "inputs", 7, "binding"), "state.another"),
    "input_state_shape": ((*_STEP, "inputs", 7, "shape"), [2, 7]),
    "input_state_dtype": ((*_STEP, "inputs", 7, "dtype"), "int32"),
    "input_cache_unknown": ((*_STEP, "inputs", 0, "binding"), "cache.another"),
    "input_cache_shape": ((*_STEP, "inputs", 0, "shape"), [1, 4, 1, 2]),
    "input_cache_dtype": ((*_STEP, "inputs", 2, "dtype"), "float16"),
    "input_prompt": (("programs", "denoise", "inputs", 1, "prompt"), "another"),
    "input_normal_dtype": ((*_NOISE, "dtype"), "float16"),
    "input_uniform_dtype": (_NOISE, _UNIFORM),
    "input_integer_dtype": ((*_TIMESTEP, "dtype"), "int32"),
    "input_hyper_dtype": ((*_STEP, "inputs", 6, "dtype"), "float16"),
    "input_stream_negative": ((*_NOISE, "stream"), -1),
    "input_index": ((*_NOISE, "index"), "epoch"),
    "integers_empty": ((*_TIMESTEP, "high"), 0),
    "integers_reversed": ((*_TIMESTEP, "low"), 1001),
    "integers_too_many": ((*_TIMESTEP, "high"), 2**32 + 1),
    "integers_float": ((*_TIMESTEP, "high"), 1000.0),
    "output_binding_input": ((*_LOSS, "binding"), "batch.pixels"),
    "output_binding_random": ((*_LOSS, "binding"), "random.normal"),
    "output_binding_nameless": ((*_LOSS, "binding"), "metric."),
    "output_loss_shape": ((*_LOSS, "shape"), [2]),
    "output_loss_dtype": ((*_LOSS, "dtype"), "float16"),
    "output_metric_shape": ((*_STEP, "outputs", 1, "shape"), [1, 1]),
    "output_state_unknown": ((*_STATE, "binding"), "state.another"),
    "output_state_shape": ((*_STATE, "shape"), [1]),
    "output_state_dtype": ((*_STATE, "dtype"), "float16"),
    "output_cache_unknown": (("programs", "prepare", "outputs", 0, "binding"), "cache.another"),
    "outputs_of_two_scopes": (
        ("programs", "prepare", "outputs"),
        [
            {"name": "a", "dtype": "float32", "shape": [1, 2, 2, 2], "binding": "cache.hidden"},
            {"name": "b", "dtype": "float32", "shape": [1, 4, 3], "binding": "cache.text_states"},
        ],
    ),
    "preparation_unknown": (("preparation", 0), "another"),
    "preparation_number": (("preparation", 0), 1),
    "training_program_unknown": (("training", "program"), "another"),
    "training_steps_zero": (("training", "steps"), 0),
    "training_steps_float": (("training", "steps"), 8.0),
    "training_samples_zero": (("training", "samples"), 0),
    "training_accumulation_zero": (("training", "accumulation"), 0),
    "training_hyper_text": (("training", "hyper", "learning_rate"), "1e-5"),
    "training_hyper_boolean": (("training", "hyper", "learning_rate"), True),
    "generation_step_program_unknown": (("generation", "step_program"), "another"),
    "generation_output_program_unknown": (("generation", "output_program"), "another"),
    "generation_prompt_program_unknown": (("generation", "prompt_program"), "another"),
    "generation_steps_zero": (("generation", "steps"), 0),
    "generation_timesteps_zero": (("generation", "train_timesteps"), 0),
    "generation_spacing": (("generation", "spacing"), "linspace"),
    "generation_offset_negative": (("generation", "steps_offset"), -1),
    "generation_hyper_list": (("generation", "hyper"), []),
    "text_vocab_unknown": (("text", "tokenizer", "vocab"), "another.json"),
    "text_merges_unknown": (("text", "tokenizer", "merges"), "another.txt"),
    "text_length_zero": (("text", "max_length"), 0),
    "text_ids_short": (("text", "unconditional_ids"), [0, 1, 1]),
    "text_ids_long": (("text", "unconditional_ids"), [0, 1, 1, 1, 1]),
    "text_ids_negative": (("text", "unconditional_ids", 0), -1),
    "text_ids_float": (("text", "unconditional_ids", 0), 0.5),
    "image_height_zero": (("image", "height"), 0),
    "image_width_text": (("image", "width"), "8"),
    "adapter_unknown": (("adapter", "tensors"), "another"),
    "adapter_without_views": (("adapter", "tensors"), "moment1"),
    "adapter_metadata_number": (("adapter", "metadata", "format"), 1),
    "budget_program_unknown": (
        ("budget", "programs", "another"),
        {"arena_bytes": 0, "weight_bytes": 0},
    ),
    "budget_negative": (("budget", "programs", "train_step", "arena_bytes"), -1),
    "budget_measured_number": (("budget", "programs", "train_step", "measured"), 1),
    "parity_number": (("parity", "train_step"), 0),
    "parity_tolerance_number": (("parity", "train_step", "tolerance"), 1e-06),
}

# New tables' entries hold only what matters above.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "tensors": {"dtype": "float32", "shape": [1], "role": "moment", "file": None, "views": []},
    "caches": {"dtype": "float32", "shape": [1], "stored": "float32", "scope": "prompt"},
}

INVALID: dict[str, tuple[_Member, Any]] = {
    **{f"without_{'.'.join(map(str, member))}": (member, REMOVED) for member in _REQUIRED},
    **_EDITS,
}


def edited(manifest: dict[str, Any], member: _Member, value: Any) -> dict[str, Any]:
    """A copy of a manifest in which one member has another value or is ``REMOVED``."""
    # Not a deep copy, which would keep what two members share shared.
    changed = json.loads(json.dumps(manifest))
    *path, last = member
    place: Any = changed
    for key in path:
        place = place[key]
    if value is REMOVED:
        del place[last]
    elif last == "unused":
        place[last] = {**_DEFAULTS[str(member[0])], **value}
    else:
        place[last] = value
    return changed
