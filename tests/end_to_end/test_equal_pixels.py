"""`--dedup pixels`: pages whose decoded pixels are equal are one call; only equal ones, whatever the run meets."""

import asyncio
import io
import os
import shutil
from pathlib import Path
from random import Random
from typing import Any

import pytest
from PIL import Image

from pipeline.records import State
from tests.archives import write_tar, write_zip
from tests.end_to_end.test_plan import plan_here
from tests.fakes import accept_when, serve_fake
from tests.runs import results, run_command, run_here

PIXELS: dict[str, Any] = {"dedup": "pixels"}


def noise(seed: int, mode: str = "L", size_px: tuple[int, int] = (120, 160)) -> Image.Image:
    """Return an image whose pixels depend on the seed."""
    length = size_px[0] * size_px[1] * len(Image.new(mode, (1, 1)).getbands())
    return Image.frombytes(mode, size_px, Random(seed).randbytes(length))


def write_tree(scans: Path) -> None:
    """Write 6 pages that need a call with equal pixels found, and 10 without."""
    grey, colour = noise(1), noise(2, "RGB")
    grey.save(scans / "a.png")
    grey.convert("RGB").save(scans / "b.png")
    grey.save(scans / "c.tif", compression="tiff_lzw")
    colour.save(scans / "d.png", compress_level=1)
    colour.convert("RGBA").save(scans / "e.png")
    turned = colour.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(scans / "f.png", exif=exif)
    noise(3).save(scans / "g.png")
    noise(4, size_px=(160, 120)).save(scans / "h.png")
    frames = [noise(1), noise(5)]
    frames[0].save(scans / "i.tif", save_all=True, append_images=frames[1:])
    shutil.copy(scans / "b.png", scans / "z.png")


async def verify(out: Path) -> None:
    done = await run_command("verify", out)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("jobs", [1, 8])
@pytest.mark.parametrize("done", [0, 1, 3])
async def test_equal_pages_are_one_call(scans: Path, tmp_path: Path, jobs: int, done: int) -> None:
    """Also those of another format, orientation or mode, before and after an interruption; the plan says so."""
    out = tmp_path / "out"
    write_tree(scans)
    async with serve_fake() as fake:
        if done:
            await run_here(scans, out, fake.url, prepare=PIXELS, run={"jobs": jobs, "max_calls": done})
        before = len(fake.calls)
        plan = await plan_here(scans, out, exact=True, prepare=PIXELS)
        by_headers = await plan_here(scans, out, prepare=PIXELS)
        summary = await run_here(scans, out, fake.url, prepare=PIXELS, run={"jobs": jobs})
        assert len(fake.calls) == 5
        assert plan.counts.calls == 5 - before <= by_headers.counts.calls
        assert (summary.totals[State.DONE], summary.totals[State.DUPLICATE], summary.pages) == (5, 6, 11)
        lines = results(out)
        texts = {line["source"] + str(line["page"]): line["text"] for line in lines}
        assert texts["a.png1"] == texts["b.png1"] == texts["c.tif1"] == texts["i.tif1"] == texts["z.png1"]
        assert texts["d.png1"] == texts["e.png1"] == texts["f.png1"]
        assert len(set(texts.values())) == 5
        sources = {line["source"] for line in lines if line["duplicate_of"] is None}
        assert all(line["duplicate_of"] in {None, *sources} for line in lines)
        await verify(out)
        again = await run_here(scans, out, fake.url, prepare=PIXELS)
        assert (len(fake.calls), again.settled, again.exit_code) == (5, 11, 0)


@pytest.mark.parametrize("is_lost", [False, True], ids=["index", "no-index"])
async def test_a_later_copy_finds_the_earlier_page(scans: Path, tmp_path: Path, *, is_lost: bool) -> None:
    """The first of its size was not decoded then; it is now, from its file, also after the index was lost."""
    out = tmp_path / "out"
    noise(1).save(scans / "a.png")
    async with serve_fake() as fake:
        await run_here(scans, out, fake.url, prepare=PIXELS)
        assert [line["pixels"] for line in results(out)] == ["120x160"]
        if is_lost:
            (out / "index.sqlite3").unlink()
        noise(1).save(scans / "b.bmp")
        noise(9).save(scans / "c.bmp")
        plan = await plan_here(scans, out, exact=True, prepare=PIXELS)
        await run_here(scans, out, fake.url, prepare=PIXELS)
        assert (len(fake.calls), plan.counts.calls) == (2, 1)
        assert {line["source"]: line["duplicate_of"] for line in results(out)} == {
            "a.png": None,
            "b.bmp": "a.png",
            "c.bmp": None,
        }
        await verify(out)


@pytest.mark.parametrize("change", ["gone", "changed"])
async def test_a_page_whose_file_is_not_what_it_was_equals_none(scans: Path, tmp_path: Path, change: str) -> None:
    out = tmp_path / "out"
    noise(1).save(scans / "a.png")
    async with serve_fake() as fake:
        await run_here(scans, out, fake.url, prepare=PIXELS)
        (scans / "a.png").unlink()
        if change == "changed":
            noise(2).save(scans / "a.png")
        noise(1).save(scans / "b.bmp")
        await run_here(scans / "b.bmp", out, fake.url, prepare=PIXELS)
        assert len(fake.calls) == 2
        await verify(out)


async def test_two_at_the_same_time_are_one_call(scans: Path, tmp_path: Path) -> None:
    """The second waits for the first; when that fails, both fail the same way."""
    out = tmp_path / "out"
    noise(1).save(scans / "a.png")
    noise(1).save(scans / "b.bmp")
    noise(1).save(scans / "c.webp", lossless=True)
    release = asyncio.Event()
    async with serve_fake(accept_when(release)) as fake:
        run = asyncio.create_task(run_here(scans, out, fake.url, prepare=PIXELS))
        await fake.wait_for_calls(1)
        release.set()
        summary = await run
        assert len(fake.calls) == 1
    assert (summary.totals[State.DONE], summary.totals[State.DUPLICATE]) == (1, 2)
    await verify(out)


async def test_what_the_service_might_see_otherwise_is_not_equal(scans: Path, tmp_path: Path) -> None:
    """White type on a transparent page, and 16 bits that differ below the eighth."""
    white = Image.new("RGBA", (120, 160), (255, 255, 255, 0))
    white.save(scans / "a.png")
    typed = white.copy()
    typed.paste((255, 255, 255, 255), (20, 20, 60, 60))
    typed.save(scans / "b.png")
    Image.new("RGB", (120, 160), "white").save(scans / "c.png")
    for number in (1, 2):
        Image.frombytes("I;16", (90, 160), (30000 + number).to_bytes(2, "little") * 90 * 160).save(
            scans / f"deep-{number}.png"
        )
    async with serve_fake() as fake:
        await run_here(scans, tmp_path / "out", fake.url, prepare=PIXELS)
        assert len(fake.calls) == 5


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
async def test_members_of_archives_are_compared(scans: Path, tmp_path: Path, kind: str) -> None:
    """Also those that are converted, and those of a compressed TAR, which has them at hand only once."""
    out, members = tmp_path / "out", {}
    for name, seed in (("1.png", 1), ("2.png", 2), ("3.bmp", 1)):
        buffer = io.BytesIO()
        noise(seed).save(buffer, Path(name).suffix[1:])
        members[name] = buffer.getvalue()
    if kind == "zip":
        write_zip(scans / "box.zip", members)
    else:
        write_tar(scans / f"box.{kind}", members, "w:gz" if kind == "tar.gz" else "w")
    noise(2).save(scans / "z.bmp")
    async with serve_fake() as fake:
        plan = await plan_here(scans, out, exact=True, prepare=PIXELS)
        await run_here(scans, out, fake.url, prepare=PIXELS)
        assert len(fake.calls) == plan.counts.calls == 2
    await verify(out)


async def test_a_damaged_copy_is_not_equal(scans: Path, tmp_path: Path) -> None:
    """A JPEG that was cut off has the same first rows."""
    out = tmp_path / "out"
    noise(1).save(scans / "a.jpg")
    content = (scans / "a.jpg").read_bytes()
    (scans / "b.jpg").write_bytes(content[: len(content) // 2] + b"\xff\xd9")
    (scans / "c.jpg").write_bytes(content[:2] + b"\xff\xfe\x00\x04no" + content[2:])
    os.utime(scans / "b.jpg", (1, 1))
    async with serve_fake() as fake:
        summary = await run_here(scans, out, fake.url, prepare=PIXELS)
        assert summary.totals[State.DUPLICATE] == 1
        assert {line["source"]: line["duplicate_of"] for line in results(out)}["c.jpg"] == "a.jpg"
    await verify(out)


async def test_again_sends_each_picture_once(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    noise(1).save(scans / "a.png")
    noise(1).save(scans / "b.bmp")
    async with serve_fake() as fake:
        await run_here(scans, out, fake.url, prepare=PIXELS, run={"jobs": 1})
        await run_here(scans, out, fake.url, prepare=PIXELS, run={"jobs": 1}, again="*")
        assert len(fake.calls) == 2
    await verify(out)
