"""How the tensors of an update become bytes: dense, affine, sparse (``spec/update.md``, section 3).

A codec is a record of functions on one float32 tensor; NumPy only, the same bits in each language.

- ``dense:f32``, ``dense:f16``: every value.
- ``affine:K[:channel][:nearest]``: K = 2..8 bits a value on an even grid from the smallest to the
  largest, of the tensor or of each slice of its first axis; rounded up or down at random so that
  the mean is the value (stochastic rounding), or to the nearest.
- ``sparse:SHARE[+CODEC]``: the share of values that is largest in magnitude, as a bit mask and
  these values by a dense or affine codec (default ``dense:f32``); the others count as 0.

Every part's dtype and shape follow from the codec's name and the tensor's shape alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pockettune.errors import ConfigInvalid

__all__ = [
    "Codec",
    "OutOfRange",
    "Parts",
    "Sizes",
    "Words",
    "pack_bits",
    "parse_codec",
    "unpack_bits",
]

Parts: TypeAlias = Mapping[str, NDArray[Any]]
"""A tensor's parts by name, as they stand in the file."""

Words: TypeAlias = Callable[[int], NDArray[np.uint64]]
"""Gives that many random 32-bit words, the same for the same tensor of the same update."""

Sizes: TypeAlias = Mapping[str, tuple[str, tuple[int, ...]]]
"""The dtype and shape of each part."""

_FORMS = (
    "dense:f32",
    "dense:f16",
    "affine:2..8[:channel][:nearest]",
    "sparse:SHARE[+dense:... or +affine:K[:nearest]] with SHARE 1 or 0. and up to 9 digits, not 0",
)
# A float's text differs between languages, and so does what its product rounds to.
_SHARE = re.compile(r"0\.([0-9]{1,9})|1")
_WHOLE = 10**9
_Float: TypeAlias = NDArray[np.float32]


class OutOfRange(ValueError):  # noqa: N818  A fact, as our errors are.
    """Values that a codec cannot hold: not finite, or beyond what it can write."""


@dataclass(frozen=True, slots=True)
class Codec:
    """``encode(values, words)`` gives the parts of a float32 tensor, ``decode(parts, shape)`` the
    tensor again. ``sizes(shape)`` says how each part has to look.

    ``encode`` raises OutOfRange for values that the codec cannot hold, ``decode`` ValueError for
    parts that no encoder writes; their dtypes and shapes have been checked by then.
    """

    name: str
    encode: Callable[[_Float, Words], Parts]
    decode: Callable[[Parts, Sequence[int]], _Float]
    sizes: Callable[[Sequence[int]], Sizes]


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
        if _billionths(share) and (inner_text.startswith(("dense:", "affine:")) or not plus):
            inner = parse_codec(inner_text or "dense:f32")
            if ":channel" not in inner.name:
                return _sparse(share, inner)
    raise ConfigInvalid("codec", text, _FORMS)


def pack_bits(codes: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Codes below ``2^bits`` without gaps: bit j of code i is bit ``i * bits + j`` of the stream,
    and bit p of the stream is bit ``p mod 8`` of byte ``p div 8``. Bits left over are 0."""
    # Eight codes take exactly ``bits`` bytes, which one 64-bit word holds.
    words = np.zeros(-(-codes.size // 8), "<u8")
    for lane in range(8):
        column = codes[lane::8].astype(np.uint64)
        words[: column.size] |= column << np.uint64(lane * bits)
    stream = words.view(np.uint8).reshape(-1, 8)[:, :bits].reshape(-1)
    return stream[: -(-codes.size * bits // 8)]


def unpack_bits(stream: NDArray[np.uint8], bits: int, count: int) -> NDArray[np.uint8]:
    """The first ``count`` codes of a stream of ``ceil(count * bits / 8)`` bytes. Raises ValueError
    when a bit left over is not 0."""
    used = count * bits % 8
    if used and stream[-1] >> used:
        raise ValueError("bits after the last code are not 0")
    groups = -(-count // 8)
    padded = np.zeros((groups, 8), np.uint8)
    whole = stream.size // bits
    padded[:whole, :bits] = stream[: whole * bits].reshape(whole, bits)
    padded[whole:, : stream.size - whole * bits] = stream[whole * bits :]
    words = padded.view("<u8").reshape(-1)
    codes = np.empty((groups, 8), np.uint8)
    for lane in range(8):
        codes[:, lane] = (words >> np.uint64(lane * bits)) & np.uint64(2**bits - 1)
    return codes.reshape(-1)[:count]


def _billionths(share: str) -> int:
    """A share in units of 10^-9; 0 for a text that is none."""
    found = _SHARE.fullmatch(share)
    if found is None:
        return 0
    return _WHOLE if found[1] is None else int(found[1].ljust(9, "0"))


def _finite(values: NDArray[Any]) -> NDArray[Any]:
    if not np.isfinite(values).all():
        raise OutOfRange("a value is not finite")
    return values


def _dense(form: str) -> Codec:
    dtype = {"f32": "float32", "f16": "float16"}[form]

    def encode(values: _Float, words: Words) -> Parts:
        del words
        with np.errstate(over="ignore"):
            stored = _finite(values).astype(dtype)
        if not np.isfinite(stored).all():
            raise OutOfRange(f"the value {np.abs(values).max():.4g} is beyond {dtype}")
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
        with np.errstate(over="ignore"):
            highest = (low + scale.astype(np.float64) * top).astype(np.float32)
        if not np.isfinite(highest).all():
            raise OutOfRange(f"values lie too far apart for {bits} bits")
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
        # In place: float64 takes twice the memory of what is returned.
        grid = codes.astype(np.float64)
        grid *= scale.astype(np.float64)[:, None]
        grid += low.astype(np.float64)[:, None]
        with np.errstate(over="ignore"):
            values = grid.astype(np.float32)
        return _finite(values).reshape(tuple(shape))

    def sizes(shape: Sequence[int]) -> Sizes:
        length = -(-math.prod(shape) * bits // 8)
        group = (groups(shape),)
        return {
            "codes": ("uint8", (length,)),
            "low": ("float32", group),
            "scale": ("float32", group),
        }

    name = f"affine:{bits}" + ":channel" * channel + ":nearest" * nearest
    return Codec(name, encode, decode, sizes)


def _sparse(share: str, inner: Codec) -> Codec:
    def kept(count: int) -> int:
        """``ceil(share * count)`` in integers; below 2^63 for up to 2^33 elements."""
        return -(-_billionths(share) * count // _WHOLE)

    def encode(values: _Float, words: Words) -> Parts:
        flat = _finite(values).reshape(-1)
        # Equal magnitudes: the first ones are kept.
        largest = np.sort(np.argsort(-np.abs(flat), kind="stable")[: kept(flat.size)])
        mask = np.zeros(flat.size, np.uint8)
        mask[largest] = 1
        return {"mask": pack_bits(mask, 1), **inner.encode(flat[largest], words)}

    def decode(parts: Parts, shape: Sequence[int]) -> _Float:
        count = math.prod(shape)
        mask = unpack_bits(parts["mask"], 1, count).astype(bool)
        found, wanted = int(np.count_nonzero(mask)), kept(count)
        if found != wanted:
            raise ValueError(f"its mask keeps {found} values, not {wanted}")
        values = np.zeros(count, np.float32)
        inner_parts = {name: part for name, part in parts.items() if name != "mask"}
        values[mask] = inner.decode(inner_parts, (wanted,))
        return values.reshape(tuple(shape))

    def sizes(shape: Sequence[int]) -> Sizes:
        count = math.prod(shape)
        return {"mask": ("uint8", (-(-count // 8),)), **inner.sizes((kept(count),))}

    return Codec(f"sparse:{share}+{inner.name}", encode, decode, sizes)
