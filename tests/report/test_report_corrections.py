"""Corrections in the report: kept in the browser, downloaded, folded in, and then shown as the text."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import anyio.to_thread
import pytest
from playwright.async_api import Browser, Dialog, expect

from pipeline.workspace.failure_lines import encode_failure
from tests.corrections import correct, counts
from tests.report.correcting import FIXED, LINES, download, edit, give_name, write_corrected
from tests.report.review_pages import WORKSPACE_ID, build, failure, reading
from tests.runs import results

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return write_corrected(tmp_path)


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
    assert correction.pop("by") == f"reviewer {correction.pop('browser')}"
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
        assert await page.evaluate("Object.keys(localStorage)") == [f"pagemill-reviewer {WORKSPACE_ID}"]
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


async def test_what_the_browser_had_no_space_for_outlives_another_tabs_change(browser: Browser, out: Path) -> None:
    async with reading(browser, out / "report") as visit:
        page = visit.page
        await page.evaluate("() => { Storage.prototype.setItem = () => { throw new Error('full'); }; }")
        await edit(page, "b.png", "other")
        await page.evaluate("window.dispatchEvent(new StorageEvent('storage', { key: null }))")
        assert [line["text"] for line in await download(page)] == ["other"]


async def test_of_two_browsers_the_seconds_conflict_is_refused_and_the_firsts_later_edit_is_taken(
    browser: Browser, out: Path
) -> None:
    """Also when the first person gives a name midway, and whatever the order in which the files arrive."""
    async with reading(browser, out / "report") as first, reading(browser, out / "report") as second:
        await edit(first.page, "b.png", "one")
        early = await download(first.page)
        await edit(second.page, "b.png", "two")
        conflict = await download(second.page)
        await give_name(first.page, "Ada")
        await edit(first.page, "b.png", "three")
        late = await download(first.page)
        await first.page.reload()
        await expect(first.page.get_by_label("Your name")).to_have_value("Ada")
        await expect(second.page.get_by_label("Your name")).to_have_value("")
    assert [line["by"] for line in (*early, *conflict, *late)] == [
        f"reviewer {early[0]['browser']}",
        f"reviewer {conflict[0]['browser']}",
        "Ada",
    ]
    answers = [await anyio.to_thread.run_sync(correct, out, *lines) for lines in (early, conflict, late, early)]
    assert [counts(folded) for folded, _ in answers] == [
        {"corrected": 1},
        {"refused": 1},
        {"corrected": 1},
        {"superseded": 1},
    ]
    assert f"reviewer {early[0]['browser']} has reviewed it since" in answers[1][1][0].reason
    assert results(out)[-1]["text"] == "three"


async def test_a_correction_that_was_refused_is_edited_once_more_over_the_other_persons_text(
    browser: Browser, out: Path
) -> None:
    """In the report that has the other person's, opened from disk."""
    async with reading(browser, out / "report") as visit:
        page = visit.page
        theirs = {"source": "b.png", "page": 1, "text": "hers", "by": "Ada", "at": "2020-03-01T10:00:00Z"}
        await edit(page, "b.png", "mine")
        mine = await download(page)
        answers = [await anyio.to_thread.run_sync(correct, out, line) for line in (theirs, *mine)]
        assert [counts(folded) for folded, _ in answers] == [{"corrected": 1}, {"refused": 1}]
        build(out)
        await page.reload()
        await edit(page, "b.png", "hers and mine")
        await expect(page.locator("#others-text")).to_have_text("hers")
        folded, _ = await anyio.to_thread.run_sync(correct, out, *await download(page))
    assert counts(folded) == {"corrected": 1}
    assert results(out)[-1]["text"] == "hers and mine"


async def test_a_name_that_is_given_later_is_that_of_the_corrections_that_have_not_left(
    browser: Browser, out: Path
) -> None:
    async with reading(browser, out / "report") as visit:
        page = visit.page
        await edit(page, "b.png", "one")
        await give_name(page, "  Ada ")
        await edit(page, "a.png", "two")
        await give_name(page, "Bo")
        await expect(page.locator("#reviewer-hint")).to_have_text("")
        lines = await download(page)
    assert {line["source"]: line["by"] for line in lines} == {"a.png": "Ada", "b.png": "Bo"}
