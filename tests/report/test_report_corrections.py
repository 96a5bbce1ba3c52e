"""Corrections in the report: kept in the browser, downloaded, folded in, and then shown as the text."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
from playwright.async_api import Browser, Dialog, Page, expect

from pipeline.records import PageId, rfc3339
from pipeline.workspace.failure_lines import encode_failure
from pipeline.workspace.result_lines import encode_record
from tests.corrections import correct, counts
from tests.report.review_pages import (
    build,
    failure,
    open_report,
    page_record,
    plain_record,
    reading,
    write_review,
    write_scan,
)
from tests.runs import results

pytestmark = pytest.mark.asyncio(loop_scope="module")

LINES = ["Dear Sir,", "the fery leaves at noon.", "中文的信"]
FIXED = "Dear Sir,\nthe ferry leaves at noon.\n中文的信"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    write_scan(tmp_path / "scans/a.png", LINES)
    out = write_review(
        tmp_path, [page_record("a.png", LINES, score=0.5), plain_record("b.png", "b")], [failure("c.tif")]
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


async def download(page: Page) -> list[dict[str, Any]]:
    """Download the corrections, and return them."""
    async with page.expect_download() as info:
        await page.get_by_role("button", name="Download corrections").click()
    found = await info.value
    assert found.suggested_filename.startswith("corrections-")
    return [json.loads(line) for line in (await found.path()).read_text("utf-8").splitlines()]


async def test_corrections_are_downloaded_as_pagemill_correct_reads_them(browser: Browser, out: Path) -> None:
    async with reading(browser, out / "report") as visit:
        page = visit.page
        await edit(page, "a.png", FIXED)
        await edit(page, "c.tif", "read by a person")
        await page.locator(".option", has_text="b.png").click()
        await expect(page.locator("#text")).to_have_text("b")
        await page.keyboard.press("c")
        await expect(page.locator("#corrections-count")).to_have_text("3 corrections, 3 not downloaded")
        lines = await download(page)
        await expect(page.locator("#corrections-count")).to_have_text("3 corrections in a file, not folded in yet")
    by_source = {line["source"]: line for line in lines}
    record = next(line for line in results(out) if line["source"] == "a.png")
    correction = by_source["a.png"]
    assert datetime.fromisoformat(correction.pop("at")).tzinfo is not None
    assert correction == {
        "source": "a.png",
        "page": 1,
        "id": record["id"],
        "text": FIXED,
        "lines": FIXED.split("\n"),
        "checked": False,
        "base": record["added"],
    }
    assert "text" not in by_source["b.png"]
    assert by_source["b.png"]["checked"] is True
    earlier = correction | {"at": "2000-01-01T00:00:00Z"}
    folded, refusals = await anyio.to_thread.run_sync(lambda: correct(out, *lines, earlier))
    assert (counts(folded), refusals) == ({"corrected": 1, "checked": 1, "transcribed": 1, "superseded": 1}, [])


async def test_corrections_survive_a_reload_until_the_report_has_them(browser: Browser, out: Path) -> None:
    async with reading(browser, out / "report") as visit:
        page = visit.page
        await edit(page, "a.png", FIXED)
        await page.keyboard.press("c")
        await page.reload()
        await expect(page.locator("#corrections-count")).to_have_text("1 correction, 1 not downloaded")
        await expect(page.locator("#text")).to_have_text(FIXED)
        await expect(page.locator(".option", has_text="a.png").locator(".labels")).to_have_text("correctedchecked")
        await expect(page.locator("#filter option[value=doubt]")).to_have_text("In doubt (0)")
        downloaded = await download(page)
        await anyio.to_thread.run_sync(lambda: correct(out, *downloaded))
        build(out)
        await page.reload()
        await page.locator("body[data-loaded=texts]").wait_for()
        await expect(page.locator("#corrections")).to_be_hidden()
        assert await page.evaluate("Object.keys(localStorage).length") == 0
        lines = page.locator("#lines")
        await expect(lines.get_by_role("option", name="the ferry leaves at noon.")).to_be_visible()
        await expect(page.locator("#page-notes")).to_contain_text("Reviewed 20")
        await expect(page.get_by_role("button", name="Checked")).to_have_attribute("aria-pressed", "true")
        await page.get_by_text("Original text").click()
        await expect(page.locator("#original-text")).to_have_text("\n".join(LINES))


async def test_nothing_is_offered_that_would_be_refused(browser: Browser, out: Path) -> None:
    with (out / "failures.jsonl").open("ab") as file:
        file.write(encode_failure(replace(failure("unread.png"), id=None)))
    build(out)
    async with reading(browser, out / "report") as visit:
        page = visit.page
        edit_button, check = (page.get_by_role("button", name=name) for name in ("Edit", "Checked"))
        await page.locator(".option", has_text="unread.png").click()
        await expect(edit_button).to_be_disabled()
        await expect(check).to_be_disabled()
        await page.locator(".option", has_text="c.tif").click()
        await expect(edit_button).to_be_enabled()
        await expect(check).to_be_disabled()
        await page.keyboard.press("c")
        await expect(page.locator("#corrections")).to_be_hidden()
        await edit(page, "c.tif", "read by a person")
        await expect(check).to_be_enabled()


async def test_the_line_of_the_caret_is_marked_and_enlarged(browser: Browser, out: Path) -> None:
    async with reading(browser, out / "report") as visit:
        page = visit.page
        await page.locator(".option", has_text="a.png").click()
        await expect(page.locator("#viewer polygon")).to_have_count(3)
        await page.keyboard.press("e")
        marked = page.locator("#viewer polygon.marked")
        await expect(marked).to_have_attribute("data-line", "0")
        await page.keyboard.press("ArrowDown")
        await expect(marked).to_have_attribute("data-line", "1")
        await expect(page.locator(".loupe")).to_have_class("loupe shown")
        await page.keyboard.press("Escape")
        await expect(page.locator("#editor")).to_be_hidden()
        await expect(page.get_by_role("button", name="Edit")).to_be_focused()


async def test_an_edit_is_kept_when_another_page_is_opened(browser: Browser, out: Path) -> None:
    async with reading(browser, out / "report") as visit:
        page = visit.page
        await page.locator(".option", has_text="b.png").click()
        await page.get_by_role("button", name="Edit").click()
        await page.locator("#editor").fill("written")
        await page.locator(".option", has_text="a.png").click()
        await expect(page.locator("#page-name")).to_have_text("a.png")
        await page.locator(".option", has_text="b.png").click()
        await expect(page.locator("#text")).to_have_text("written")
        await page.get_by_role("button", name="Undo my correction").click()
        await expect(page.locator("#text")).to_have_text("b")
        await expect(page.locator("#corrections")).to_be_hidden()


async def test_a_text_that_is_as_it_was_is_no_correction(browser: Browser, out: Path) -> None:
    async with reading(browser, out / "report") as visit:
        page = visit.page
        await edit(page, "b.png", "other")
        await expect(page.locator("#corrections")).to_be_visible()
        await edit(page, "b.png", "b")
        await expect(page.locator("#corrections")).to_be_hidden()
        await page.keyboard.press("c")
        await page.keyboard.press("c")
        await expect(page.locator("#corrections")).to_be_hidden()


async def test_a_page_is_not_left_with_corrections_that_are_nowhere_else(browser: Browser, out: Path) -> None:
    asked: list[str] = []

    async def stay(dialog: Dialog) -> None:
        asked.append(dialog.type)
        await dialog.dismiss()

    async with reading(browser, out / "report") as visit:
        page = visit.page
        page.on("dialog", stay)
        await edit(page, "b.png", "other")
        async with page.expect_event("dialog"):
            await page.close(run_before_unload=True)
        assert asked == ["beforeunload"]
        await download(page)
        async with page.expect_event("close"):
            await page.close(run_before_unload=True)


async def test_a_browser_that_keeps_nothing_is_warned_of(browser: Browser, out: Path) -> None:
    async with reading(browser, out / "report") as visit:
        page = visit.page
        await page.evaluate("() => { Storage.prototype.setItem = () => { throw new Error('full'); }; }")
        await edit(page, "b.png", "other")
        await expect(page.get_by_role("alert")).to_have_text(
            "This browser cannot keep corrections: download them before you close the page."
        )
        assert [line["text"] for line in await download(page)] == ["other"]
        await expect(page.get_by_role("alert")).to_be_hidden()


async def test_a_correction_of_the_former_content_of_a_file_is_not_shown_as_the_text_of_the_new_one(
    browser: Browser, out: Path
) -> None:
    async with reading(browser, out / "report") as visit:
        page = visit.page
        await edit(page, "b.png", "other")
        record = plain_record("b.png", "new")
        another = replace(record, id=PageId(f"sha256:{'1' * 64}#1"), added="2026-11-30T10:00:00.000000Z")
        with (out / "results.jsonl").open("ab") as file:
            file.write(encode_record(another))
        build(out)
        await page.reload()
        await page.locator(".option", has_text="b.png").click()
        await expect(page.locator("#text")).to_have_text("new")
        await expect(page.locator("#page-facts")).to_have_text("3 characters")
        await expect(page.locator("#page-notes")).to_contain_text("of the content that the file had before")
        assert [(line["id"], line["text"]) for line in await download(page)] == [(record.id, "other")]


@pytest.mark.parametrize("is_saved", [False, True], ids=["downloaded", "saved"])
async def test_a_later_correction_is_not_hidden_by_a_delivered_one(
    browser: Browser, out: Path, *, is_saved: bool
) -> None:
    async with reading(browser, out / "report") as visit:
        page = visit.page
        await edit(page, "b.png", "other")
        (line,) = await download(page)
        await anyio.to_thread.run_sync(
            lambda: correct(out, line, line | {"text": "later", "at": rfc3339(datetime.now(UTC))})
        )
        build(out)
        if is_saved:
            key, kept = (await page.evaluate("Object.entries(localStorage)"))[0]
            saved = json.loads(kept) | {"isSaved": True, "at": "2999-01-01T00:00:00Z"}
            await page.evaluate("([key, kept]) => localStorage.setItem(key, kept)", [key, json.dumps(saved)])
        await page.reload()
        await page.locator(".option", has_text="b.png").click()
        await expect(page.locator("#text")).to_have_text("later")
        await expect(page.locator("#corrections")).to_be_hidden()


async def test_a_delivered_correction_that_is_taken_back_is_delivered_again(browser: Browser, out: Path) -> None:
    async with reading(browser, out / "report") as visit:
        page = visit.page
        await edit(page, "b.png", "other")
        first = await download(page)
        await edit(page, "b.png", "third")
        await edit(page, "b.png", "b")
        await page.reload()
        await expect(page.locator("#corrections-count")).to_have_text("1 correction, 1 not downloaded")
        second = await download(page)
    folded, refusals = await anyio.to_thread.run_sync(lambda: correct(out, *first))
    assert (counts(folded), refusals) == ({"corrected": 1}, [])
    folded, refusals = await anyio.to_thread.run_sync(lambda: correct(out, *second))
    assert (counts(folded), refusals) == ({"restored": 1}, [])


async def test_what_the_browser_had_no_space_for_outlives_another_tabs_change(browser: Browser, out: Path) -> None:
    async with reading(browser, out / "report") as visit:
        page = visit.page
        await page.evaluate("() => { Storage.prototype.setItem = () => { throw new Error('full'); }; }")
        await edit(page, "b.png", "other")
        await page.evaluate("window.dispatchEvent(new StorageEvent('storage', { key: null }))")
        assert [line["text"] for line in await download(page)] == ["other"]


async def test_a_correction_in_another_tab_is_shown_in_this_one(browser: Browser, out: Path) -> None:
    async with reading(browser, out / "report") as visit:
        other = await visit.page.context.new_page()
        await open_report(other, visit.page.url)
        await other.locator(".option", has_text="b.png").click()
        await expect(other.locator("#text")).to_have_text("b")
        await edit(visit.page, "b.png", "other")
        await expect(other.locator("#text")).to_have_text("other")
        await expect(other.locator(".option", has_text="b.png").locator(".labels")).to_have_text("corrected")
        await visit.page.get_by_role("button", name="Undo my correction").click()
        await expect(other.locator("#text")).to_have_text("b")
        await expect(other.locator("#filter option[value=corrected]")).to_have_text("Corrected (0)")


async def test_corrections_of_another_workspace_are_not_shown(browser: Browser, out: Path, tmp_path: Path) -> None:
    other = write_review(tmp_path, [plain_record("b.png", "b")], name="other")
    run_file = other / "run.json"
    run_file.write_text(run_file.read_text().replace("0123456789abcdef", "fedcba9876543210"))
    build(other)
    async with reading(browser, out / "report") as visit:
        await edit(visit.page, "b.png", "changed")
        await visit.page.goto((other / "report/index.html").as_uri())
        await visit.page.locator("body[data-loaded=texts]").wait_for()
        await expect(visit.page.locator("#corrections")).to_be_hidden()


async def test_a_correction_that_was_downloaded_is_undone_by_another(browser: Browser, out: Path) -> None:
    async with reading(browser, out / "report") as visit:
        page = visit.page
        await edit(page, "b.png", "other")
        first = await download(page)
        await expect(page.get_by_role("button", name="Undo my correction")).to_be_hidden()
        await edit(page, "b.png", "b")
        second = await download(page)
        assert [line["text"] for line in (*first, *second)] == ["other", "b"]
        await anyio.to_thread.run_sync(lambda: correct(out, *first, *second))
    assert next(line for line in reversed(results(out)) if line["source"] == "b.png")["text"] == "b"
