"""The sheet: where pictures lie and how large they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from pockettune.sheet import Row, before_and_after, compose

RED, BLUE = (255, 0, 0), (0, 0, 255)


def amount(sheet: Image.Image, color: tuple[int, int, int]) -> int:
    return int((np.asarray(sheet) == color).all(axis=2).sum())


def test_small_pictures_are_enlarged_and_none_is_lost() -> None:
    picture = Image.new("RGB", (64, 64), RED)
    sheet = compose([Row("one", [picture] * 3), Row("two", [picture])], title="a title")
    assert amount(sheet, RED) == 4 * 160 * 160


def test_pictures_that_are_not_square_keep_their_shape() -> None:
    sheet = compose([Row("", [Image.new("RGB", (200, 100), RED)])])
    assert amount(sheet, RED) == 200 * 100


def test_large_pictures_are_reduced() -> None:
    assert amount(compose([Row("", [Image.new("RGB", (512, 512), RED)])]), RED) == 256 * 256


def test_captions_take_room_and_stay_within_their_column() -> None:
    picture = Image.new("RGB", (64, 64), RED)
    plain = compose([Row("", [picture, picture])])
    caption = "a very long prompt about a subject on a background in some style"
    worded = compose([Row("", [picture, picture], [caption, "short"])])
    assert worded.width == plain.width
    assert worded.height > plain.height + 3 * 18


def test_before_and_after(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), BLUE).save(tmp_path / "picture.png")
    paths = [tmp_path / "picture.png"] * 2
    sheet = before_and_after([Image.new("RGB", (64, 64), RED)] * 4, ["a", "b"], paths, paths)
    assert amount(sheet, RED) == 4 * 160 * 160
    assert amount(sheet, BLUE) == 4 * 160 * 160


def test_nothing_to_show() -> None:
    assert compose([Row("photos", [])]).size[0] > 0
