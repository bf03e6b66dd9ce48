"""Random numbers that are a pure function of ``(seed, stream, index, element)``.

The words are those of Philox 4x32-10: John K. Salmon, Mark A. Moraes, Ron O. Dror and David E.
Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011, doi:10.1145/2063384.2063405. Normals
are Michael J. Wichura, "Algorithm AS 241: The percentage points of the normal distribution",
Applied Statistics 37(3), 1988, doi:10.2307/2347330 (PPND16).

``spec/random.md`` fixes every operation, so that C++, Kotlin and Swift draw the same bits. What
differs from the papers: the logarithm is our own series, because libraries round theirs
differently, and the third case of AS 241 is left out, because words of 32 bits never reach it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pockettune.errors import ConfigInvalid

__all__ = ["integer", "normal", "normal_of", "permutation", "uniform", "uniform_of", "words"]

_Doubles: TypeAlias = NDArray[np.float64]
_Words: TypeAlias = NDArray[np.uint64]

_LOW_HALF = np.uint64(0xFFFFFFFF)
_HALF_BITS = np.uint64(32)
_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10

# Coefficients of AS 241, lowest power first, as printed there.
_CENTRAL_NUMERATOR = (
    3.3871328727963666080e0,
    1.3314166789178437745e2,
    1.9715909503065514427e3,
    1.3731693765509461125e4,
    4.5921953931549871457e4,
    6.7265770927008700853e4,
    3.3430575583588128105e4,
    2.5090809287301226727e3,
)
_CENTRAL_DENOMINATOR = (
    1.0,
    4.2313330701600911252e1,
    6.8718700749205790830e2,
    5.3941960214247511077e3,
    2.1213794301586595867e4,
    3.9307895800092710610e4,
    2.8729085735721942674e4,
    5.2264952788528545610e3,
)
_TAIL_NUMERATOR = (
    1.42343711074968357734e0,
    4.63033784615654529590e0,
    5.76949722146069140550e0,
    3.64784832476320460504e0,
    1.27045825245236838258e0,
    2.41780725177450611770e-1,
    2.27238449892691845833e-2,
    7.74545014278341407640e-4,
)
_TAIL_DENOMINATOR = (
    1.0,
    2.05319162663775882187e0,
    1.67638483018380384940e0,
    6.89767334985100004550e-1,
    1.48103976427480074590e-1,
    1.51986665636164571966e-2,
    5.47593808499534494600e-4,
    1.05075007164441684324e-9,
)
_CENTRAL_HALF_WIDTH = 0.425
_CENTRAL_CONSTANT = 0.180625
_TAIL_SHIFT = 1.6
_SQRT_HALF = 0.70710678118654752440
_LOG_2 = 0.69314718055994530942
_LOG_SERIES = tuple(1.0 / n for n in range(1, 23, 2))


def words(seed: int, stream: int, index: int, first_block: int, blocks: int) -> NDArray[np.uint32]:
    """Four 32-bit words for each of ``blocks`` consecutive blocks.

    Returns uint32 ``[blocks, 4]``. Raises ``ConfigInvalid`` for a seed outside 0..2^64-1 (a person
    may have given it), ``ValueError`` for the other arguments.
    """
    if not 0 <= seed < 2**64:
        raise ConfigInvalid("seed", seed, "0 to 2^64 - 1")
    if not (0 <= stream < 2**32 and 0 <= index < 2**64):
        raise ValueError(f"stream {stream} or index {index} is out of range")
    if not 0 <= first_block <= first_block + blocks <= 2**32:
        raise ValueError(f"blocks {first_block} to {first_block + blocks} are out of range")
    counter: list[_Words] = [
        np.arange(first_block, first_block + blocks, dtype=np.uint64),
        np.full(blocks, index & 0xFFFFFFFF, np.uint64),
        np.full(blocks, index >> 32, np.uint64),
        np.full(blocks, stream, np.uint64),
    ]
    key = (seed & 0xFFFFFFFF, seed >> 32)
    return np.stack(_philox(counter, key), axis=1).astype(np.uint32)


def integer(
    seed: int, stream: int, index: int, shape: Sequence[int], low: int, high: int
) -> NDArray[np.int64]:
    """Integers in ``[low, high)``, int64 of ``shape``; ``high - low`` is 1 to 2^32."""
    if min(low, -high) < -(2**63) or not 1 <= high - low <= 2**32:
        raise ValueError(f"there are no random integers from {low} to below {high}")
    scaled = _element_words(seed, stream, index, shape) * np.uint64(high - low)
    return (scaled >> _HALF_BITS).astype(np.int64) + np.int64(low)


def uniform(seed: int, stream: int, index: int, shape: Sequence[int]) -> NDArray[np.float32]:
    """Uniform numbers between 0 and 1, float32 of ``shape``; rounding may give 1, never 0."""
    return uniform_of(_element_words(seed, stream, index, shape))


def normal(seed: int, stream: int, index: int, shape: Sequence[int]) -> NDArray[np.float32]:
    """Standard normal numbers, float32 of ``shape``."""
    return normal_of(_element_words(seed, stream, index, shape))


def permutation(seed: int, stream: int, index: int, length: int) -> NDArray[np.int64]:
    """0 to ``length - 1`` in random order, int64 ``[length]``: sorted by their words, equal words
    by number."""
    return np.argsort(_element_words(seed, stream, index, (length,)), kind="stable")


def uniform_of(word: NDArray[Any]) -> NDArray[np.float32]:
    """The uniform numbers that words give, float32 of the words' shape."""
    return _unit(word).astype(np.float32)


def normal_of(word: NDArray[Any]) -> NDArray[np.float32]:
    """The standard normal numbers that words give, float32 of the words' shape."""
    return _inverse_normal(_unit(word)).astype(np.float32)


def _philox(counter: Sequence[_Words], key: tuple[int, int]) -> tuple[_Words, ...]:
    """Philox 4x32-10 (Salmon et al., figure 2); words are held in uint64 ``[blocks]``."""
    x0, x1, x2, x3 = counter
    for step in range(_ROUNDS):
        round_key = [np.uint64((key[i] + step * _KEY_STEPS[i]) & 0xFFFFFFFF) for i in (0, 1)]
        product0, product1 = x0 * _MULTIPLIERS[0], x2 * _MULTIPLIERS[1]
        x0, x1, x2, x3 = (
            (product1 >> _HALF_BITS) ^ x1 ^ round_key[0],
            product1 & _LOW_HALF,
            (product0 >> _HALF_BITS) ^ x3 ^ round_key[1],
            product0 & _LOW_HALF,
        )
    return x0, x1, x2, x3


def _element_words(seed: int, stream: int, index: int, shape: Sequence[int]) -> _Words:
    """Each element's word, uint64 of ``shape``, row-major."""
    elements = math.prod(shape)
    flat = words(seed, stream, index, 0, -(-elements // 4)).reshape(-1)[:elements]
    return flat.astype(np.uint64).reshape(tuple(shape))


def _unit(word: NDArray[Any]) -> _Doubles:
    unit: _Doubles = (word.astype(np.float64) + 0.5) * 2.0**-32
    return unit


def _inverse_normal(unit: _Doubles) -> _Doubles:
    """PPND16 for float64 in (0, 1), at least 2^-33 away from both ends."""
    q = unit - 0.5
    central = np.abs(q) <= _CENTRAL_HALF_WIDTH
    value = np.empty_like(unit)

    middle = q[central]
    r = _CENTRAL_CONSTANT - middle * middle
    value[central] = middle * _horner(_CENTRAL_NUMERATOR, r) / _horner(_CENTRAL_DENOMINATOR, r)

    outer, offset = unit[~central], q[~central]
    r = np.sqrt(-_log(np.where(offset < 0, outer, 1.0 - outer))) - _TAIL_SHIFT
    tail = _horner(_TAIL_NUMERATOR, r) / _horner(_TAIL_DENOMINATOR, r)
    value[~central] = np.where(offset < 0, -tail, tail)
    return value


def _log(r: _Doubles) -> _Doubles:
    """The natural logarithm of float64 in (0, 1) by the series of ``spec/random.md``."""
    mantissa, exponent = np.frexp(r)
    low = mantissa < _SQRT_HALF
    mantissa = np.where(low, 2.0 * mantissa, mantissa)
    k = (exponent - low).astype(np.float64)
    s = (mantissa - 1.0) / (mantissa + 1.0)
    result: _Doubles = k * _LOG_2 + 2.0 * s * _horner(_LOG_SERIES, s * s)
    return result


def _horner(coefficients: Sequence[float], x: _Doubles) -> _Doubles:
    """The polynomial with these coefficients, lowest power first, innermost term first."""
    value = np.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        value = value * x + coefficient
    return value
