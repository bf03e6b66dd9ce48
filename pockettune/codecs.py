"""How the tensors of an update become bytes: dense, affine, sparse (``spec/update.md``, section 3).

A codec is a record of functions on one float32 tensor; NumPy only, the same bits in each language.

- ``dense:f32``, ``dense:f16``: every value.
- ``affine:K[:channel][:nearest]``: K = 2..8 bits a value on an even grid from the smallest to the
  largest, of the tensor or of each slice of its first axis; rounded up or down at random so that
  the mean is the value (stochastic rounding), or to the nearest.
- ``sparse:SHARE[+CODEC]``: the share of values that is largest in magnitude, as a bit mask and
  these values by a dense or affine codec (default ``dense:f32``); the others count as 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pockettune.errors import ConfigInvalid

__all__ = ["Codec", "Parts", "Words", "pack_bits", "parse_codec", "unpack_bits"]

Parts: TypeAlias = Mapping[str, NDArray[Any]]
"""A tensor's parts by name, as they stand in the file."""

Words: TypeAlias = Callable[[int], NDArray[np.uint64]]
"""Gives that many random 32-bit words, the same for the same tensor of the same update."""

_FORMS = (
    "dense:f32",
    "dense:f16",
    "affine:2..8[:channel][:nearest]",
    "sparse:SHARE[+dense:... or +affine:K[:nearest]] with 0 < SHARE <= 1",
)
_Float: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Codec:
    """``encode(values, words)`` gives the parts of a float32 tensor, ``decode(parts, shape)`` the
    tensor again. ``sizes(shape)`` says how each part must look: dtype and shape, where None is a
    length that depends on the values, at most that of the tensor.

    ``encode`` raises ValueError for values that the codec cannot hold, ``decode`` for parts that no
    encoder writes; their dtypes and shapes have been checked by then.
    """

    name: str
    encode: Callable[[_Float, Words], Parts]
    decode: Callable[[Parts, Sequence[int]], _Float]
    sizes: Callable[[Sequence[int]], Mapping[str, tuple[str, tuple[int | None, ...]]]]


def parse_codec(text: str) -> Codec:
    """The codec that ``text`` names. Raises ConfigInvalid naming the valid ones."""
    kind, _, rest = text.partition(":")
    if kind == "dense" and rest in ("f32", "f16"):
        return _dense(rest)
    if kind == "affine":
        bits, *options = rest.split(":")
        known = options in ([], ["channel"], ["nearest"], ["channel", "nearest"])
        if known and bits in ("2", "3", "4", "5", "6", "7", "8"):
            return _affine(int(bits), "channel" in options, "nearest" in options)
    if kind == "sparse":
        share, plus, inner_text = rest.partition("+")
        if inner_text.startswith(("dense:", "affine:")) or not plus:
            inner = parse_codec(inner_text or "dense:f32")
            number = _share(share)
            if number is not None and ":channel" not in inner.name:
                return _sparse(number, inner)
    raise ConfigInvalid("codec", text, _FORMS)


def pack_bits(codes: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Codes below ``2^bits`` without gaps: bit j of code i is bit ``i * bits + j`` of the stream,
    and bit p of the stream is bit ``p mod 8`` of byte ``p div 8``. Bits left over are 0."""
    planes = (codes.reshape(-1, 1) >> np.arange(bits, dtype=np.uint8)) & np.uint8(1)
    return np.packbits(planes.reshape(-1), bitorder="little")


def unpack_bits(stream: NDArray[np.uint8], bits: int, count: int) -> NDArray[np.uint8]:
    """The first ``count`` codes of a stream. Raises ValueError when a bit left over is not 0."""
    planes = np.unpackbits(stream, bitorder="little")
    if planes[count * bits :].any():
        raise ValueError("bits after the last code are not 0")
    weights = (1 << np.arange(bits)).astype(np.uint8)
    codes: NDArray[np.uint8] = planes[: count * bits].reshape(count, bits) @ weights
    return codes


def _share(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0.0 < number <= 1.0 else None


def _finite(values: NDArray[Any]) -> NDArray[Any]:
    if not np.isfinite(values).all():
        raise ValueError("a value is not finite")
    return values


def _dense(form: str) -> Codec:
    dtype = {"f32": "float32", "f16": "float16"}[form]

    def encode(values: _Float, words: Words) -> Parts:
        del words
        with np.errstate(over="ignore"):
            stored = _finite(values).astype(dtype)
        if not np.isfinite(stored).all():
            raise ValueError(f"the value {np.abs(values).max():.4g} is beyond {dtype}")
        return {"values": stored}

    def decode(parts: Parts, shape: Sequence[int]) -> _Float:
        return _finite(parts["values"]).astype(np.float32).reshape(tuple(shape))

    return Codec(f"dense:{form}", encode, decode, lambda shape: {"values": (dtype, tuple(shape))})


def _affine(bits: int, channel: bool, nearest: bool) -> Codec:
    top = 2**bits - 1

    def groups(shape: Sequence[int]) -> int:
        return shape[0] if channel and shape else 1

    def encode(values: _Float, words: Words) -> Parts:
        rows = _finite(values).astype(np.float64).reshape(groups(values.shape), -1)
        low = rows.min(axis=1).astype(np.float32)
        scale = ((rows.max(axis=1) - low) / top).astype(np.float32)
        # A scale of 0 stands for "all alike"; any divisor gives code 0.
        divisor = np.where(scale > 0, scale, 1).astype(np.float64)
        place = (rows - low.astype(np.float64)[:, None]) / divisor[:, None]
        shift = 0.5 if nearest else (words(rows.size) * 2.0**-32).reshape(rows.shape)
        codes = np.clip(np.floor(place + shift), 0, top).astype(np.uint8)
        return {"codes": pack_bits(codes.reshape(-1), bits), "low": low, "scale": scale}

    def decode(parts: Parts, shape: Sequence[int]) -> _Float:
        low, scale = _finite(parts["low"]), _finite(parts["scale"])
        if (scale < 0).any():
            raise ValueError("a scale is negative")
        codes = unpack_bits(parts["codes"], bits, math.prod(shape)).reshape(groups(shape), -1)
        grid = low.astype(np.float64)[:, None] + scale.astype(np.float64)[:, None] * codes
        with np.errstate(over="ignore"):
            values = grid.astype(np.float32)
        return _finite(values).reshape(tuple(shape))

    def sizes(shape: Sequence[int]) -> Mapping[str, tuple[str, tuple[int | None, ...]]]:
        length = -(-math.prod(shape) * bits // 8)
        group = (groups(shape),)
        return {
            "codes": ("uint8", (length,)),
            "low": ("float32", group),
            "scale": ("float32", group),
        }

    name = f"affine:{bits}" + ":channel" * channel + ":nearest" * nearest
    return Codec(name, encode, decode, sizes)


def _sparse(share: float, inner: Codec) -> Codec:
    def encode(values: _Float, words: Words) -> Parts:
        flat = _finite(values).reshape(-1)
        kept = math.ceil(share * flat.size)
        # Equal magnitudes: the first ones are kept.
        largest = np.sort(np.argsort(-np.abs(flat), kind="stable")[:kept])
        mask = np.zeros(flat.size, np.uint8)
        mask[largest] = 1
        return {"mask": pack_bits(mask, 1), **inner.encode(flat[largest], words)}

    def decode(parts: Parts, shape: Sequence[int]) -> _Float:
        count = math.prod(shape)
        mask = unpack_bits(parts["mask"], 1, count).astype(bool)
        kept = int(mask.sum())
        if kept == 0:
            raise ValueError("its mask keeps no value")
        for part, (_, wanted) in inner.sizes((kept,)).items():
            if parts[part].shape != wanted:
                raise ValueError(f"its mask keeps {kept} values, which does not fit {part}")
        values = np.zeros(count, np.float32)
        values[mask] = inner.decode(
            {name: parts[name] for name in parts if name != "mask"}, (kept,)
        )
        return values.reshape(tuple(shape))

    def sizes(shape: Sequence[int]) -> Mapping[str, tuple[str, tuple[int | None, ...]]]:
        count = math.prod(shape)
        parts = {
            name: (dtype, tuple(None if length != 1 or name == "values" else 1 for length in part))
            for name, (dtype, part) in inner.sizes((count,)).items()
        }
        return {"mask": ("uint8", (-(-count // 8),)), **parts}

    return Codec(f"sparse:{share:g}+{inner.name}", encode, decode, sizes)
