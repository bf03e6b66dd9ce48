"""The golden bundle of a fleet's client, and manifests of it that break one rule each."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from pockettune import tensor_file
from pockettune.random import normal

__all__ = ["FILES", "INVALID", "manifest"]

_SIZE = 9
_STATE = "state.safetensors"

FILES: Mapping[str, bytes] = {
    "programs.pte": b"not a program, only bytes that have to arrive unchanged\n",
    _STATE: tensor_file.encode({"parameters": normal(0, 51, 0, (_SIZE,))}),
}


def _argument(name: str, binding: str, shape: list[int], **more: Any) -> dict[str, Any]:
    return {"name": name, "dtype": "float32", "shape": shape, "binding": binding, **more}


def _program(
    name: str, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]
) -> dict[str, Any]:
    engines = {"executorch": {"file": "programs.pte", "method": name}}
    return {"engines": engines, "inputs": inputs, "outputs": outputs}


def manifest() -> dict[str, Any]:
    """A linear model of 2 numbers and 3 classes, without id and signature."""
    parameters = _argument("parameters", "state.parameters", [_SIZE])
    inputs = _argument("inputs", "batch.inputs", [4, 2])
    batch = [
        inputs,
        {**_argument("labels", "batch.labels", [4]), "dtype": "int64"},
        _argument("weights", "batch.weights", [4]),
    ]
    draws = [
        _argument(scope, "random.uniform", [1], stream=52 + place, index=scope)
        for place, scope in enumerate(("step", "round", "client"))
    ]
    rate = _argument("learning_rate", "hyper.learning_rate", [1])
    logits = _argument("logits", "output.logits", [4, 3])
    return {
        "format": 1,
        "name": "A golden bundle for a client",
        "task": "classification",
        "method": {"name": "fedavg", "config": {}},
        "tools": {"executorch": "1.5.1"},
        "precision": {"frozen_bits": 32, "state": "float32", "wire": "float32"},
        "files": {
            name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
            for name, data in FILES.items()
        },
        "tensors": {
            "parameters": {
                "dtype": "float32",
                "shape": [_SIZE],
                "role": "model",
                "file": _STATE,
                "views": [
                    {"name": "head.weight", "shape": [3, 2], "offset": 0},
                    {"name": "head.bias", "shape": [3], "offset": 6},
                ],
            }
        },
        "caches": {},
        "programs": {
            "train_step": _program(
                "train_step",
                [*batch, *draws, rate, parameters],
                [_argument("loss", "loss", [1]), parameters],
            ),
            "evaluate": _program(
                "evaluate",
                [*batch, parameters],
                [
                    _argument("loss_sum", "metric.loss_sum", [1]),
                    _argument("right", "metric.right", [1]),
                ],
            ),
            "predict": _program("predict", [inputs, parameters], [logits]),
            "predict_4": _program("predict_4", [inputs, parameters], [logits]),
        },
        "preparation": [],
        "training": {
            "program": "train_step",
            "steps": 1,
            "samples": 1,
            "accumulation": 1,
            "hyper": {"learning_rate": 0.05},
        },
        "classification": {
            "input_shape": [2],
            "classes": 3,
            "batch_size": 4,
            "epochs": 1,
            "parameters": "parameters",
            "evaluate_program": "evaluate",
            "predict_programs": {
                "predict": {"bits": 32, "arithmetic": "float32"},
                "predict_4": {"bits": 4, "arithmetic": "float32"},
            },
        },
        "budget": {"programs": {}},
        "parity": {},
    }


_MEMBER = "classification"
INVALID: Mapping[str, tuple[tuple[str, ...], Any]] = {
    "classification_shape": ((_MEMBER, "input_shape"), [0]),
    "classification_classes": ((_MEMBER, "classes"), 0),
    "classification_batch": ((_MEMBER, "batch_size"), 0),
    "classification_epochs": ((_MEMBER, "epochs"), 1.0),
    "classification_parameters": ((_MEMBER, "parameters"), "another"),
    "classification_evaluate": ((_MEMBER, "evaluate_program"), "another"),
    "classification_predict": (
        (_MEMBER, "predict_programs"),
        {"another": {"bits": 8, "arithmetic": "float32"}},
    ),
    "classification_bits": ((_MEMBER, "predict_programs", "predict", "bits"), 9),
    "classification_arithmetic": ((_MEMBER, "predict_programs", "predict", "arithmetic"), "int8"),
}
