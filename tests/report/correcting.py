"""Corrections in a browser, for tests of the report."""

import json
from pathlib import Path
from typing import Any

from playwright.async_api import Page, expect

from tests.report.review_pages import build, failure, page_record, plain_record, write_review, write_scan

LINES = ["Dear Sir,", "the fery leaves at noon.", "中文的信"]
FIXED = "Dear Sir,\nthe ferry leaves at noon.\n中文的信"


def write_corrected(directory: Path) -> Path:
    """Write a workspace with its report: a page with lines, one without, and one that failed; return the former."""
    write_scan(directory / "scans/a.png", LINES)
    out = write_review(
        directory, [page_record("a.png", LINES, score=0.5), plain_record("b.png", "b")], [failure("c.tif")]
    )
    build(out)
    return out


async def edit(page: Page, name: str, text: str) -> None:
    """Write the text of a page."""
    await page.locator(".option", has_text=name).click()
    await expect(page.locator("#page-name")).to_have_text(name)
    await page.get_by_role("button", name="Edit").click()
    await page.locator("#editor").fill(text)
    await page.locator("#editor").press("Control+Enter")


async def download(page: Page, button: str = "Download corrections") -> list[dict[str, Any]]:
    """Download corrections, and return them."""
    async with page.expect_download() as info:
        await page.get_by_role("button", name=button).click()
    found = await info.value
    assert found.suggested_filename.startswith("corrections-")
    return [json.loads(line) for line in (await found.path()).read_text("utf-8").splitlines()]


async def give_name(page: Page, name: str) -> None:
    """Say who corrects in a browser."""
    field = page.get_by_label("Your name")
    await field.fill(name)
    await field.press("Enter")


async def look_again(page: Page) -> None:
    """Let a page come into view, so that it asks its server at once."""
    await page.evaluate("window.dispatchEvent(new Event('focus'))")
