"""Every format of the sample pages, as the real engine reads them, read back by its consumer: all pages, all texts."""

import csv
import os
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pypdfium2
import pytest
import zstandard
from lxml import etree
from PIL import Image

from pipeline.batch.page_images import Images
from pipeline.export.base import ExportJob
from tests.export.test_positioned import schema, texts
from tests.export.workspaces import run_export
from tests.runs import COMMAND, ROOT, read_lines

os.environ["HF_HUB_OFFLINE"] = "1"
Texts = dict[tuple[str, int], str]


class Sample(NamedTuple):
    """A workspace of the sample pages, and its texts by source and page."""

    path: Path
    texts: Texts
    sizes_px: dict[tuple[str, int], tuple[int, int]]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """The sample pages, read by the embedded engine with positions."""
    workspace = tmp_path_factory.mktemp("sample") / "out"
    command = [*COMMAND, "run", "sample_data", "-o", str(workspace), "--local", "--positions", "-q", "--no-progress"]
    subprocess.run(command, check=True, cwd=ROOT)
    lines = {(line["source"], line["page"]): line for line in read_lines(workspace / "results.jsonl")}
    assert len(lines) >= 19
    sizes = {key: (line["prep"]["width_px"], line["prep"]["height_px"]) for key, line in lines.items()}
    return Sample(workspace, {key: line["text"] for key, line in lines.items()}, sizes)


def export(sample: Sample, form: str, destination: Path, images: Images | None = None) -> Path:
    """Export all pages."""
    exported = run_export(form, ExportJob(sample.path, destination, images=images))
    assert (exported.pages, exported.unreadable, exported.missing) == (len(sample.texts), 0, 0)
    return destination


def by_page(rows: Iterator[Any]) -> Texts:
    """Return the texts of rows of source, page and text."""
    found = [((str(source), int(page)), str(text)) for source, page, text in rows]
    assert len(dict(found)) == len(found)
    return dict(found)


def characters(text: str) -> "Counter[str]":
    """Return the characters of a text, whatever its order and its spaces."""
    return Counter("".join(text.split()))


def test_txt(sample: Sample, tmp_path: Path) -> None:
    root = export(sample, "txt", tmp_path / "txt")
    found = {(str(path.relative_to(root))[:-4], 1): path.read_text().removesuffix("\n") for path in root.rglob("*.txt")}
    assert found == {key: text.removesuffix("\n") for key, text in sample.texts.items()}


def test_csv_by_the_standard_library_and_pandas(sample: Sample, tmp_path: Path) -> None:
    import pandas as pd  # noqa: PLC0415 - slow to import, as are those below

    path = export(sample, "csv", tmp_path / "pages.csv")
    with path.open(encoding="utf-8", newline="") as file:
        assert by_page((row["source"], row["page"], row["text"]) for row in csv.DictReader(file)) == sample.texts
    frame = pd.read_csv(path, keep_default_na=False)
    assert by_page(frame[["source", "page", "text"]].itertuples(index=False)) == sample.texts


def test_parquet_by_duckdb_and_pandas(sample: Sample, tmp_path: Path) -> None:
    import duckdb  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415

    root = export(sample, "parquet", tmp_path / "pq")
    relation = duckdb.sql(f"SELECT source, page, text FROM '{root}/*.parquet'")
    assert relation is not None
    assert by_page(iter(relation.fetchall())) == sample.texts
    frame = pd.read_parquet(root)
    assert by_page(frame[["source", "page", "text"]].itertuples(index=False)) == sample.texts


def test_hf_by_datasets(sample: Sample, tmp_path: Path) -> None:
    from datasets import load_dataset  # noqa: PLC0415

    root = export(sample, "hf", tmp_path / "hf", "sent")
    rows = list(load_dataset(str(root), split="train", cache_dir=str(tmp_path / "cache")))
    assert by_page((row["source"], row["page"], row["text"]) for row in rows) == sample.texts
    assert {(row["source"], row["page"]): row["image"].size for row in rows} == sample.sizes_px
    assert f"{len(sample.texts)} pages" in (root / "README.md").read_text()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves its files open
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_webdataset_by_webdataset(sample: Sample, tmp_path: Path) -> None:
    import webdataset  # noqa: PLC0415

    root = export(sample, "webdataset", tmp_path / "wds", "sent")
    samples = list(webdataset.WebDataset([str(path) for path in root.glob("*.tar")], shardshuffle=False))
    fields = [orjson.loads(each["json"]) for each in samples]
    rows = ((field["source"], field["page"], each["txt"].decode()) for field, each in zip(fields, samples, strict=True))
    assert by_page(rows) == sample.texts
    suffixes = {"jpg", "png", "gif", "webp"}
    for field, each in zip(fields, samples, strict=True):
        [image] = [data for name, data in each.items() if name in suffixes]
        assert Image.open(BytesIO(image)).size == sample.sizes_px[field["source"], field["page"]]


def test_dolma_by_jq(sample: Sample, tmp_path: Path) -> None:
    [path] = (export(sample, "dolma", tmp_path / "dolma") / "documents").iterdir()
    lines = zstandard.ZstdDecompressor().stream_reader(path.read_bytes()).read()
    query = ["jq", "-c", "[.metadata.document, .attributes.pdf_page_numbers[0][2], .text]"]
    found = subprocess.run(query, check=True, input=lines, capture_output=True).stdout
    assert by_page(map(orjson.loads, found.splitlines())) == sample.texts


def test_sqlite_and_its_full_text_search(sample: Sample, tmp_path: Path) -> None:
    path = export(sample, "sqlite", tmp_path / "pages.db")
    with closing(sqlite3.connect(path)) as db:
        assert by_page(db.execute("SELECT source, page, text FROM pages")) == sample.texts
        query = "SELECT source, page FROM pages WHERE number IN (SELECT rowid FROM pages_fts WHERE pages_fts MATCH ?)"
        words = [(key, word) for key, text in sample.texts.items() for word in text.split() if word.isalpha()]
        for key, word in words:
            for part in [word] if word.isascii() else [word[:4], word[-2:]]:
                assert key in set(db.execute(query, (f'"{part}"',))), part
    assert len(words) > 300


def test_hocr(sample: Sample, tmp_path: Path) -> None:
    root = export(sample, "hocr", tmp_path / "hocr")
    for (source, _), text in sample.texts.items():
        found = texts(root / f"{source}.hocr", "//html:span[@class='ocr_line']/text()")
        assert "".join("".join(found).split()) == "".join(text.split()), source


@pytest.mark.parametrize(
    ("form", "query"),
    [("alto", "//alto:String/@CONTENT"), ("page", "//page:TextLine/page:TextEquiv/page:Unicode/text()")],
)
def test_alto_and_page_xml(sample: Sample, tmp_path: Path, form: str, query: str) -> None:
    root = export(sample, form, tmp_path / form)
    for (source, _), text in sample.texts.items():
        found = texts(root / f"{source}.{form}.xml", query)
        assert "".join("".join(found).split()) == "".join(text.split()), source
    kind = "mets" if form == "alto" else "page"
    files, xsd = sorted(root.rglob(f"*.{kind}.xml")), schema(f"{kind}.xsd")
    assert len(files) == len(sample.texts)
    for path in files:
        xsd.assertValid(etree.parse(path))


def test_pdf_by_pdftotext_and_pdfium(sample: Sample, tmp_path: Path) -> None:
    root = export(sample, "pdf", tmp_path / "pdf")
    for (source, _), text in sample.texts.items():
        path = root / f"{source}.pdf"
        found = subprocess.run(["pdftotext", str(path), "-"], check=True, capture_output=True, text=True).stdout
        assert characters(found) == characters(text), source
        with pypdfium2.PdfDocument(path) as pdf:
            assert len(pdf) == 1
            assert characters(pdf[0].get_textpage().get_text_range()) == characters(text), source
