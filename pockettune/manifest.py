"""The rules of a manifest: what has to be there, and what has to agree with what.

``spec/manifest.schema.json`` describes the structure; this module applies it, and adds what a
schema cannot say (``spec/bundle.md``, sections 2 and 3): file names, references, sizes.

The ``..._faults`` functions yield ``(member, reason)`` lazily. A caller stops at the first one: the
rules after it may count on it.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from importlib import resources
from math import prod
from typing import Any, TypeAlias

import jsonschema

from pockettune.tensor_file import ITEM_BYTES

__all__ = ["file_name_fault", "reference_faults", "structure_faults"]

Fault: TypeAlias = tuple[str, str]

_COMPONENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_MOST_COMPONENTS = 4
_LONGEST_NAME = 200
_LARGEST_TENSOR = 2**40
_WIDEST_RANGE = 2**32
_LONGEST_REASON = 160
_RANDOM = {"random.normal": "float32", "random.uniform": "float32", "random.integer": "int64"}
_HYPER = ("float32", "int64")
_KINDS = {
    "inputs": ("batch", "state", "cache", "hyper"),
    "outputs": ("state", "cache", "metric", "output"),
}


def structure_faults(manifest: Any) -> Iterator[Fault]:
    """What ``spec/manifest.schema.json`` forbids."""
    for error in _validator().iter_errors(manifest):
        reason = error.message.encode("ascii", "backslashreplace").decode("ascii")
        yield ".".join(map(str, error.absolute_path)), reason[:_LONGEST_REASON]


def file_name_fault(name: str) -> str | None:
    """Why a name cannot be a file of a bundle, or None."""
    if name == "manifest.json":
        return "it is the manifest itself"
    if len(name) > _LONGEST_NAME:
        return f"it has more than {_LONGEST_NAME} characters"
    components = name.split("/")
    if len(components) > _MOST_COMPONENTS:
        return f"it has {len(components)} parts"
    for component in components:
        if not _COMPONENT.fullmatch(component):
            return f"its part {component!a} is not allowed"
    return None


def reference_faults(manifest: Mapping[str, Any]) -> Iterator[Fault]:
    """What does not fit together in a manifest whose structure is right."""
    yield from _tensor_faults(manifest)
    yield from _cache_faults(manifest)
    for name, program in manifest["programs"].items():
        yield from _program_faults(f"programs.{_short(name)}", program, manifest)
    yield from _program_name_faults(manifest)
    if "text" in manifest:
        yield from _text_faults(manifest)
    if "adapter" in manifest:
        name = manifest["adapter"]["tensors"]
        tensor = manifest["tensors"].get(name, {})
        if tensor.get("dtype") != "float32" or not tensor.get("views"):
            yield "adapter.tensors", f"{_label(name)} is not a float32 tensor with views"
    if "classification" in manifest:
        yield from _classification_faults(manifest)


def _classification_faults(manifest: Mapping[str, Any]) -> Iterator[Fault]:
    member = manifest["classification"]
    tensor = manifest["tensors"].get(member["parameters"], {})
    if tensor.get("dtype") != "float32" or not tensor.get("views"):
        name = _label(member["parameters"])
        yield "classification.parameters", f"{name} is not a float32 tensor with views"
    for name in (member["evaluate_program"], *member["predict_programs"]):
        yield from _missing("classification", name, "programs", manifest)


def _tensor_faults(manifest: Mapping[str, Any]) -> Iterator[Fault]:
    for name, tensor in manifest["tensors"].items():
        member = f"tensors.{_short(name)}"
        yield from _size_faults(member, tensor)
        if tensor["file"] is not None:
            yield from _missing(f"{member}.file", tensor["file"], "files", manifest)
        position = 0
        seen: set[str] = set()
        for view in tensor.get("views", ()):
            if view["name"] in seen:
                yield f"{member}.views", f"{_label(view['name'])} is there twice"
            seen.add(view["name"])
            if view["offset"] != position:
                reason = f"{_label(view['name'])} begins at {view['offset']}, not {position}"
                yield f"{member}.views", reason
            position += prod(view["shape"])
        if position != prod(tensor["shape"]) and tensor.get("views"):
            yield f"{member}.views", f"they cover {position} of {prod(tensor['shape'])} elements"


def _cache_faults(manifest: Mapping[str, Any]) -> Iterator[Fault]:
    for name, cache in manifest["caches"].items():
        yield from _size_faults(f"caches.{name}", cache)
        pair = (cache["dtype"], cache["stored"])
        if pair[0] != pair[1] and pair != ("float32", "float16"):
            yield f"caches.{name}.stored", f"{pair[0]} cannot be stored as {pair[1]}"


def _program_faults(
    member: str, program: Mapping[str, Any], manifest: Mapping[str, Any]
) -> Iterator[Fault]:
    for engine, entry in program["engines"].items():
        yield from _missing(f"{member}.engines.{engine}.file", entry["file"], "files", manifest)
    for side in ("inputs", "outputs"):
        for position, argument in enumerate(program[side]):
            place = f"{member}.{side}.{position}"
            yield from _size_faults(place, argument)
            yield from _binding_faults(place, side, argument, manifest)
    scopes = {
        manifest["caches"][argument["binding"].removeprefix("cache.")]["scope"]
        for argument in program["outputs"]
        if argument["binding"].startswith("cache.")
    }
    if len(scopes) > 1:
        yield f"{member}.outputs", f"they have several scopes: {', '.join(sorted(scopes))}"


def _binding_faults(
    member: str, side: str, argument: Mapping[str, Any], manifest: Mapping[str, Any]
) -> Iterator[Fault]:
    binding = argument["binding"]
    kind, _, name = binding.partition(".")
    if side == "inputs" and binding in _RANDOM:
        yield from _random_faults(member, argument)
    elif side == "outputs" and (binding == "loss" or (kind == "metric" and name)):
        if argument["dtype"] != "float32" or argument["shape"] not in ([], [1]):
            yield member, f"{_label(binding)} is not one float32 number"
    elif kind not in _KINDS[side] or not name:
        yield f"{member}.binding", f"{_label(binding)} is not a binding of {side}"
    elif kind == "hyper" and argument["dtype"] not in _HYPER:
        yield member, f"{_label(binding)} is {' or '.join(_HYPER)}"
    elif kind in ("state", "cache"):
        table = manifest["tensors" if kind == "state" else "caches"]
        if name not in table:
            yield f"{member}.binding", f"{_label(binding)} does not exist"
        elif any(argument[key] != table[name][key] for key in ("dtype", "shape")):
            yield member, f"{_label(binding)} has another dtype or shape"


def _random_faults(member: str, argument: Mapping[str, Any]) -> Iterator[Fault]:
    integer = argument["binding"] == "random.integer"
    if argument["dtype"] != _RANDOM[argument["binding"]]:
        yield member, f"{argument['binding']} is {_RANDOM[argument['binding']]}"
    for key in ("stream", "index", "low", "high") if integer else ("stream", "index"):
        if key not in argument:
            yield member, f"{argument['binding']} needs {_label(key)}"
    if integer and not 1 <= argument["high"] - argument["low"] <= _WIDEST_RANGE:
        yield member, f"no integers from {argument['low']} to below {argument['high']}"


def _program_name_faults(manifest: Mapping[str, Any]) -> Iterator[Fault]:
    for name in manifest["preparation"]:
        yield from _missing("preparation", name, "programs", manifest)
    for name in manifest["budget"]["programs"]:
        yield from _missing("budget.programs", name, "programs", manifest)
    yield from _missing("training.program", manifest["training"]["program"], "programs", manifest)
    if "generation" in manifest:
        for key in ("prompt_program", "step_program", "output_program"):
            name = manifest["generation"][key]
            yield from _missing(f"generation.{key}", name, "programs", manifest)


def _text_faults(manifest: Mapping[str, Any]) -> Iterator[Fault]:
    text = manifest["text"]
    for key in ("vocab", "merges"):
        yield from _missing(f"text.tokenizer.{key}", text["tokenizer"][key], "files", manifest)
    if len(text["unconditional_ids"]) != text["max_length"]:
        count = len(text["unconditional_ids"])
        yield "text.unconditional_ids", f"{count} ids, and max_length is {text['max_length']}"


def _size_faults(member: str, tensor: Mapping[str, Any]) -> Iterator[Fault]:
    size = prod(tensor["shape"]) * ITEM_BYTES[tensor["dtype"]]
    if size > _LARGEST_TENSOR:
        yield member, f"it has {size} bytes, and at most 2^40 are allowed"


def _missing(member: str, name: str, table: str, manifest: Mapping[str, Any]) -> Iterator[Fault]:
    if name not in manifest[table]:
        yield member, f"{_label(name)} is not in {table}"


def _short(name: str) -> str:
    """A name in a path: names may be long, and each may have thousands of members."""
    return name[:_LONGEST_REASON]


def _label(name: str) -> str:
    return ascii(name)[:_LONGEST_REASON]


@functools.cache
def _validator() -> jsonschema.protocols.Validator:
    """The schema's validator; 1.0 is no integer to it, because readers elsewhere differ there."""
    text = resources.files("pockettune").joinpath("manifest.schema.json").read_text("utf-8")
    schema = json.loads(text)
    base = jsonschema.Draft202012Validator
    checker = base.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
    return jsonschema.validators.extend(base, type_checker=checker)(
        _inlined(schema, schema.pop("$defs"))
    )


def _inlined(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """The schema with definitions in the place of references, which makes it twice as fast."""
    if isinstance(schema, list):
        return [_inlined(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(definitions[schema["$ref"].removeprefix("#/$defs/")], definitions)
    return {key: _inlined(value, definitions) for key, value in schema.items()}
