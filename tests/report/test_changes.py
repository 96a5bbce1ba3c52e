"""Which files the report takes for changed: by content, which is read only where size or time differ."""

import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import anyio.to_thread
import pytest
from PIL import Image

from pipeline.inputs.content import Read, read_content
from pipeline.members import Member
from pipeline.report import changes
from pipeline.report.build import Built
from pipeline.report.changes import Changes, content_hash, is_content
from pipeline.report.entries import CHANGED
from pipeline.report.pictures import PictureChoice
from tests.fakes import serve_fake
from tests.pages import write_page
from tests.report.review_pages import build, plain_record, write_review
from tests.report.test_build import details, read_data
from tests.runs import run_command, run_here

SHADES = {"c.png": 3, "a.png": 1, "b.png": 2}
"""Not in the order of their names."""


def write_archives(scans: Path, shades: dict[str, int]) -> None:
    """Write a ZIP and a compressed TAR with these pages."""
    pages = {}
    for name, shade in shades.items():
        file = io.BytesIO()
        Image.new("L", (200, 120), shade).save(file, "PNG")
        pages[name] = file.getvalue()
    with zipfile.ZipFile(scans / "box.zip", "w", zipfile.ZIP_DEFLATED) as box:
        for name, content in pages.items():
            box.writestr(f"letters/{name}", content)
    with tarfile.open(scans / "box.tar.gz", "w:gz") as tar:
        for name, content in pages.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


@pytest.fixture
async def out(tmp_path: Path) -> Path:
    """A workspace with a page of each kind of file."""
    scans = tmp_path / "scans"
    scans.mkdir()
    write_page(scans / "page.png", 1)
    frames = [Image.new("L", (400, 300), shade) for shade in (255, 128)]
    frames[0].save(scans / "book.tif", save_all=True, append_images=frames[1:])
    write_archives(scans, SHADES)
    async with serve_fake() as fake:
        await run_here(scans, tmp_path / "out", fake.url)
    return tmp_path / "out"


async def build_in_thread(out: Path, choice: PictureChoice = "link", *, thumbnails: bool = False) -> Built:
    return await anyio.to_thread.run_sync(lambda: build(out, choice=choice, thumbnails=thumbnails))


def changed_names(out: Path) -> list[str]:
    """Return the sources that the report marks as changed, one a page."""
    return [row[0] for row in read_data(out / "report", "pages") if row[3] & CHANGED]


def touch_all(scans: Path) -> None:
    for path in scans.rglob("*"):
        os.utime(path, (1, 1))


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are hashed from now on."""
    names: list[str] = []

    def note(path: bytes, member: Member | None, kept_bytes: int) -> Read:
        names.append(os.fsdecode(path))
        return read_content(path, member, kept_bytes)

    monkeypatch.setattr(changes, "read_content", note)
    return names


async def test_a_file_of_the_same_size_and_time_is_not_opened(out: Path, hashed: list[str]) -> None:
    built = await build_in_thread(out)
    assert (built.pages, built.linked, built.changed, hashed) == (9, 1, 0, [])


async def test_a_file_that_was_only_touched_or_copied_has_not_changed(out: Path, hashed: list[str]) -> None:
    """Each is hashed once, a TIFF of two pages and the members of a compressed TAR, too."""
    touch_all(out.parent / "scans")
    built = await build_in_thread(out)
    assert (built.linked, built.changed, built.missing) == (1, 0, 0)
    assert len(hashed) == 8


async def test_pages_whose_file_has_another_content_are_marked(out: Path) -> None:
    """Also after a run has read it anew, when the mark is gone."""
    scans = out.parent / "scans"
    write_page(scans / "page.png", 77)
    Image.new("L", (90, 90)).save(scans / "book.tif")
    write_archives(scans, SHADES | {"b.png": 9})
    built = await build_in_thread(out)
    marked = ["book.tif", "book.tif", "box.tar.gz/b.png", "box.zip/letters/b.png", "page.png"]
    assert (changed_names(out), built.changed, built.linked, built.missing) == (marked, 5, 0, 5)
    last = details(out / "report")[-1]
    assert last["picture"] == ["file", None]
    assert last["pictureNote"] == "Its picture is not shown: the file has changed since it was read."
    async with serve_fake() as fake:
        await run_here(scans, out, fake.url)
    built = await build_in_thread(out)
    assert (built.pages, built.changed, built.linked) == (8, 0, 1)  # the TIFF has no second page any more


async def test_what_an_index_does_not_know_is_hashed(out: Path, hashed: list[str]) -> None:
    write_page(out.parent / "scans/page.png", 77)
    (out / "index.sqlite3").unlink()
    assert (await build_in_thread(out)).changed == 1
    assert len(hashed) == 8


async def test_a_copy_is_of_the_content_that_was_read(out: Path) -> None:
    """Such a file is not copied, and a copy that an earlier report has made stays."""
    scans = out.parent / "scans"
    content = (scans / "page.png").read_bytes()
    write_page(scans / "page.png", 77)
    built = await build_in_thread(out, "copy")
    assert (built.changed, built.made, built.missing) == (1, 8, 1)
    (scans / "page.png").write_bytes(content)
    assert (await build_in_thread(out, "copy")).made == 9
    write_page(scans / "page.png", 77)
    built = await build_in_thread(out, "copy")
    assert (built.changed, built.made) == (1, 9)
    assert (out / "report" / details(out / "report")[-1]["picture"][1]).read_bytes() == content


async def test_a_file_that_changes_while_a_report_is_built_is_not_copied(out: Path) -> None:
    """Its time is that of the index when it is compared, and it is another one when it is copied."""
    page = out.parent / "scans/page.png"
    status = page.stat()
    write_page(page, 2)
    page.write_bytes(page.read_bytes().ljust(status.st_size, b"\0")[: status.st_size])
    os.utime(page, ns=(status.st_mtime_ns, status.st_mtime_ns))
    built = await build_in_thread(out, "copy")
    assert (built.made, built.missing) == (8, 1)


async def test_a_thumbnail_is_of_the_content_that_was_read(out: Path) -> None:
    write_page(out.parent / "scans/page.png", 77)
    await build_in_thread(out, thumbnails=True)
    *others, last = read_data(out / "report", "pages")
    assert len(last) == 7
    assert all(len(row) == 9 for row in others)


@pytest.mark.parametrize(
    ("replace", "note"),
    [
        pytest.param(Path.unlink, "The file was not there when the report was built.", id="gone"),
        pytest.param(lambda path: (path.unlink(), path.mkdir()), "It has no picture: a directory, not", id="a-folder"),
        pytest.param(lambda path: path.write_bytes(b""), "the file has changed since it was read", id="empty"),
    ],
)
def test_a_file_that_has_no_content_any_more_has_no_picture(
    tmp_path: Path, replace: Callable[[Path], object], note: str
) -> None:
    path = tmp_path / "scans/a.png"
    path.parent.mkdir()
    write_page(path, 1)
    out = write_review(tmp_path, [plain_record("a.png", "a")])
    replace(path)
    built = build(out)
    ((detail),) = details(out / "report")
    assert note in detail["pictureNote"]
    assert (built.missing, built.changed) == (1, "changed" in note)


def test_a_page_whose_id_names_no_content_has_not_changed(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"new")
    compared = Changes(str(tmp_path), lambda _: None)
    file = compared.find(b"a.png")
    assert compared.has_changed(file, f"sha256:{'0' * 64}#1")
    for page_id in (None, f"url:{'0' * 64}#1"):
        assert not compared.has_changed(file, page_id)
        assert content_hash(page_id) is None
        assert is_content(page_id, "1" * 64)
    assert compared.find(b"a\0b.png").problem is not None


async def test_the_command_says_how_many_pages_have_changed(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    write_page(tmp_path / "scans/a.png", 1)
    out = write_review(tmp_path, [plain_record("a.png", "a")])
    write_page(tmp_path / "scans/a.png", 2)
    done = await run_command("report", out)
    assert b": 1 pages; 1 missing; 1 whose file has changed since it was read" in done.stderr
