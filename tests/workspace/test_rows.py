"""Rows of records: what pandas, Polars and datasets make of them in one line each."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from datasets import Dataset

from pipeline import Record, read_records, to_row
from pipeline.export.table import COLUMNS, row
from pipeline.records import Prep
from pipeline.review import CORRECTION, Original, Review
from pipeline.skipped import BLANK, Skipped
from pipeline.workspace.page_texts import parse_text
from pipeline.workspace.result_lines import encode_record
from tests.factories import DOUBT, QUALITY, RECORD, make_record

CHINESE = "新华街文具店\n收据 𠮷"
REVIEW = Review(RECORD.added, RECORD.added, "ann", RECORD.added, Original(RECORD.added, CHINESE))


def write_workspace(directory: Path, *records: Record) -> Path:
    (directory / "results.jsonl").write_bytes(b"".join(map(encode_record, records)))
    return directory


def to_pandas(workspace: Path) -> list[dict[str, Any]]:
    frame = pd.DataFrame(map(to_row, read_records(workspace)))
    return [
        {name: None if pd.isna(value) else value for name, value in row.items()} for row in frame.to_dict("records")
    ]


def to_polars(workspace: Path) -> list[dict[str, Any]]:
    return pl.DataFrame(map(to_row, read_records(workspace)), infer_schema_length=None).to_dicts()


def to_dataset(workspace: Path) -> list[dict[str, Any]]:
    return Dataset.from_list(list(map(to_row, read_records(workspace)))).to_list()  # type: ignore[no-any-return]


CONSUMERS = [
    pytest.param(to_pandas, id="pandas"),
    pytest.param(to_polars, id="polars"),
    pytest.param(to_dataset, id="datasets"),
]


@pytest.mark.parametrize("consume", CONSUMERS)
def test_every_value_arrives(consume: Callable[[Path], list[dict[str, Any]]], tmp_path: Path) -> None:
    """Chinese, an empty text, a skipped page, a name that is not UTF-8, fields of any type, and a judged page."""
    records = [
        make_record("a.png", 1, text=CHINESE),
        make_record("empty.png", 2, text=""),
        replace(make_record("blank.png", 3, text=""), skipped=Skipped(BLANK, 0.25), attempts=()),
        replace(make_record("d\udcff.png", 4), meta={"shelf": "A", "n": 1}, prep=Prep("png", 760, 980, 141_879)),
        replace(make_record("e.png", 5, quality=QUALITY), meta={"shelf": None, "n": ["x", {"题": 1}]}),
        make_record("f.png", 4, duplicate_of="d\udcff.png"),
    ]
    rows = consume(write_workspace(tmp_path, *records))
    assert rows == [to_row(record) for record in records]
    assert [row["text"] for row in rows[:3]] == [CHINESE, "", ""]
    assert [row["state"] for row in rows] == ["done", "done", "skipped", "done", "done", "duplicate"]
    assert (rows[3]["source"], rows[5]["duplicate_of"]) == ("d�.png", "d�.png")
    assert (rows[3]["width_px"], rows[3]["scale"], rows[4]["score"], rows[4]["in_doubt"]) == (760, 1, 0.8712, False)
    assert rows[4]["meta"] == '{"shelf":null,"n":["x",{"题":1}]}'


@pytest.mark.parametrize("consume", CONSUMERS)
def test_a_column_that_begins_with_many_nulls_keeps_its_values(
    consume: Callable[[Path], list[dict[str, Any]]], tmp_path: Path
) -> None:
    records = [
        *(make_record(f"{number:04}.png", number) for number in range(1, 201)),
        make_record("z", 999, quality=QUALITY),
    ]
    assert consume(write_workspace(tmp_path, *records))[-1]["score"] == 0.8712


@pytest.mark.parametrize(
    "record",
    [
        make_record("a.png", 1, quality=DOUBT),
        replace(make_record("a.png", 1, quality=DOUBT), text_from=CORRECTION, review=REVIEW),
        replace(make_record("a.png", 1, quality=DOUBT), review=replace(REVIEW, original=Original(RECORD.added))),
    ],
    ids=["read", "corrected", "checked"],
)
def test_a_row_has_the_values_of_an_exported_table(record: Record) -> None:
    exported = dict(zip(COLUMNS, row("", 1, parse_text(encode_record(record).removesuffix(b"\n")), None), strict=True))
    assert to_row(record) == {name: exported[name] for name in to_row(record)}


def test_the_columns_are_those_of_an_exported_table() -> None:
    assert [*to_row(make_record("a.png", 1))] == [
        name for name in COLUMNS if name not in {"document", "pages", "split"}
    ]
