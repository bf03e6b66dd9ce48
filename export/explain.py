"""``--explain``: what an export would make, without making it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from export.sizes import size, tensor_bytes

if TYPE_CHECKING:
    from export.prepare import Prepared

__all__ = ["as_lines", "explain"]

_MOST_SHOWN = 8


def explain(prepared: Prepared, targets: Sequence[str]) -> dict[str, Any]:
    """Parameters, cuts, programs and expected sizes (in bytes) of a bundle for ``targets``.

    ``weights`` is an estimate: what norms and biases need beyond their bits is not counted. The
    arena of a program is known only after lowering.
    """
    parts = prepared.parts
    return {
        "model": prepared.model,
        "method": {"name": prepared.method, "config": dict(prepared.settings)},
        "bits": prepared.bits,
        "targets": list(targets),
        "parameters": dict(prepared.parameters),
        "facts": dict(parts.facts),
        "net": list(prepared.net),
        "programs": {
            program.name: {
                "inputs": [spec.to_json() for spec in program.inputs],
                "outputs": [spec.to_json() for spec in program.outputs],
            }
            for program in parts.programs
        },
        "expected_bytes": {
            "weights": sum(prepared.parameters.values()) * prepared.bits // 8,
            "state": sum(tensor_bytes(t.dtype, t.shape) for t in parts.tensors.values()),
            "caches": {
                name: {"each": tensor_bytes(cache.stored, cache.shape), "scope": cache.scope}
                for name, cache in parts.caches.items()
            },
        },
    }


def as_lines(explanation: Mapping[str, Any]) -> Iterator[str]:
    """An explanation as a page of plain text."""
    method, expected = explanation["method"], explanation["expected_bytes"]
    yield f"{explanation['model']} with {method['name']}, {explanation['bits']}-bit frozen weights"
    yield f"programs for {', '.join(explanation['targets'])}"
    yield ""
    yield "settings"
    for name, value in method["config"].items():
        yield f"  {name:<16} {_value(value)}"
    yield "frozen parameters"
    for name, count in explanation["parameters"].items():
        yield f"  {name:<16} {count:,}"
    yield "method"
    yield from _facts(explanation["facts"], "  ")
    yield "programs"
    for name, program in explanation["programs"].items():
        reads = ", ".join(_bound(entry) for entry in program["inputs"])
        writes = ", ".join(_bound(entry) for entry in program["outputs"])
        yield f"  {name:<16} {reads}"
        yield f"  {'':<16}   -> {writes}"
    if explanation["net"]:
        yield "net ([+] trained, [ ] frozen, [-] left out while training)"
        yield from (_unit(unit) for unit in explanation["net"])
    yield "expected sizes"
    yield f"  {'frozen weights':<16} about {size(expected['weights'])}, stored once"
    yield f"  {'state':<16} {size(expected['state'])}"
    for name, cache in expected["caches"].items():
        yield f"  {name:<16} {size(cache['each'])} for each {cache['scope']}"


def _facts(facts: Mapping[str, Any], indent: str) -> Iterator[str]:
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield f"{indent}{name}"
            yield from _facts(value, indent + "  ")
        else:
            yield f"{indent}{name:<16} {_value(value)}"


def _unit(unit: Mapping[str, Any]) -> str:
    mark = "+" if unit["trained"] else " " if unit["kept"] else "-"
    name = "  " * unit["level"] + unit["name"]
    return f"  [{mark}] {name:<36} {unit['parameters']:>12,}"


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        if len(value) > _MOST_SHOWN:
            return f"{len(value)}: {value[0]} ... {value[-1]}"
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _bound(entry: Mapping[str, Any]) -> str:
    shape = "x".join(map(str, entry["shape"])) or "scalar"
    return f"{entry['binding']} [{shape}]"
