"""Step 1: from a model's name and a method's settings to programs.

The frozen weights get their ``bits`` *before* a method makes its programs: the eager programs then
compute exactly what the exported ones have to, and with 8 bits need a quarter of the memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from export.progress import Advance
from pockettune.errors import ConfigInvalid
from pockettune.method import MethodExport, config_from_json, config_to_json, get

__all__ = ["COMPONENTS", "Prepared", "Request", "prepare"]

COMPONENTS = ("text_encoder", "unet", "vae")
"""The parts of a pipeline that hold weights."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a person asks for.

    ``model`` is "starter", a folder or a hub name; ``settings`` are those of the method's config
    that shall not have their default value; ``bits`` is 8 or 32.
    """

    model: str
    method: str
    settings: Mapping[str, Any]
    bits: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """A model as the programs of a method.

    ``model`` is its name for people (never a path of this machine), ``settings`` the whole config
    as JSON, ``parameters`` the number of frozen weights by component, ``net`` what
    :func:`export.net.describe` says of the net.
    """

    model: str
    method: str
    settings: Mapping[str, Any]
    bits: int
    parameters: Mapping[str, int]
    net: Sequence[Mapping[str, Any]]
    parts: MethodExport


def prepare(request: Request, advance: Advance) -> Prepared:
    """Load the model, make its cores lean, quantize it, and let the method make its programs.

    Raises ``ConfigInvalid`` before anything is loaded when a setting is not valid, and the
    ``ModelError`` of whatever is wrong with the model.
    """
    method = get(request.method)
    config: Any = config_from_json(method.config, request.settings)
    if method.export is None:
        raise ConfigInvalid("method", request.method, "a method with an export stage")

    # These import torch and diffusers: a wrong setting should be told without waiting for them.
    from export.net import describe
    from pockettune.models.pipeline import load_pipeline
    from pockettune.nn.lean import LeanOptions, make_lean_
    from pockettune.nn.quantize import quantize_

    advance(f"loading {request.model}", 0, 3)
    pipeline = load_pipeline(request.model, as_stored=True)
    parameters = {
        name: sum(weight.numel() for weight in getattr(pipeline, name).parameters())
        for name in COMPONENTS
    }
    advance(f"putting weights on {request.bits} bits", 1, 3)
    make_lean_(pipeline, LeanOptions())
    for name in COMPONENTS:
        quantize_(getattr(pipeline, name), request.bits)
    advance("making programs", 2, 3)
    parts = method.export(pipeline, config)
    advance("", 3, 3)
    return Prepared(
        model=pipeline.name,
        method=request.method,
        settings=config_to_json(config),
        bits=request.bits,
        parameters=parameters,
        net=describe(pipeline.unet, parts.facts),
        parts=parts,
    )
