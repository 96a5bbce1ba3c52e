"""The pictures of the report in a real browser: where lines are in them, and what is said of those that are gone."""

from pathlib import Path

import anyio.to_thread
import pytest
from PIL import ExifTags, Image
from playwright.async_api import Browser, expect

from pipeline.report.serving import serving_report
from tests.fakes import serve_fake
from tests.pages import write_page
from tests.report.review_pages import (
    build,
    open_report,
    page_record,
    reading,
    write_review,
    write_scan,
)
from tests.runs import run_here
from tests.server.browser import Visit, visiting

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_picture_that_is_gone_is_said_to_be(browser: Browser, tmp_path: Path) -> None:
    write_scan(tmp_path / "scans/a.png", ["a"])
    (tmp_path / "scans/broken.png").write_bytes(b"no image")
    Image.new("L", (40, 30)).save(tmp_path / "scans/c.tif")
    records = [page_record("a.png", ["a"]), page_record("broken.png", ["b"]), page_record("c.tif", ["c"])]
    out = write_review(tmp_path, records)
    build(out)
    (tmp_path / "scans/a.png").unlink()
    async with reading(browser, out / "report") as visit:
        note = visit.page.locator("#picture-note")
        visit.is_error_expected = True
        for name in ("a.png", "broken.png"):
            await visit.page.locator(".option", has_text=name).click()
            await expect(note).to_contain_text("The picture cannot be shown")
            await expect(visit.page.locator("#viewer")).to_be_hidden()
            await expect(visit.page.locator("#text")).to_be_visible()
        await visit.page.locator(".option", has_text="c.tif").click()
        await expect(note).to_contain_text("--images convert")
        visit.complaints = [text for text in visit.complaints if "ERR_FILE_NOT_FOUND" not in text]


async def test_thumbnails_are_in_the_list(browser: Browser, tmp_path: Path) -> None:
    write_page(tmp_path / "scans/a.png", 1)
    out = tmp_path / "out"
    async with serve_fake() as fake:
        await run_here(tmp_path / "scans", out, fake.url)
    await anyio.to_thread.run_sync(lambda: build(out, thumbnails=True))
    async with reading(browser, out / "report") as visit:
        thumbnail = visit.page.locator(".option img")
        await expect(thumbnail).to_be_visible()
        assert await thumbnail.evaluate("image => image.decode().then(() => image.naturalWidth)") == 120
        assert await visit.violations() == []


async def test_a_picture_of_another_orientation_has_its_lines_where_they_are(browser: Browser, tmp_path: Path) -> None:
    """From disk and from the report's server: browsers turn pictures of other origins whatever the style says."""
    name = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    (tmp_path / "scans").mkdir()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # stored lying on its side
    Image.new("RGB", (400, 600), "white").save(tmp_path / "scans" / name, exif=exif)
    out = write_review(tmp_path, [page_record(name, ["line"])])
    built = build(out, keeps_pages=True)

    async def check(visit: Visit) -> None:
        outline, picture = visit.page.locator("#viewer polygon"), visit.page.locator(".sheet img")
        await expect(outline).to_have_count(1)
        box, around = await outline.bounding_box(), await picture.bounding_box()
        assert box
        assert around
        assert around["width"] / around["height"] == pytest.approx(1.5, abs=0.02)
        assert (box["x"] - around["x"]) / around["width"] == pytest.approx(40 / 600, abs=0.01)

    address = "source_b64=Y2Fm6S5qcGc%3D&page=1"
    async with reading(browser, out / "report", hash_=address) as visit:
        await check(visit)
    async with (
        serving_report(out, out / "report", built, 0) as url,
        visiting(browser, url.partition("/?")[0]) as visit,
    ):
        await open_report(visit.page, f"{url}#{address}")
        await check(visit)
