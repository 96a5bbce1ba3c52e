"""Every file of the INPUTs is accounted for: pages by state, all others by kind."""

import io
import os
from pathlib import Path

import orjson
import pytest
from PIL import Image

from pipeline.batch.summary import describe_summary
from pipeline.config import PrepareConfig
from pipeline.records import State
from pipeline.workspace.run_file import read_run_file
from tests.fakes import serve_fake
from tests.pages import write_page, write_pages
from tests.runs import failures, results, run_command, run_here

IGNORED = {".djvu": 3, ".rar": 3, ".txt": 1, ".docx": 1, "no suffix": 1, "symlink": 1, "system folder": 1}


def fill(scans: Path) -> None:
    """Write two pages with a suffix, one without and one with another's, and files of `IGNORED`."""
    write_pages(scans, 2)
    write_page(scans / "x.jpg", 10).rename(scans / "photo")
    write_page(scans / "y.jpg", 11).rename(scans / "whatsapp.heic")
    (scans / "@eaDir").mkdir()
    write_page(scans / "@eaDir" / "thumb.jpg", 12)
    for name, content in {
        "1.djvu": b"AT&TFORM",
        "2.DJVU": b"AT&TFORM",
        "djvu-without-suffix": b"AT&TFORM",
        "1.rar": b"Rar!\x1a\x07",
        "2.rar": b"Rar!\x1a\x07",
        "notes.txt": b"buy milk\n",
        "letter.docx": b"PK\x03\x04",
        "scans.rar": b"Rar!\x1a\x07",
        "README": b"BM is no image\n",
    }.items():
        (scans / name).write_bytes(content)
    (scans / "link.png").symlink_to("page-0000.png")


async def test_what_is_no_page_is_counted_by_kind(scans: Path, tmp_path: Path) -> None:
    """In the run's last line, in the summary, in run.json and in `status`."""
    fill(scans)
    async with serve_fake() as fake:
        summary = await run_here(scans, tmp_path / "out", fake.url)
        assert len(fake.calls) == 4
    assert (summary.exit_code, summary.totals[State.DONE], summary.ignored) == (0, 4, IGNORED)
    assert sorted(line["source"] for line in results(tmp_path / "out")) == [
        "page-0000.png",
        "page-0001.png",
        "photo",
        "whatsapp.heic",
    ]
    counted = "3 .djvu, 3 .rar, 1 .docx, 1 .txt, 1 no suffix, 1 symlink, 1 system folder"
    assert f"; ignored: {counted}" in describe_summary(summary)
    run_file = read_run_file(tmp_path / "out")
    assert run_file is not None
    assert run_file.ignored == IGNORED
    assert orjson.loads((await run_command("status", tmp_path / "out", "--json")).stdout)["ignored"] == IGNORED
    assert f"ignored    {counted}\n" in (await run_command("status", tmp_path / "out")).stdout.decode()


async def test_a_second_run_opens_no_file(scans: Path, tmp_path: Path) -> None:
    """It says the same, from the index: the files are unreadable by then, yet none fails."""
    fill(scans)
    async with serve_fake() as fake:
        await run_here(scans, tmp_path / "out", fake.url)
        for path in scans.rglob("*"):
            if path.is_file() and not path.is_symlink():
                stat = path.stat()
                path.write_bytes(bytes(stat.st_size))
                os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        again = await run_here(scans, tmp_path / "out", fake.url)
        assert len(fake.calls) == 4
    assert (again.exit_code, again.settled, again.ignored) == (0, 4, IGNORED)


async def test_links_are_followed_when_asked(scans: Path, tmp_path: Path) -> None:
    write_page(tmp_path / "elsewhere" / "a.png", 1)
    (scans / "b.png").symlink_to(tmp_path / "elsewhere" / "a.png")
    (scans / "gone.png").symlink_to("nowhere.png")
    async with serve_fake() as fake:
        flags = ("-o", tmp_path / "out", "--api-url", fake.url)
        left = await run_command("run", scans, *flags)
        followed = await run_command("run", scans, *flags, "--follow-symlinks")
    assert (left.returncode, b"ignored: 2 symlink" in left.stderr) == (9, True)
    assert (followed.returncode, b"ignored" in followed.stderr) == (3, False)
    assert [line["source"] for line in results(tmp_path / "out")] == ["b.png"]
    assert [(line["source"], line["class"]) for line in failures(tmp_path / "out")] == [("gone.png", "missing")]


async def test_a_named_file_that_is_no_page_is_a_failed_page(scans: Path, tmp_path: Path) -> None:
    """Named as INPUT, in a manifest, or by `--include`."""
    write_page(scans / "a.png", 1)
    (scans / "b.djvu").write_bytes(b"AT&TFORM")
    (scans / "list.txt").write_text("a.png\nb.djvu\n")
    async with serve_fake() as fake:
        for number, inputs in enumerate([[scans / "a.png", scans / "b.djvu"], [scans / "list.txt"]]):
            summary = await run_here(inputs, tmp_path / f"out{number}", fake.url)
            assert (summary.exit_code, summary.totals[State.FAILED], summary.ignored) == (3, 1, {})
        included = await run_here(scans, tmp_path / "out", fake.url, input={"include": ["*.png", "*.djvu"]})
    assert (included.totals[State.DONE], included.totals[State.FAILED]) == (1, 1)


async def test_run_star_ignores_the_texts_beside_the_pages(scans: Path, tmp_path: Path) -> None:
    """And the workspace itself, at the second run."""
    os.chdir(scans)
    write_pages(scans, 2)
    (scans / "notes.txt").write_text("buy milk\ncall Bob\n")
    (scans / "README.md").write_text("# Scans\n")
    async with serve_fake() as fake:
        for _ in range(2):
            inputs = sorted(path.name for path in scans.iterdir())
            done = await run_command("run", *inputs, "-o", "out", "--api-url", fake.url)
            assert done.returncode == 0
            assert b"notes.txt: ignored: none of its 2 lines names an existing file" in done.stderr
            assert b"README.md: ignored: a text, and no manifest" in done.stderr
            assert b"ignored: 1 .md, 1 .txt" in done.stderr
        assert len(fake.calls) == 2
        quiet = await run_command("run", *inputs, "-o", "out", "--api-url", fake.url, "-q")
    assert (quiet.returncode, quiet.stderr) == (0, b"")
    assert failures(scans / "out") == []


async def test_the_workspace_within_an_input_is_not_ignored_files(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 1)
    async with serve_fake() as fake:
        for _ in range(2):
            summary = await run_here(scans, scans / "out", fake.url, budget={"ledger": str(tmp_path / "ledger")})
            assert (summary.exit_code, summary.pages, summary.ignored) == (0, 1, {})


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "JPEG2000", "AVIF", "PPM"])
async def test_a_page_of_any_format_needs_no_suffix(scans: Path, tmp_path: Path, image_format: str) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (120, 120), "navy").save(buffer, image_format)
    (scans / "page").write_bytes(buffer.getvalue())
    async with serve_fake() as fake:
        summary = await run_here(scans, tmp_path / "out", fake.url, prepare=PrepareConfig())
    assert (summary.totals[State.DONE], summary.ignored) == (1, {})
