"""Codecs: what they promise of values and bytes, against a packing written out bit by bit."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pockettune.codecs import pack_bits, parse_codec, unpack_bits
from pockettune.errors import ConfigInvalid

VALUES = st.floats(-1e4, 1e4, width=32)
SHAPES = arrays.array_shapes(min_dims=1, max_dims=3, max_side=7)
TENSORS = arrays.arrays(np.float32, SHAPES, elements=VALUES)


def words(seed: int = 0) -> Callable[[int], NDArray[np.uint64]]:
    return lambda count: np.random.default_rng(seed).integers(0, 2**32, count, dtype=np.uint64)


def through(text: str, values: NDArray[np.float32], seed: int = 0) -> NDArray[np.float32]:
    codec = parse_codec(text)
    parts = codec.encode(values, words(seed))
    for name, (dtype, shape) in codec.sizes(values.shape).items():
        assert (str(parts[name].dtype), parts[name].shape) == (dtype, shape)
    return codec.decode(parts, values.shape)


@given(
    st.integers(1, 8).flatmap(lambda k: st.tuples(st.just(k), st.lists(st.integers(0, 2**k - 1))))
)
def test_bits_lie_where_the_page_says(case: tuple[int, list[int]]) -> None:
    bits, codes = case
    stream = pack_bits(np.array(codes, np.uint8), bits)
    whole = sum(code << (index * bits) for index, code in enumerate(codes))
    assert stream.tobytes() == whole.to_bytes(-(-len(codes) * bits // 8), "little")
    assert unpack_bits(stream, bits, len(codes)).tolist() == codes


@given(TENSORS)
def test_dense_is_exact(values: NDArray[np.float32]) -> None:
    assert np.array_equal(through("dense:f32", values), values)
    assert np.array_equal(
        through("dense:f16", values), values.astype(np.float16).astype(np.float32)
    )


@settings(max_examples=50)
@given(TENSORS, st.integers(2, 8), st.booleans(), st.booleans())
def test_affine_errs_by_a_step_at_most(
    values: NDArray[np.float32], bits: int, channel: bool, nearest: bool
) -> None:
    text = f"affine:{bits}" + ":channel" * channel + ":nearest" * nearest
    decoded = through(text, values)
    rows = values.reshape(values.shape[0] if channel else 1, -1).astype(np.float64)
    steps = (rows.max(axis=1) - rows.min(axis=1)) / (2**bits - 1)
    error = np.abs(decoded.reshape(rows.shape) - rows)
    bound = steps * (0.5 if nearest else 1.0) + 1e-5 * np.abs(rows).max() + 1e-30
    assert (error <= bound[:, None]).all()


def test_stochastic_rounding_is_right_on_average() -> None:
    values = np.linspace(-1.0, 2.0, 11).astype(np.float32)
    decoded = np.mean([through("affine:2", values, seed) for seed in range(4000)], axis=0)
    # One step is 1: the standard error of a mean of 4,000 is below 0.008.
    np.testing.assert_allclose(decoded, values, atol=0.03)
    nearest = through("affine:2:nearest", values)
    assert np.abs(nearest - values).max() > 0.3


@settings(max_examples=50)
@given(TENSORS, st.integers(1, 10**9 - 1))
def test_sparse_keeps_the_largest_and_nothing_else(
    values: NDArray[np.float32], billionths: int
) -> None:
    decoded = through(f"sparse:0.{billionths:09}", values)
    kept = math.ceil(Fraction(billionths, 10**9) * values.size)
    chosen = decoded != 0
    assert np.array_equal(decoded[chosen], values[chosen])
    assert chosen.sum() <= kept
    left = np.sort(np.abs(values[~chosen]))
    if chosen.any() and left.size > kept - chosen.sum():
        assert np.abs(values[chosen]).min() >= left[: left.size - (kept - chosen.sum())].max()


@pytest.mark.parametrize(("share", "kept"), [("0.07", 7), ("0.070", 7), ("0.07000001", 8)])
def test_a_share_is_taken_as_it_is_written(share: str, kept: int) -> None:
    """In floats 0.07 * 100 is above 7."""
    assert np.count_nonzero(through(f"sparse:{share}", np.arange(1, 101, dtype=np.float32))) == kept


@settings(max_examples=200)
@given(
    arrays.arrays(np.float32, SHAPES, elements=st.floats(width=32, allow_nan=False)),
    st.sampled_from(["affine:5", "affine:7:nearest", "affine:8:channel", "sparse:0.5+affine:2"]),
)
def test_what_is_encoded_can_be_decoded(values: NDArray[np.float32], text: str) -> None:
    """Over all of float32: an encoder that takes the values writes what a decoder takes."""
    codec = parse_codec(text)
    try:
        parts = codec.encode(values, words())
    except ValueError:
        assert np.abs(values).max() > 1e38
        return
    assert np.isfinite(codec.decode(parts, values.shape)).all()


def test_values_far_apart_can_be_held() -> None:
    values = np.array([3e38, -3e38, 0], np.float32)
    np.testing.assert_allclose(through("affine:2:nearest", values)[:2], values[:2], rtol=1e-6)


def test_codecs_compose() -> None:
    values = np.random.default_rng(0).normal(size=(20, 30)).astype(np.float32)
    decoded = through("sparse:0.1+affine:8", values)
    assert (decoded != 0).sum() == 60
    chosen = decoded != 0
    assert np.abs(decoded[chosen] - values[chosen]).max() < np.ptp(values) / 255 + 1e-6


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("dense:f16", [7e4]),
        ("dense:f32", [np.nan]),
        ("affine:4", [np.inf, 0]),
        # The grid's last value would round to infinity.
        ("affine:5", [np.finfo(np.float32).max, np.finfo(np.float32).min]),
    ],
)
def test_what_cannot_be_held_is_refused(text: str, values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"finite|beyond|apart"):
        through(text, np.array(values, np.float32))


@pytest.mark.parametrize(
    "text",
    [
        *("", "zip", "dense", "dense:f64", "affine", "affine:1", "affine:9", "affine:4:rows"),
        *("sparse:0", "sparse:1.5", "sparse:x", "sparse:0.1+zip", "sparse:0.1+", "affine:04"),
        *(
            "sparse:0.1+sparse:0.1",
            "sparse:0.1+affine:4:channel",
            "dense:f32+affine:4",
            "sparse:nan",
        ),
        # What float() would take.
        *("sparse: 0.5", "sparse:0.5\n", "sparse:5e-1", "sparse:.5", "sparse:1.0", "sparse:0_0.5"),
        *("sparse:0.\u0665", "sparse:0.0", "sparse:0.0000000001", "affine:\uff14"),
    ],
)
def test_unknown_codecs_are_refused(text: str) -> None:
    with pytest.raises(ConfigInvalid, match="'codec' cannot be"):
        parse_codec(text)


@pytest.mark.parametrize(
    "text",
    [
        "dense:f16",
        "affine:3:channel:nearest",
        "sparse:0.25+affine:4",
        "sparse:0.123456789+dense:f32",
    ],
)
def test_a_codecs_name_names_it(text: str) -> None:
    assert parse_codec(text).name == text
