"""Formats of shards: parquet and dolma read back by their libraries; documents stay in their shards."""

import os
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest
import zstandard

from pipeline.export import parquet
from pipeline.export.base import ExportJob
from pipeline.export.selection import Split
from pipeline.export.table import COLUMNS
from tests.export.workspaces import put_records, run_export
from tests.factories import QUALITY, make_record

os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a shard take documents until it holds three pages."""
    monkeypatch.setattr(parquet, "PAGES_PER_SHARD", 3)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Five documents, one of two pages."""
    records = [make_record(f"{number}.png", number, quality=QUALITY) for number in range(4)]
    book = [make_record("book.tif", 10 + page, page=page, text=f"页 {page}") for page in (1, 2)]
    return put_records(tmp_path / "out", [*records, *book])


def sources(path: Path) -> list[str]:
    return [str(source) for source in pq.read_table(path)["source"].to_pylist()]


def shards(root: Path) -> dict[str, list[str]]:
    return {path.name: sources(path) for path in sorted(root.glob("*.parquet"))}


def test_parquet_has_typed_columns_and_all_texts(workspace: Path, tmp_path: Path) -> None:
    exported = run_export("parquet", ExportJob(workspace, tmp_path / "pq"))
    assert (exported.documents, exported.pages, exported.written) == (5, 6, 2)
    table = pq.read_table(tmp_path / "pq")
    assert tuple(table.column_names) == COLUMNS
    rows = table.to_pylist()
    assert [row["text"] for row in rows] == ["text 0", "text 1", "text 2", "text 3", "页 1", "页 2"]
    assert rows[0]["score"] == pytest.approx(QUALITY.score)
    assert rows[0]["in_doubt"] is False
    assert [row["page"] for row in rows] == [1, 1, 1, 1, 1, 2]


def test_documents_stay_in_their_shards_and_new_ones_fill_the_last(workspace: Path, tmp_path: Path) -> None:
    job = ExportJob(workspace, tmp_path / "pq")
    run_export("parquet", job)
    assert shards(tmp_path / "pq") == {
        "part-00000.parquet": ["0.png", "1.png", "2.png"],
        "part-00001.parquet": ["3.png", "book.tif", "book.tif"],
    }
    put_records(workspace, [make_record("00.png", 20), make_record("0.png", 21, added=5)])
    exported = run_export("parquet", job)
    assert (exported.written, exported.unchanged) == (2, 1)
    assert shards(tmp_path / "pq") == {
        "part-00000.parquet": ["0.png", "1.png", "2.png"],
        "part-00001.parquet": ["3.png", "book.tif", "book.tif"],
        "part-00002.parquet": ["00.png"],
    }
    assert run_export("parquet", job).written == 0


def test_a_shard_per_split(workspace: Path, tmp_path: Path) -> None:
    run_export("parquet", ExportJob(workspace, tmp_path / "pq", split=Split.parse("train=0.5,test=0.5", 1)))
    found = shards(tmp_path / "pq")
    assert {name.split("-")[0] for name in found} == {"train", "test"}
    assert sorted(source for names in found.values() for source in names) == [
        "0.png",
        "1.png",
        "2.png",
        "3.png",
        "book.tif",
        "book.tif",
    ]


def test_a_dolma_line_is_a_document_with_the_places_of_its_pages(workspace: Path, tmp_path: Path) -> None:
    run_export("dolma", ExportJob(workspace, tmp_path / "dolma"))
    [path] = (tmp_path / "dolma" / "documents").iterdir()
    with path.open("rb") as file:
        lines = zstandard.ZstdDecompressor().stream_reader(file).read().splitlines()
    documents = [orjson.loads(line) for line in lines]
    assert len(documents) == 5
    book = documents[-1]
    assert book["metadata"]["document"] == "book.tif"
    places = book["attributes"]["pdf_page_numbers"]
    assert [book["text"][begin:end] for begin, end, _ in places] == ["页 1", "页 2"]
    assert {"id", "text", "source", "added", "created", "metadata"} <= set(book)


def test_the_card_names_splits_and_licence_as_they_are(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bare, `no` would be false and `1` a number, and the library would refuse the folder."""
    from datasets import load_dataset  # noqa: PLC0415 - slow to import
    from huggingface_hub import metadata_load  # noqa: PLC0415

    (tmp_path / "pages").mkdir()
    monkeypatch.chdir(tmp_path / "pages")
    licence = 'other: "mine"\n['
    split = Split.parse("no=0.5,1=0.5", 1)
    run_export("hf", ExportJob(workspace, Path(), split=split, license_id=licence))
    metadata = metadata_load("README.md")
    assert metadata is not None
    assert metadata["license"] == licence
    assert "\n# pages\n" in Path("README.md").read_text()
    dataset = load_dataset(str(tmp_path / "pages"), cache_dir=str(tmp_path / "cache"))
    assert sorted(dataset) == ["1", "no"]
    assert sum(map(len, dataset.values())) == 6


def test_a_loaded_dataset_is_that_of_the_folder_and_not_an_earlier_one_of_its_name(
    workspace: Path, tmp_path: Path
) -> None:
    """The library caches by the folder's name and its card."""
    from datasets import load_dataset  # noqa: PLC0415 - slow to import

    def load(folder: Path) -> list[str]:
        rows = load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
        return sorted(row["text"] for row in rows)

    former, other = tmp_path / "former/pages", tmp_path / "other/pages"
    run_export("hf", ExportJob(workspace, former))
    before = load(former)
    put_records(workspace, [make_record("a.png", 1, text="corrected", added=5)])
    run_export("hf", ExportJob(workspace, former))
    run_export("hf", ExportJob(put_records(tmp_path / "second", [make_record("a.png", 1, text="other")]), other))
    assert "corrected" not in before
    assert "corrected" in load(former)
    assert load(other) == ["other"]


def test_documents_whose_names_differ_in_bytes_that_are_not_utf_8_stay_apart(tmp_path: Path) -> None:
    records = [make_record(f"a{chr(0xDC00 + byte)}.png", byte, text=f"text {byte:x}") for byte in (0xFE, 0xFF)]
    workspace = put_records(tmp_path / "out", records)
    for form in ("dolma", "parquet"):
        assert run_export(form, ExportJob(workspace, tmp_path / form)).documents == 2
    lines = zstandard.ZstdDecompressor().stream_reader((tmp_path / "dolma/documents/part-00000.jsonl.zst").read_bytes())
    documents = [orjson.loads(line) for line in lines.read().splitlines()]
    assert [document["text"] for document in documents] == ["text fe", "text ff"]
    assert [document["metadata"]["document"] for document in documents] == ["a\ufffd.png"] * 2
    assert sources(tmp_path / "parquet") == ["a\ufffd.png"] * 2
