"""The SQLite export: typed rows, and a full-text index that finds Chinese and English words."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.export.base import ExportJob
from pipeline.export.ngrams import spread_words
from tests.export.workspaces import put_records, run_export
from tests.factories import QUALITY, make_record

LETTER = "the quick brown fox, well-known in Zürich\nE=mc² 𠮷野家"
VERDICT = "北京市朝阳区人民法院\n中华人民共和国（2026）"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """An English and a Chinese page."""
    records = [make_record("a.png", 1, text=LETTER, quality=QUALITY), make_record("b.png", 2, text=VERDICT)]
    run_export("sqlite", ExportJob(put_records(tmp_path / "out", records), tmp_path / "pages.db"))
    return tmp_path / "pages.db"


def search(database: Path, query: str) -> list[str]:
    """Return the sources that match, as datasette and sqlite-utils search: through the table's number."""
    with closing(sqlite3.connect(database)) as db:
        rows = db.execute(
            "SELECT source FROM pages WHERE number IN (SELECT rowid FROM pages_fts WHERE pages_fts MATCH ?)", (query,)
        )
        return [row[0] for row in rows]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        pytest.param('"quick"', ["a.png"], id="word"),
        pytest.param('"QUICK" "fox"', ["a.png"], id="words-in-any-case"),
        pytest.param('"well-known"', ["a.png"], id="hyphen"),
        pytest.param('"zurich"', ["a.png"], id="accent"),
        pytest.param('"brown fox"', ["a.png"], id="phrase"),
        pytest.param('"北京"', ["b.png"], id="two-characters"),
        pytest.param('"京"', ["b.png"], id="one-character"),
        pytest.param('"朝阳区"', ["b.png"], id="three-characters"),
        pytest.param('"人民法院"', ["b.png"], id="four-characters"),
        pytest.param('"中 华 人 民 共 和 国"', ["b.png"], id="long-phrase-with-spaces"),
        pytest.param('"𠮷野"', ["a.png"], id="beyond-the-bmp"),
        pytest.param('"人民" NOT "上海"', ["b.png"], id="operators"),
        pytest.param('"院中"', [], id="not-across-lines"),
        pytest.param('"elephant"', [], id="absent"),
    ],
)
def test_words_are_found_as_they_are_typed(database: Path, query: str, found: list[str]) -> None:
    assert search(database, query) == found


def test_rows_have_types_and_the_whole_text(database: Path) -> None:
    with closing(sqlite3.connect(database)) as db:
        db.row_factory = sqlite3.Row
        rows = [dict(row) for row in db.execute("SELECT * FROM pages ORDER BY number")]
        documents = db.execute("SELECT document, pages, characters FROM documents").fetchall()
    assert [row["text"] for row in rows] == [LETTER, VERDICT]
    assert rows[0]["score"] == pytest.approx(QUALITY.score)
    assert rows[0]["page"] == 1
    assert [tuple(row) for row in documents] == [("a.png", 1, len(LETTER)), ("b.png", 1, len(VERDICT))]


def test_datasette_finds_the_index(database: Path) -> None:
    """It looks for a virtual table whose definition names the table as its content."""
    with closing(sqlite3.connect(database)) as db:
        condition = "rootpage = 0 AND sql LIKE '%VIRTUAL TABLE%USING FTS%content=\"pages\"%'"
        found = db.execute(f"SELECT name FROM sqlite_master WHERE {condition}").fetchall()
    assert found == [("pages_fts",)]


def test_a_second_export_replaces_the_file(database: Path, tmp_path: Path) -> None:
    put_records(tmp_path / "out", [make_record("c.png", 3, text="elephant")])
    run_export("sqlite", ExportJob(tmp_path / "out", database))
    assert search(database, '"elephant"') == ["c.png"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_folder_is_not_replaced(database: Path, tmp_path: Path) -> None:
    assert database.exists()
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="name a file"):
        run_export("sqlite", ExportJob(tmp_path / "out", tmp_path / "folder"))


@given(st.text(st.sampled_from("中华人民ab 1\n"), max_size=30))
def test_every_part_of_a_run_is_a_word(text: str) -> None:
    words = set(spread_words(text).split())
    for begin in range(len(text)):
        for size in range(1, 5):
            part = text[begin : begin + size]
            if len(part) == size and all(character in "中华人民" for character in part):
                assert part in words
