"""The files of a report: what it links, what it makes, and what it leaves when it cannot be finished."""

import json
import os
import re
import tracemalloc
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import anyio.to_thread
import orjson
import pytest
from PIL import Image

from pipeline.errors import StorageError, UsageError
from pipeline.export.base import ExportJob
from pipeline.report import build as building
from pipeline.report import folder, thumbnails
from pipeline.report.data_files import Series, data_script
from pipeline.report.entries import row_of
from pipeline.report.pages import read_pages
from pipeline.report.thumbnail_worker import shrink
from pipeline.workspace.index import Index
from pipeline.workspace.snapshot import open_snapshot
from tests.export.workspaces import run_export
from tests.fakes import serve_fake
from tests.pages import write_page
from tests.report.review_pages import build, failure, page_record, plain_record, write_review, write_scan
from tests.runs import run_here


def read_data(report: Path, kind: str) -> list[Any]:
    """Return the entries of all data files of a kind."""
    entries: list[Any] = []
    for file in sorted(report.glob(f"build-*/{kind}-*.js")):
        match = re.fullmatch(r'pagemill\.add\("\w+",\d+,(".*")\);\n', file.read_text("utf-8"))
        assert match
        entries += json.loads(json.loads(match[1]))
    return entries


def details(report: Path) -> list[dict[str, Any]]:
    """Return the details of all pages."""
    return read_data(report, "details")


def test_a_script_cannot_be_ended_by_its_data() -> None:
    value = ["</script><script>alert(1)</script>", "\u2028\u2029", 'a"b\\c\n', "\0", "<!--"]
    script = data_script("texts", 3, orjson.dumps(value)).decode()
    assert script.startswith('pagemill.add("texts",3,"')
    assert not set("<\u2028\u2029\0") & set(script)
    literal = script[len('pagemill.add("texts",3,') : -len(");\n")]
    assert json.loads(json.loads(literal)) == value


def test_files_are_cut_by_size_and_begin_where_they_say(tmp_path: Path) -> None:
    series = Series(tmp_path, "texts")
    for size in (600_000, 600_000, 3_000_000, 5, 5):
        series.add("x" * size)
    series.close()
    assert series.begins == [0, 1, 2, 3]
    assert len(list(tmp_path.iterdir())) == 4


def test_pages_come_in_the_order_of_their_names_with_what_failed(tmp_path: Path) -> None:
    records = [page_record("b.png", ["b"], score=0.5), plain_record("a.png", "a")]
    out = write_review(tmp_path, records, [failure("aa.png")])
    with open_snapshot(out) as index:
        rows = [row_of(page) for page in read_pages(out, index)]
    assert [(row[0], row[2], row[3], row[4]) for row in rows] == [
        ("a.png", 0, 0, -1),
        ("aa.png", 3, 0, -1),
        ("b.png", 0, 1, 0.5),
    ]


def test_a_name_that_is_not_utf_8_keeps_its_bytes(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    out = write_review(tmp_path, [plain_record(name, "text")])
    build(out)
    assert read_data(out / "report", "pages")[0][7] == "Y2Fm6S5wbmc="


def test_files_that_browsers_show_are_linked_where_they_are(tmp_path: Path) -> None:
    scan = tmp_path / "scans/Größe #1?.png"
    write_scan(scan, ["one"])
    out = write_review(tmp_path, [page_record(scan.name, ["one"]), page_record("gone.jpg", ["two"])])
    built = build(out)
    assert (built.pages, built.linked, built.missing) == (2, 1, 1)
    found, gone = details(out / "report")
    assert (out / "report" / unquote(found["picture"][1])).resolve() == scan
    assert gone["picture"] == ["none", None]
    assert gone["pictureNote"] == "The file was not there when the report was built."


async def test_pictures_that_browsers_do_not_show_are_made_and_kept(tmp_path: Path) -> None:
    """A TIFF of two pages; the second report finds the pictures of the first."""
    scans = tmp_path / "scans"
    scans.mkdir()
    frames = [Image.new("L", (400, 300), shade) for shade in (255, 128)]
    frames[0].save(scans / "book.tif", save_all=True, append_images=frames[1:])
    write_page(scans / "page.png", 1)
    out = tmp_path / "out"
    async with serve_fake() as fake:
        await run_here(scans, out, fake.url)
    built = build(out)
    assert (built.linked, built.unshown, built.made) == (1, 2, 0)
    built = await anyio.to_thread.run_sync(lambda: build(out, choice="convert"))
    assert (built.linked, built.unshown, built.made) == (1, 0, 2)
    pictures = {path: path.stat().st_mtime_ns for path in (out / "report/pictures").iterdir()}
    assert len(pictures) == 2
    with Image.open(min(pictures)) as image:
        assert image.size == (400, 300)
    assert build(out).made == 2
    assert {path: path.stat().st_mtime_ns for path in (out / "report/pictures").iterdir()} == pictures
    built = await anyio.to_thread.run_sync(lambda: build(out, tmp_path / "elsewhere", "copy"))
    assert (built.linked, built.made) == (0, 3)
    assert len(list((tmp_path / "elsewhere/pictures").iterdir())) == 3


async def test_no_run_takes_what_pagemill_wrote_beside_the_scans_for_pages(tmp_path: Path) -> None:
    """The pictures of a report and the images of an export would be paid for; a folder that is named is read."""
    scans, out = tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    write_page(scans / "page.png", 1)
    async with serve_fake() as fake:
        await run_here(scans, out, fake.url)
        await anyio.to_thread.run_sync(lambda: build(out, scans / "review", "copy"))
        job = ExportJob(out, scans / "box/data", images="sent")
        await anyio.to_thread.run_sync(lambda: run_export("webdataset", job))
        assert len(list(scans.glob("review/pictures/*"))) == len(list(scans.glob("box/data/*.tar"))) == 1
        for workspace, calls in ((out, 0), (tmp_path / "another", 1)):
            done = await run_here(scans, workspace, fake.url)
            assert (done.calls, done.ignored) == (calls, {"pagemill output": 2})
        done = await run_here(scans / "review/pictures", tmp_path / "named", fake.url)
        assert done.calls == 1
        done = await run_here(scans / "box/data", tmp_path / "named too", fake.url)
        assert done.calls == 1


def test_a_report_replaces_only_a_report_of_its_workspace(tmp_path: Path) -> None:
    out = write_review(tmp_path, [plain_record("a.png", "a")])
    other = write_review(tmp_path, [plain_record("a.png", "a")], name="other")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/letter.txt").write_text("dear")
    with pytest.raises(UsageError, match="holds something else than a report"):
        build(out, tmp_path / "full")
    build(out, tmp_path / "report")
    run_file = other / "run.json"
    run_file.write_text(run_file.read_text().replace("0123456789abcdef", "fedcba9876543210"))
    with pytest.raises(UsageError, match="report of another workspace"):
        build(other, tmp_path / "report")


def test_a_build_that_fails_leaves_the_last_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = write_review(tmp_path, [plain_record("a.png", "a")])
    build(out)
    before = {path: path.read_bytes() for path in (out / "report").rglob("*") if path.is_file()}

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(building, "details_of", interrupt)
    with pytest.raises(KeyboardInterrupt):
        build(out)
    assert {path: path.read_bytes() for path in (out / "report").rglob("*") if path.is_file()} == before


def test_one_build_at_a_time_writes_a_report(tmp_path: Path) -> None:
    out = write_review(tmp_path, [plain_record("a.png", "a")])
    refused: list[str] = []

    def build_another() -> None:
        with pytest.raises(UsageError) as caught:
            build(out)
        refused.append(str(caught.value))

    build(out, tick=build_another)
    assert refused == [f"{out / 'report'}: another report is being written there; wait for its end"]
    (shown,) = (out / "report").glob("build-*")
    assert shown.name in (out / "report/index.html").read_text()


def test_a_folder_that_a_build_has_just_begun_can_be_built_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = write_review(tmp_path, [plain_record("a.png", "a")])

    def fill_disk(path: Path, content: bytes) -> None:
        raise StorageError(f"{path}: no space for {len(content)} bytes")

    with monkeypatch.context() as patch:
        patch.setattr(folder, "replace_file", fill_disk)
        with pytest.raises(StorageError):
            build(out)
    assert build(out).pages == 1


def test_what_a_killed_build_left_is_removed(tmp_path: Path) -> None:
    out = write_review(tmp_path, [plain_record("a.png", "a")])
    (out / "report").mkdir()
    build(out)
    (out / "report/build-dead").mkdir()
    (out / "report/build-dead/texts-0000.js").write_text("half")
    build(out)
    assert len(list((out / "report").glob("build-*"))) == 1


def test_a_page_of_an_unknown_time_and_one_whose_line_changed_are_in_the_report(tmp_path: Path) -> None:
    out = write_review(tmp_path, [plain_record("a.png", "a"), replace(plain_record("b.png", "b"), added="never")])
    assert build(out).pages == 2


async def test_thumbnails_are_made_in_worker_processes_and_kept(tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    Image.new("RGB", (800, 400), "white").save(scans / "wide.png")
    frames = [Image.new("L", (400, 300), shade) for shade in (255, 128)]
    frames[0].save(scans / "book.tif", save_all=True, append_images=frames[1:])
    out = tmp_path / "out"
    async with serve_fake() as fake:
        await run_here(scans, out, fake.url)
    await anyio.to_thread.run_sync(lambda: build(out, thumbnails=True))
    thumbnails = [row[8] for row in read_data(out / "report", "pages")]
    with Image.open(out / "report" / thumbnails[2]) as image:
        assert (image.size, image.format) == ((160, 80), "JPEG")
    before = {path: path.stat().st_mtime_ns for path in (out / "report/thumbnails").iterdir()}
    await anyio.to_thread.run_sync(lambda: build(out, thumbnails=True))
    assert {path: path.stat().st_mtime_ns for path in (out / "report/thumbnails").iterdir()} == before
    build(out)
    assert len(read_data(out / "report", "pages")[2]) == 7


async def test_a_thumbnail_that_a_kill_cut_short_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    write_scan(scans / "a.png", ["a"])
    async with serve_fake() as fake:
        await run_here(scans, out, fake.url)

    def write_half(path: Path, content: bytes) -> None:
        path.write_bytes(content[: len(content) // 2])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(thumbnails, "write_file", write_half)
        with pytest.raises(KeyboardInterrupt):
            await anyio.to_thread.run_sync(lambda: build(out, thumbnails=True))
    await anyio.to_thread.run_sync(lambda: build(out, thumbnails=True))
    ((*_, url),) = read_data(out / "report", "pages")
    with Image.open(out / "report" / url) as image:
        image.load()


@pytest.mark.parametrize("image", [b"", b"no image", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_what_is_no_image_has_no_thumbnail(image: bytes) -> None:
    assert shrink(image) is None


def test_a_file_whose_name_is_too_long_has_no_picture(tmp_path: Path) -> None:
    out = write_review(tmp_path, [plain_record("a.png", "a")], [failure("x" * 300 + ".png"), failure("a.png/b.png")])
    assert build(out).pages == 3


def test_a_file_of_many_pages_is_not_held_as_a_whole(tmp_path: Path) -> None:
    pages, text = 3000, "a line of the page\n" * 800
    out = write_review(tmp_path, (plain_record("book.pdf", text, page) for page in range(1, pages + 1)))
    with closing(Index.open(out)):  # as a run leaves it
        tracemalloc.start()
    try:
        build(out)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < pages * len(text) / 2
