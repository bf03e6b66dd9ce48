"""Random numbers against published vectors and independent references."""

from __future__ import annotations

import itertools
import math
from decimal import Decimal, localcontext
from statistics import NormalDist

import numpy as np
import pytest

from pockettune import random
from pockettune.errors import ConfigInvalid

# Random123 1.14, tests/kat_vectors, "philox4x32 10": counter, key, result.
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN_ANSWERS)
def test_words_are_the_published_ones(
    counter: tuple[int, ...], key: tuple[int, int], result: str
) -> None:
    block, index_low, index_high, stream = counter
    drawn = random.words(key[0] | key[1] << 32, stream, index_low | index_high << 32, block, 1)
    assert " ".join(f"{word:08x}" for word in drawn[0]) == result
    assert drawn.dtype == np.uint32


def test_blocks_are_drawn_together_as_one_by_one() -> None:
    together = random.words(7, 2, 5, 100, 9)
    assert np.array_equal(together, [random.words(7, 2, 5, 100 + i, 1)[0] for i in range(9)])


def test_a_tensor_takes_the_words_in_row_major_order() -> None:
    flat = random.words(3, 1, 4, 0, 4).reshape(-1)
    drawn = random.integer(3, 1, 4, (3, 5), 0, 2**32)
    assert np.array_equal(drawn.reshape(-1), flat[:15])


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1000), (-5, 7), (0, 2**32), (2**62, 2**62 + 3), (9, 10)]
)
def test_integers_scale_the_word(low: int, high: int) -> None:
    drawn = random.integer(1, 1, 0, (1001,), low, high)
    flat = random.words(1, 1, 0, 0, 251).reshape(-1)[:1001]
    assert drawn.tolist() == [low + int(word) * (high - low) // 2**32 for word in flat]
    assert drawn.dtype == np.int64


def test_uniforms_scale_the_word() -> None:
    drawn = random.uniform(11, 2, 2**40 + 1, (2, 500))
    flat = random.words(11, 2, 2**40 + 1, 0, 250).reshape(-1)
    assert drawn.reshape(-1).tolist() == [
        float(np.float32((int(word) + 0.5) / 2**32)) for word in flat
    ]


def test_normals_are_the_inverse_distribution_of_the_uniforms() -> None:
    flat = random.words(5, 4, 0, 0, 1000).reshape(-1)
    drawn = random.normal(5, 4, 0, (40, 100)).reshape(-1)
    expected = [np.float32(NormalDist().inv_cdf((int(word) + 0.5) / 2**32)) for word in flat]
    # The two evaluate the logarithm differently, by about 1e-16: at most a float32 rounding apart.
    np.testing.assert_array_max_ulp(drawn, np.array(expected), maxulp=1)
    assert np.mean(drawn == np.array(expected)) > 0.99


def test_every_tail_is_finite_symmetric_and_right() -> None:
    edges = np.array([0, 1, 2, 3, 1000, 2**16, 0.0749 * 2**32, 0.0751 * 2**32, 2**31 - 1])
    word = edges.astype(np.uint64)
    lower = random._inverse_normal(random._unit(word))
    upper = random._inverse_normal(random._unit(np.uint64(2**32 - 1) - word))
    assert np.array_equal(lower, -upper)
    expected = [NormalDist().inv_cdf((int(x) + 0.5) / 2**32) for x in word]
    np.testing.assert_allclose(lower, expected, rtol=1e-14)


def test_the_logarithm_is_as_near_as_the_page_says() -> None:
    r = np.concatenate([np.geomspace(2**-33, 0.075, 3000), np.linspace(0.075, 0.999, 500)])
    with localcontext(prec=40):
        for found, argument in zip(random._log(r).tolist(), r.tolist(), strict=True):
            assert abs(Decimal(found) / Decimal(argument).ln() - 1) < Decimal("5e-16")


def test_normals_have_the_moments_of_a_normal() -> None:
    drawn = random.normal(0, 2, 0, (400_000,)).astype(np.float64)
    standard_error = 1 / math.sqrt(drawn.size)
    for power, moment, deviation in [(1, 0, 1), (2, 1, 2**0.5), (3, 0, 15**0.5), (4, 3, 96**0.5)]:
        assert abs(np.mean(drawn**power) - moment) < 4 * deviation * standard_error


def test_seed_stream_index_and_element_each_matter() -> None:
    drawn = [
        random.uniform(seed, stream, index, (4,)).tobytes()
        for seed, stream, index in itertools.product([0, 1, 2**32], [1, 2], [0, 1, 2**32])
    ]
    assert len(set(drawn)) == len(drawn)


def test_no_elements_is_an_empty_tensor() -> None:
    assert random.normal(0, 1, 0, (0, 3)).shape == (0, 3)
    assert random.normal(0, 1, 0, ()).shape == ()


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_out_of_range_is_a_setting_out_of_range(seed: int) -> None:
    with pytest.raises(ConfigInvalid, match=r"'seed' cannot be '-?\d+'; valid: 0 to 2\^64 - 1\."):
        random.normal(seed, 1, 0, (1,))


@pytest.mark.parametrize(
    ("stream", "index", "block", "blocks"),
    [(-1, 0, 0, 1), (2**32, 0, 0, 1), (0, 2**64, 0, 1), (0, 0, 2**32, 1), (0, 0, 0, -1)],
)
def test_other_arguments_out_of_range_are_refused(
    stream: int, index: int, block: int, blocks: int
) -> None:
    with pytest.raises(ValueError, match="out of range"):
        random.words(0, stream, index, block, blocks)


@pytest.mark.parametrize(("low", "high"), [(3, 3), (5, 4), (0, 2**32 + 1)])
def test_an_empty_or_too_wide_range_of_integers_is_refused(low: int, high: int) -> None:
    with pytest.raises(ValueError, match="no random integers"):
        random.integer(0, 1, 0, (1,), low, high)
