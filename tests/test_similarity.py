"""The classifier behind the similarity, and what the similarity says."""

from __future__ import annotations

import pytest
import torch
from PIL import Image, ImageDraw

from benchmarks.similarity import mean_similarity, own_similarity
from pockettune.models.efficientnet import features, load, normalized

ANALOG_CLOCK, TRAFFIC_LIGHT = 409, 920  # ImageNet's classes


def clock() -> Image.Image:
    """A drawn clock: white face, ticks, two hands."""
    image = Image.new("RGB", (224, 224), (200, 180, 150))
    draw = ImageDraw.Draw(image)
    draw.ellipse((12, 12, 212, 212), fill="white", outline="black", width=8)
    for number in range(12):
        draw.arc((22, 22, 202, 202), number * 30 - 2, number * 30 + 2, fill="black", width=16)
    draw.line((112, 112, 112, 40), fill="black", width=6)
    draw.line((112, 112, 165, 140), fill="black", width=8)
    return image


def traffic_light() -> Image.Image:
    image = Image.new("RGB", (224, 224), (150, 200, 235))
    draw = ImageDraw.Draw(image)
    draw.rectangle((104, 180, 120, 224), fill=(60, 60, 60))
    draw.rectangle((72, 16, 152, 186), fill=(30, 30, 30))
    for top, color in ((28, "red"), (80, "orange"), (132, "lime")):
        draw.ellipse((90, top, 134, top + 44), fill=color)
    return image


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize(("draw", "name"), [(clock, ANALOG_CLOCK), (traffic_light, TRAFFIC_LIGHT)])
def test_it_is_the_published_classifier(draw: object, name: int) -> None:
    assert callable(draw)
    with torch.inference_mode():
        assert int(load()(normalized([draw()])).argmax()) == name


def test_a_picture_is_most_like_itself() -> None:
    one, other = clock(), traffic_light()
    assert mean_similarity([one], [one]) == pytest.approx(1, abs=1e-5)
    assert own_similarity([one, one.resize((100, 100))]) > 0.6
    assert mean_similarity([one], [other]) < 0.4
    assert features([one, other]).norm(dim=1).tolist() == pytest.approx([1, 1], abs=1e-5)
