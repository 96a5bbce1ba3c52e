"""Images in exports, made by a real run, and read back by the libraries that people load them with."""

import os
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from pipeline.batch.page_images import Images
from pipeline.export.base import ExportJob
from pipeline.export.selection import Where
from tests.export.workspaces import run_export
from tests.fakes import serve_fake
from tests.pages import write_page
from tests.pixels.tiffs import grey_pages, tiff
from tests.runs import run_here

os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture
async def workspace(tmp_path: Path) -> Path:
    """A PNG that is sent as it is, a large one that is scaled down, and a TIFF of two pages; another file is gone."""
    scans = tmp_path / "scans"
    write_page(scans / "a.png", 1)
    write_page(scans / "large.png", 2, size_px=(4400, 400))
    write_page(scans / "zz.png", 3)
    (scans / "book.tif").write_bytes(tiff(*grey_pages(2)))
    async with serve_fake() as fake:
        await run_here(scans, tmp_path / "out", fake.url)
    (scans / "zz.png").unlink()
    return tmp_path / "out"


def load(workspace: Path, images: Images) -> "dict[tuple[str, int], Image.Image | None]":
    """Export, and return what `datasets` loads, by source and page."""
    from datasets import load_dataset  # noqa: PLC0415 - slow to import

    destination = workspace.parent / images
    exported = run_export("hf", ExportJob(workspace, destination, images=images))
    assert exported.missing == 1
    dataset = load_dataset(str(destination), split="train", cache_dir=str(workspace.parent / "cache"))
    return {(row["source"], row["page"]): row["image"] for row in dataset}


def test_datasets_loads_the_images_as_they_were_sent(workspace: Path) -> None:
    found = load(workspace, "sent")
    assert found.pop(("zz.png", 1)) is None
    sizes = {key: image.size for key, image in found.items() if image is not None}
    assert sizes[("large.png", 1)] == (4000, 364)
    assert sizes[("a.png", 1)] == (120, 120)
    assert ("book.tif", 2) in sizes
    assert len(sizes) == 4


def test_originals_are_the_files_where_they_hold_one_page(workspace: Path) -> None:
    found = load(workspace, "original")
    large = found["large.png", 1]
    assert large is not None
    assert large.size == (4400, 400)
    assert found["book.tif", 2] is not None


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves its files open
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_webdataset_reads_samples_of_image_text_and_fields(workspace: Path, tmp_path: Path) -> None:
    import webdataset  # noqa: PLC0415 - slow to import

    run_export("webdataset", ExportJob(workspace, tmp_path / "wds", images="original"))
    shards = [str(path) for path in (tmp_path / "wds").glob("*.tar")]
    samples = list(webdataset.WebDataset(shards, shardshuffle=False))
    assert len(samples) == 5
    sizes = {Image.open(BytesIO(sample["png"])).size for sample in samples if "png" in sample}
    assert (4400, 400) in sizes
    assert all(sample["txt"] and sample["json"] for sample in samples)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_an_original_has_the_suffix_of_its_format(scans: Path, tmp_path: Path) -> None:
    """Without a suffix it would be no part of its sample; another format's names the wrong decoder."""
    import webdataset  # noqa: PLC0415 - slow to import

    for number, name in enumerate(("none", "other.jpg", "data.dat")):
        write_page(scans / f"{name}.png", number).rename(scans / name)
    async with serve_fake() as fake:
        await run_here(scans, tmp_path / "out", fake.url)
    run_export("webdataset", ExportJob(tmp_path / "out", tmp_path / "wds", images="original"))
    [shard] = map(str, (tmp_path / "wds").glob("*.tar"))
    samples = list(webdataset.WebDataset([shard], shardshuffle=False))
    assert [set(sample) & {"png", "jpg", "dat"} for sample in samples] == [{"png"}] * 3


def test_duckdb_and_pandas_read_the_same_rows(workspace: Path, tmp_path: Path) -> None:
    import duckdb  # noqa: PLC0415 - slow to import
    import pandas as pd  # noqa: PLC0415

    run_export("parquet", ExportJob(workspace, tmp_path / "pq"))
    run_export("csv", ExportJob(workspace, tmp_path / "pages.csv"))
    relation = duckdb.sql(f"SELECT source, page, text FROM '{tmp_path}/pq/*.parquet' ORDER BY ALL")
    assert relation is not None
    rows = relation.fetchall()
    frame = pd.read_csv(tmp_path / "pages.csv").sort_values(["source", "page"])
    assert [tuple(row) for row in frame[["source", "page", "text"]].to_numpy()] == rows
    assert len(rows) == 5


def test_an_image_that_was_missing_is_added_by_the_next_export(workspace: Path, tmp_path: Path) -> None:
    """A disk that was not mounted must not leave the dataset without its images for ever."""
    job = ExportJob(workspace, tmp_path / "wds", images="sent")
    assert run_export("webdataset", job).missing == 1
    write_page(tmp_path / "scans/zz.png", 3)
    again = run_export("webdataset", job)
    assert (again.missing, again.written) == (0, 1)
    assert run_export("webdataset", job).written == 0


async def test_settings_of_a_later_run_leave_no_page_without_its_image(workspace: Path, tmp_path: Path) -> None:
    """The page is blank, and was sent before `--skip-blank` was set."""
    async with serve_fake() as fake:
        await run_here(tmp_path / "scans/large.png", workspace, fake.url, prepare={"skip_blank": True})
        assert fake.calls == []
    job = ExportJob(workspace, tmp_path / "wds", images="sent", where=Where.parse(["source=large.png"]))
    assert run_export("webdataset", job).missing == 0
