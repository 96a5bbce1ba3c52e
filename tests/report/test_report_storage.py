"""What the browser keeps of a person's corrections, when there is much of it or no space for more."""

from collections import Counter
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from pipeline.report import data_files
from tests.report.review_pages import build, open_report, plain_record, reading, write_review
from tests.server.browser import visiting

pytestmark = pytest.mark.asyncio(loop_scope="module")

FILL = """() => {
  for (let [size, count] = [2 ** 22, 0]; size >= 1; ) {
    try { localStorage.setItem(`of another page ${count}`, "x".repeat(size)); count += 1; } catch { size = size >> 1; }
  }
  for (let name = "y"; ; name += "y") try { localStorage.setItem(name, ""); } catch { return; }
}"""
"""Uses up the space of a browser's storage, to the last character."""


async def test_corrections_are_found_in_a_storage_that_is_full(browser: Browser, tmp_path: Path) -> None:
    """Pages on disk share it in chromium."""
    out = write_review(tmp_path, [plain_record("a.png", "a"), plain_record("b.png", "b")])
    build(out)
    async with reading(browser, out / "report", hash_="source=a.png&page=1") as visit:
        page = visit.page
        await expect(page.locator("#text")).to_have_text("a")
        await page.keyboard.press("c")
        await expect(page.locator("#corrections-count")).to_have_text("1 correction, 1 not downloaded")
        await page.evaluate(FILL)
        await page.reload()
        await expect(page.locator("#corrections-count")).to_have_text("1 correction, 1 not downloaded")
        await page.locator(".option", has_text="b.png").click()
        await expect(page.locator("#text")).to_have_text("b")
        await page.keyboard.press("c")
        await expect(page.get_by_role("alert")).to_contain_text("cannot keep corrections")


async def test_many_corrections_load_each_data_file_once(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However they are ordered in the storage: the page keeps some data files only."""
    names = [f"{number}.pdf" for number in range(40)]
    out = write_review(tmp_path, (plain_record(name, "text", page) for name in names for page in (1, 2)))
    monkeypatch.setattr(data_files, "_FILE_BYTES", 500)
    build(out)
    async with visiting(browser, "file://") as visit:
        page = visit.page
        await open_report(page, f"{(out / 'report/index.html').as_uri()}#pages")
        for number in (1, 2):
            for name in names:
                await page.evaluate(f"location.hash = 'source={name}&page={number}'")
                await expect(page.locator("#page-facts")).to_contain_text(f"page {number}")
                await expect(page.locator("#page-name")).to_have_text(name)
                await page.locator("#page:not([aria-busy])").wait_for()
                await page.keyboard.press("c")
        await expect(page.locator("#corrections-count")).to_contain_text("80 corrections")
        visit.requests.clear()
        await page.reload()
        await expect(page.locator("#corrections-count")).to_contain_text("80 corrections")
        loads = Counter(url for url in visit.requests if "/details-" in url)
        assert len(loads) > 24
        assert set(loads.values()) == {1}
