"""Keys in the report that are held, and those of an input method."""

from pathlib import Path

import pytest
from playwright.async_api import Browser, CDPSession, Page, expect

from tests.report.review_pages import build, plain_record, reading, write_review

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def report(tmp_path: Path) -> Path:
    out = write_review(tmp_path, [plain_record("a.png", "你好"), plain_record("b.png", "nine")])
    build(out)
    return out / "report"


async def hold(page: Page, key: str) -> None:
    """Press a key until it has repeated twice."""
    for _ in range(3):
        await page.keyboard.down(key)
    await page.keyboard.up(key)


async def compose(page: Page, letters: str) -> CDPSession:
    """Type letters that an input method has not turned into others yet."""
    session = await page.context.new_cdp_session(page)
    fields = {"text": letters, "selectionStart": len(letters), "selectionEnd": len(letters)}
    await session.send("Input.imeSetComposition", fields)
    return session


async def test_a_key_that_is_held_is_not_typed_into_the_field_that_it_opens(browser: Browser, report: Path) -> None:
    async with reading(browser, report, hash_="source=b.png&page=1") as visit:
        page = visit.page
        await expect(page.locator("#text")).to_have_text("nine")
        await hold(page, "e")
        await expect(page.locator("#editor")).to_have_value("nine")
        await page.keyboard.type("e")
        await expect(page.locator("#editor")).to_have_value("enine")
        await page.keyboard.press("Control+Enter")
        await hold(page, "/")
        await expect(page.locator("#search")).to_be_focused()
        await expect(page.locator("#search")).to_have_value("")


async def test_a_key_that_is_held_marks_a_page_once_and_goes_on_in_the_list(browser: Browser, report: Path) -> None:
    async with reading(browser, report) as visit:
        page = visit.page
        await hold(page, "j")
        await expect(page.locator("#page-name")).to_have_text("b.png")
        await expect(page.locator("#text")).to_have_text("nine")
        for _ in range(2):
            await page.keyboard.down("c")
        await page.keyboard.up("c")
        await expect(page.get_by_role("button", name="Checked")).to_have_attribute("aria-pressed", "true")


async def test_a_text_that_an_input_method_has_not_ended_is_not_saved(browser: Browser, report: Path) -> None:
    async with reading(browser, report, hash_="source=b.png&page=1") as visit:
        page = visit.page
        await expect(page.locator("#text")).to_have_text("nine")
        await page.keyboard.press("e")
        session = await compose(page, "jiu")
        await page.keyboard.press("Control+Enter")
        await expect(page.locator("#editor")).to_be_visible()
        await session.send("Input.insertText", {"text": "九"})
        await page.keyboard.press("Control+Enter")
        await expect(page.locator("#text")).to_have_text("九nine")


async def test_a_search_waits_for_the_end_of_an_input_method(browser: Browser, report: Path) -> None:
    async with reading(browser, report) as visit:
        page = visit.page
        await page.clock.install()
        await page.locator("#search").focus()
        session = await compose(page, "ni")
        await page.clock.run_for(1000)
        await expect(page.locator("#found")).to_have_text("2 pages")
        await session.send("Input.insertText", {"text": "你"})
        await page.clock.run_for(1000)
        await expect(page.locator("#found")).to_have_text("1 page of 2")
