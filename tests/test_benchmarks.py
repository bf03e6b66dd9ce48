"""Results validate, and the tables in docs are those of the results."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from benchmarks import record, tables

RESULTS = sorted(record.RESULTS.glob("*.json"))


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_every_result_validates(path: Path) -> None:
    result = json.loads(path.read_text())
    jsonschema.validate(result, record.SCHEMA)
    assert result["benchmark"] == path.stem


def test_tables_in_docs_are_generated() -> None:
    assert tables.main(["--check"]) == 0


def test_a_record_becomes_a_table(tmp_path: Path) -> None:
    record.record(
        "sample",
        "How long is a step?",
        [("name", "net", ""), ("step", "step", "seconds"), ("peak", "peak", "bytes")],
        [
            {"name": "starter", "step": 0.25, "peak": 61_000_000},
            {"name": "none", "step": None, "peak": 0},
        ],
        conditions={"threads": 1},
        started=record.machine(),
        folder=tmp_path,
    )
    text = tables.update("# A\n<!-- table: sample -->\nold\n<!-- end table -->\n", tmp_path)
    assert "| starter | 0.25 s | 61.0 MB |" in text
    assert "| none | - | 0.0 MB |" in text
    assert "threads 1" in text
    assert "old" not in text


def test_a_missing_result_says_so(tmp_path: Path) -> None:
    text = tables.update("<!-- table: nothing -->\n<!-- end table -->", tmp_path)
    assert "Not measured yet" in text
