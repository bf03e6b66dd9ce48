"""The report: complete, self-contained, safe to open."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from export.drawing import draw_errors, draw_net
from export.pack import pack
from export.report import ReportData, render, report_path
from tests.export import fabricated

VOID = {"meta", "br"}


class Outline(HTMLParser):
    """Collects elements and text; fails on an end tag that closes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def outline(page: str) -> Outline:
    parser = Outline()
    parser.feed(page)
    parser.close()
    assert not parser.open
    return parser


@pytest.fixture
def data(tmp_path: Path) -> ReportData:
    lowered = fabricated.lowered(tmp_path / "programs.bin")
    prepared = fabricated.prepared()
    packed = pack(
        prepared, fabricated.captured(), [lowered], fabricated.parity(), tmp_path / "bundle"
    )
    seconds = {"prepare": 1.5, "capture": 2.0, "lower": 3.0, "check": 4.0, "pack": 0.5}
    return ReportData(packed.manifest, prepared.net, [lowered], packed.bytes, seconds)


def test_it_shows_every_program_step_and_portable_operator(data: ReportData) -> None:
    words = " ".join(outline(render(data)).words)
    for expected in (*data.programs, *data.seconds, "aten.add.Tensor", data.manifest["bundle_id"]):
        assert expected in words
    assert "11 s" in words  # the sum of the seconds
    assert "47.1%" in words  # 1600 of the 3400 weights of the fabricated net are hollow


def test_it_loads_nothing_from_anywhere(data: ReportData) -> None:
    page = render(data)
    assert not re.search(r"https?:|//[a-z]|url\(|@import", page)
    for tag, attributes in outline(page).elements:
        assert tag not in {"script", "link", "img", "iframe", "object"}
        assert not {"src", "href", "srcset"} & attributes.keys()


def test_names_are_text_never_markup(data: ReportData) -> None:
    manifest = {**data.manifest, "name": "<script>alert(1)</script>"}
    page = render(dataclasses.replace(data, manifest=manifest))
    assert "<script" not in page
    assert "<script>alert(1)</script>" in outline(page).words
    assert "dtype int64 <not float32>" in " ".join(outline(page).words)


def test_sections_without_content_are_left_out(data: ReportData) -> None:
    assert "The net" not in outline(render(dataclasses.replace(data, net=()))).words


def test_measured_seconds_are_shown(data: ReportData) -> None:
    budget = {name: dict(value) for name, value in data.manifest["budget"]["programs"].items()}
    budget["train_step"]["measured"] = {
        "median_seconds": 0.123,
        "peak_pss_bytes": 77_000_000,
        "threads": 2,
    }
    manifest = {**data.manifest, "budget": {"programs": budget}}
    words = outline(render(dataclasses.replace(data, manifest=manifest))).words
    assert "0.123" in words
    assert "77 MB" in words


def test_it_lies_beside_its_bundle() -> None:
    assert report_path(Path("out/starter")) == Path("out/starter.report.html")


def test_the_net_has_a_block_for_each_unit_and_hollow_ones_are_marked() -> None:
    elements = outline(draw_net(fabricated.UNITS)).elements
    blocks = [attributes for tag, attributes in elements if tag == "rect"]
    kinds = [block["class"] for block in blocks]
    assert kinds == ["frozen", "trained", "hollow", "trained", "frozen"]
    middles = [float(b["y"] or 0) + float(b["height"] or 0) / 2 for b in blocks]
    assert middles[2] == max(middles)  # the deeper level stands lower
    heights = [float(b["height"] or 0) for b in blocks]
    assert heights[1] < heights[3] < heights[2]  # 400, 900, 1600 parameters
    skips = [attributes for tag, attributes in elements if tag == "path"]
    assert [skip["class"] for skip in skips] == ["skip", "skip"]


def test_errors_stand_where_their_logarithm_is() -> None:
    elements = outline(
        draw_errors([("a", 1e-8, 1e-4), ("b", 1e-6, 1e-4), ("c", 0.0, 1e-4)])
    ).elements
    dots = [float(attributes["cx"] or 0) for tag, attributes in elements if tag == "circle"]
    limits = [
        float(attributes["x1"] or 0)
        for tag, attributes in elements
        if attributes.get("class") == "limit"
    ]
    assert dots[2] < dots[0] < dots[1] < limits[0]
    # Two decades lie between a and b, and between b and the limit.
    assert dots[1] - dots[0] == pytest.approx(limits[0] - dots[1], abs=0.2)


def test_a_closer_look_is_told(data: ReportData) -> None:
    assert not any("medians" in words for words in outline(render(data)).words)
    figures = {name: dict(value) for name, value in data.manifest["parity"].items()}
    figures["train_step"]["examples"] = 3
    manifest = {**data.manifest, "parity": figures}
    words = " ".join(outline(render(dataclasses.replace(data, manifest=manifest))).words)
    assert "medians of 3 examples" in words
