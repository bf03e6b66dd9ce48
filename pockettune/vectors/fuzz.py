"""A fuzzer for Python's readers: mutated manifests, tensor files and updates, typed errors only.

Mutations are of two kinds. Bytes are flipped, dropped, doubled and spliced, which finds parsers
that give up untidily; members of the JSON are removed, moved and given other values, which gets
past the parser to the rules. A manifest's id is made to fit again, and an update's parts are laid
out again, for otherwise every case ends there.
"""

from __future__ import annotations

import collections
import copy
import functools
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pockettune import tensor_file
from pockettune.bundle import open_bundle
from pockettune.errors import PocketTuneError
from pockettune.update import read_update
from pockettune.vectors import golden, updates

__all__ = [
    "SLOWEST",
    "fuzz",
    "fuzz_updates",
    "mutated_header",
    "mutated_manifest",
    "mutated_tensors",
    "mutated_update",
]

Generator: TypeAlias = np.random.Generator

# A case that takes longer than this many seconds counts as a hang.
SLOWEST = 10.0

_ALLOWED = {
    "manifest": {
        "bundle_manifest_invalid",
        "bundle_format_unsupported",
        "bundle_path_invalid",
        "bundle_corrupt",
        "safetensors_invalid",
        "tensor_mismatch",
    },
    "tensors": {"safetensors_invalid"},
    "update": {"safetensors_invalid", "update_invalid", "update_mismatch"},
}
_VALUES: list[Any] = [None, True, False, 0, 1, -1, 2**31, 2**53, 2**64, 10**30, 0.5, -0.0, 1e308]
_VALUES += ["", "..", "a", "adapter", "float16", "cache.hidden", "\0", "\u00fc", [], {}, [[]]]
# Those of an update, and what a shape or a codec may be close to.
_VALUES += ["dense:f32", "affine:2", "sparse:0.5+affine:4", [2**31 - 1] * 3, [1] * 8, [0], [15]]
_FLOATS = np.array([np.nan, np.inf, -np.inf, -1, 3e38, -3e38, 1e-45, -0.0, 0, 1], np.float32)
_TOKENS = [b"{", b"}", b"[", b"]", b'"', b",", b":", b"\\", b"\\ud800", b"1e999", b"NaN", b"null"]
_TOKENS += [b"-", b"0", b"\xff", b"\0", b"\xef\xbb\xbf", b"true", b" ", b"\n", b'"a":1,', b"[" * 40]


def fuzz(cases: int, seed: int, work: Path) -> dict[str, int]:
    """Runs this many mutations, half of each kind; returns how often each outcome came up.

    ``work`` is a folder for the mutated files. Raises ``RuntimeError`` for a hang or a code that
    does not belong there; any other exception of a reader is a finding, too, and passes through.
    """
    random = np.random.default_rng(seed)
    outcomes: collections.Counter[str] = collections.Counter()
    bundle, tensors = work / "bundle", work / "tensors.safetensors"
    for name, data in golden.bundles()["bundle"].items():
        (bundle / name).parent.mkdir(parents=True, exist_ok=True)
        (bundle / name).write_bytes(data)
    for case in range(cases):
        if case % 2:
            (bundle / "manifest.json").write_bytes(mutated_manifest(random))
            outcomes[_outcome("manifest", lambda: open_bundle(bundle))] += 1
        else:
            tensors.write_bytes(mutated_tensors(random))
            outcomes[_outcome("tensors", lambda: tensor_file.read(tensors))] += 1
    shutil.rmtree(bundle)
    tensors.unlink(missing_ok=True)
    return dict(sorted(outcomes.items()))


def fuzz_updates(cases: int, seed: int) -> dict[str, int]:
    """Runs this many mutated updates, as ``fuzz`` does; what is accepted has to be finite."""
    random = np.random.default_rng(seed)
    outcomes: collections.Counter[str] = collections.Counter()
    for _ in range(cases):
        expected = updates.ROUND if random.random() < 0.5 else None
        read = functools.partial(_read_update, mutated_update(random), expected)
        outcomes[_outcome("update", read)] += 1
    return dict(sorted(outcomes.items()))


def mutated_manifest(random: Generator) -> bytes:
    """A manifest with 1 to 3 mutations and a fitting id."""
    rest = _golden_rest()
    if random.random() < 0.6:
        members = json.loads(b"{" + rest)
        for _ in range(random.integers(1, 4)):
            _mutate_json(members, random)
        rest = _dumped(members)[1:]
    else:
        for _ in range(random.integers(1, 4)):
            rest = _mutated_bytes(rest, random)
    return golden.with_rest(rest)


def mutated_update(random: Generator) -> bytes:
    """An update with 1 to 3 mutations of its header, of its parts, or of any bytes."""
    file = _golden_updates()[random.integers(len(_golden_updates()))]
    kind = random.random()
    if kind < 0.2:
        for _ in range(random.integers(1, 4)):
            file = _mutated_bytes(file, random)
        return file
    members, parts = updates.members_and_parts(file)
    text = _dumped(members)
    if kind < 0.5:
        text = mutated_header(members, random)
    elif kind < 0.6:
        text = _mutated_bytes(text, random)
    else:
        for _ in range(random.integers(1, 4)):
            _mutate_parts(parts, random)
    try:
        return updates.file_of(text.decode("utf-8"), parts)
    except UnicodeDecodeError:
        return updates.file_of(text.decode("latin-1"), parts)


def mutated_header(members: dict[str, Any], random: Generator) -> bytes:
    """An update's header with 1 to 3 mutated members."""
    changed = copy.deepcopy(members)
    for _ in range(random.integers(1, 4)):
        _mutate_json(changed, random)
    return _dumped(changed)


def mutated_tensors(random: Generator) -> bytes:
    """A tensor file with 1 to 3 mutations of its header, and sometimes of the rest."""
    file = _golden_tensors()[random.integers(len(_golden_tensors()))]
    length = int.from_bytes(file[:8], "little")
    header, data = file[8 : 8 + length], file[8 + length :]
    kind = random.random()
    if kind < 0.5:
        members = json.loads(header)
        for _ in range(random.integers(1, 4)):
            _mutate_json(members, random)
        header = _dumped(members)
    elif kind < 0.9:
        for _ in range(random.integers(1, 4)):
            header = _mutated_bytes(header, random)
    else:
        return _mutated_bytes(file, random)
    return len(header).to_bytes(8, "little") + header + data


@functools.cache
def _golden_rest() -> bytes:
    return golden.bundles()["bundle"]["manifest.json"].partition(b'"signature":"",')[2]


@functools.cache
def _golden_tensors() -> list[bytes]:
    return list(golden.tensor_files().values())


@functools.cache
def _golden_updates() -> list[bytes]:
    return [case.data for case in updates.updates().values()]


def _read_update(data: bytes, round_number: int | None) -> None:
    for name, values in read_update(data, round=round_number).tensors.items():
        if values.dtype != np.float32 or not np.isfinite(values).all():
            raise RuntimeError(f"an accepted update holds {values.dtype} {name!a}")


def _mutate_parts(parts: dict[str, NDArray[Any]], random: Generator) -> None:
    """Changes bits or values of a part, its length, its name, or leaves it out."""
    if not parts:
        return
    names = list(parts)
    name = names[random.integers(len(names))]
    part, flat = parts[name], parts[name].reshape(-1)
    place = int(random.integers(flat.size))
    match random.integers(7):
        case 0:
            del parts[name]
        case 1:
            parts[name] = flat[:place] if place else flat
        case 2:
            parts[name] = np.concatenate([flat, flat[: place + 1]])
        case 3:
            parts[names[random.integers(len(names))]] = part
        case 4 if part.dtype.kind == "f":
            with np.errstate(over="ignore"):
                flat[place] = _FLOATS[random.integers(len(_FLOATS))].astype(part.dtype)
        case _:
            # Most often a valid file with other values.
            flat.view(np.uint8)[random.integers(part.nbytes)] ^= 1 << random.integers(8)


def _outcome(kind: str, read: Callable[[], object]) -> str:
    started = time.monotonic()
    try:
        read()
        code = "accepted"
    except PocketTuneError as error:
        code = error.code
        if code not in _ALLOWED[kind]:
            raise RuntimeError(f"{kind}: the code {code} does not belong here: {error}") from error
    if time.monotonic() - started > SLOWEST:
        raise RuntimeError(f"{kind}: a case took more than {SLOWEST} s")
    return f"{kind} {code}"


def _mutated_bytes(data: bytes, random: Generator) -> bytes:
    if not data:
        return _TOKENS[random.integers(len(_TOKENS))]
    begin = int(random.integers(len(data)))
    end = min(len(data), begin + int(random.geometric(0.2)))
    match random.integers(5):
        case 0:
            flipped = bytes([data[begin] ^ (1 << int(random.integers(8)))])
            return data[:begin] + flipped + data[begin + 1 :]
        case 1:
            return data[:begin] + data[end:]
        case 2:
            return data[:end] + data[begin:]
        case 3:
            return data[:begin] + _TOKENS[random.integers(len(_TOKENS))] + data[begin:]
        case _:
            source = int(random.integers(len(data)))
            return data[:begin] + data[source : source + end - begin] + data[end:]


def _mutate_json(value: Any, random: Generator) -> None:
    """Removes, replaces, doubles or moves one member of a container, at any depth."""
    places = _places(value)
    if not places:
        return
    container, key = places[random.integers(len(places))]
    other, other_key = places[random.integers(len(places))]
    match random.integers(4):
        case 0:
            del container[key]
        case 1:
            container[key] = copy.deepcopy(other[other_key])
        case 2:
            container[key] = _nudged(container[key], random)
        case _:
            container[key] = copy.deepcopy(_VALUES[random.integers(len(_VALUES))])


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every member of every container inside a value."""
    places: list[tuple[Any, Any]] = []
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            places.append((value, key))
            places += _places(item)
    return places


def _nudged(value: Any, random: Generator) -> Any:
    """A value close by, which the schema alone would often let pass."""
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int):
        return value + int(random.integers(-2, 3))
    if isinstance(value, float):
        return value * 2
    if isinstance(value, str):
        return value + "x" if random.random() < 0.5 else value[:-1]
    if isinstance(value, list):
        return value[::-1] if random.random() < 0.5 else value + value
    return {key + "x": item for key, item in value.items()}


def _dumped(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii")
