"""Exports of pages that a person has corrected or checked."""

import csv
import io
import sqlite3
import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
import zstandard

from pipeline.export.base import ExportJob
from pipeline.export.selection import Where
from tests.corrections import correct
from tests.export.workspaces import put_records, run_export, tree
from tests.factories import DOUBT, make_record

TEXT = "better, 更好"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Return a workspace in which one page of three is corrected, and one checked."""
    records = [make_record(name, n, added=n, quality=DOUBT) for n, name in enumerate(("a.png", "b.png", "c.png"))]
    return put_records(tmp_path / "out", records)


def review(workspace: Path) -> None:
    correct(workspace, {"source": "a.png", "page": 1, "text": TEXT}, {"source": "b.png", "page": 1, "checked": True})


def read_csv(path: Path) -> list[dict[str, Any]]:
    rows = csv.DictReader(io.StringIO(path.read_text("utf-8"), newline=""))
    return [{name: value or None for name, value in row.items()} for row in rows]


def read_sqlite(path: Path) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(path)) as db:
        db.row_factory = sqlite3.Row
        found = [dict(row) for row in db.execute("SELECT * FROM pages ORDER BY number")]
        [[number]] = db.execute("SELECT count(*) FROM pages_fts WHERE pages_fts MATCH '更好'")
        assert number == 1
    return found


def read_parquet(path: Path) -> list[dict[str, Any]]:
    folder = path / "data" if (path / "data").exists() else path
    return [row for file in sorted(folder.glob("*.parquet")) for row in pq.read_table(file).to_pylist()]


def read_webdataset(path: Path) -> list[dict[str, Any]]:
    rows = []
    with tarfile.open(path / "part-00000.tar") as shard:
        for member in shard:
            content = shard.extractfile(member)
            assert content is not None
            if member.name.endswith(".txt"):
                text = content.read().decode()
            elif member.name.endswith(".json"):
                rows.append({**orjson.loads(content.read()), "text": text})
    return rows


@pytest.mark.parametrize(
    ("form", "read"),
    [
        ("csv", read_csv),
        ("sqlite", read_sqlite),
        ("parquet", read_parquet),
        ("hf", read_parquet),
        ("webdataset", read_webdataset),
    ],
)
def test_tables_have_the_corrected_text_and_say_so(
    workspace: Path, tmp_path: Path, form: str, read: Callable[[Path], list[dict[str, Any]]]
) -> None:
    review(workspace)
    run_export(form, ExportJob(workspace, tmp_path / "dest"))
    a, b, c = read(tmp_path / "dest")
    assert [row["text"] for row in (a, b, c)] == [TEXT, "text 1", "text 2"]
    assert [row["text_from"] for row in (a, b, c)] == ["correction", "service", "service"]
    assert [row["original_text"] for row in (a, b, c)] == ["text 0", None, None]
    assert [row["checked"] is not None for row in (a, b, c)] == [False, True, False]
    assert [str(row["in_doubt"]) in {"True", "1"} for row in (a, b, c)] == [False, False, True]


def test_dolma_has_them_in_its_metadata(workspace: Path, tmp_path: Path) -> None:
    review(workspace)
    run_export("dolma", ExportJob(workspace, tmp_path / "dest"))
    data = (tmp_path / "dest/documents/part-00000.jsonl.zst").read_bytes()
    lines = [orjson.loads(line) for line in zstandard.ZstdDecompressor().stream_reader(data).read().splitlines()]
    assert [line["text"] for line in lines] == [TEXT, "text 1", "text 2"]
    assert [line["metadata"]["text_from"] for line in lines] == [["correction"], ["service"], ["service"]]
    assert [line["metadata"]["checked"] == [None] for line in lines] == [True, False, True]


def test_the_card_of_a_dataset_counts_them(workspace: Path, tmp_path: Path) -> None:
    review(workspace)
    run_export("hf", ExportJob(workspace, tmp_path / "dest"))
    card = " ".join((tmp_path / "dest/README.md").read_text("utf-8").split())
    assert "doubts its own text of 1 pages" in card
    assert "has corrected 1 texts (`text_from`, `original_text`) and marked 1 as checked (`checked`)" in card


def test_an_export_after_a_correction_writes_the_documents_concerned(workspace: Path, tmp_path: Path) -> None:
    job = ExportJob(workspace, tmp_path / "dest")
    run_export("txt", job)
    correct(workspace, {"source": "a.png", "page": 1, "text": TEXT})
    again = run_export("txt", job)
    assert (again.written, again.unchanged) == (1, 2)
    assert tree(tmp_path / "dest")["a.png.txt"] == f"{TEXT}\n"


@pytest.mark.parametrize(
    ("condition", "taken"),
    [
        ("quality=in-doubt", ["c.png.txt"]),
        ("quality!=in-doubt", ["a.png.txt", "b.png.txt"]),
        ("quality>=0.9", ["a.png.txt", "b.png.txt"]),
        ("quality<0.9", ["c.png.txt"]),
        ("review=checked", ["b.png.txt"]),
    ],
)
def test_what_a_person_reviewed_is_not_in_doubt(
    workspace: Path, tmp_path: Path, condition: str, taken: list[str]
) -> None:
    review(workspace)
    run_export("txt", ExportJob(workspace, tmp_path / "dest", where=Where.parse([condition])))
    assert list(tree(tmp_path / "dest")) == taken
