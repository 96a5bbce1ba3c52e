"""Corrections that the workspace does not have, or has from others: a server that was away, pages that are gone."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import anyio.to_thread
import pytest
from playwright.async_api import Browser, Dialog, Page, expect

from pipeline.records import PageId, rfc3339
from pipeline.report.serving import Inbox, serving_report
from pipeline.workspace.lock import lock_workspace
from pipeline.workspace.result_lines import encode_record
from tests.corrections import correct, counts
from tests.report.correcting import download, edit, give_name, look_again, write_corrected
from tests.report.review_pages import build, open_report, page_record, plain_record, reading, write_review
from tests.runs import results
from tests.server.browser import PHONE_PX, visiting

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return write_corrected(tmp_path)


def texts(workspace: Path) -> Mapping[str, str]:
    """Return the last text of each source."""
    return {line["source"]: line["text"] for line in results(workspace)}


async def write(page: Page, text: str) -> None:
    """Correct the page that is open."""
    await page.get_by_role("button", name="Edit").click()
    await page.locator("#editor").fill(text)
    await page.locator("#editor").press("Control+Enter")


async def test_a_page_that_is_open_shows_what_another_person_saves(browser: Browser, out: Path) -> None:
    built = build(out, keeps_pages=True)
    async with serving_report(out, out / "report", built, 0) as url:
        origin = url.partition("/?")[0]
        async with visiting(browser, origin) as ada, visiting(browser, origin, PHONE_PX, is_dark=True) as other:
            for visit in (ada, other):
                await open_report(visit.page, f"{url}#source=b.png&page=1")
                await expect(visit.page.locator("#text")).to_have_text("b")
            await give_name(ada.page, "Ada")
            await other.page.get_by_role("button", name="Edit").click()
            await other.page.locator("#editor").fill("mine")
            await write(ada.page, "hers")
            await expect(ada.page.locator("#message")).to_have_text("Saved in the workspace.")
            await look_again(other.page)
            await expect(other.page.locator("#message")).to_contain_text("Ada corrected this at ")
            await other.page.locator("#editor").press("Control+Enter")
            await expect(other.page.locator("#message")).to_contain_text("Refused: Ada has reviewed it since")
            await expect(other.page.locator("#page-notes")).to_contain_text("Ada corrected this at ")
            listed = other.page.locator("#unsaved-list li")
            await expect(listed).to_contain_text("b.png, page 1: Ada has reviewed it since")
            await expect(other.page.locator("#others-text")).to_have_text("hers")
            assert texts(out)["b.png"] == "hers"
            assert await other.violations() == []
            await other.picture("review-refused-phone-dark")
            assert [line["text"] for line in await download(other.page, "Download these")] == ["mine"]
            await listed.get_by_role("button", name="Discard").press("Enter")
            await expect(other.page.locator("#text")).to_have_text("hers")
            await expect(other.page.locator("#unsaved")).to_be_hidden()
            await expect(other.page.get_by_label("Your name")).to_be_focused()
            await write(other.page, "hers and mine")
            await expect(other.page.locator("#message")).to_have_text("Saved in the workspace.")
            await look_again(ada.page)
            await expect(ada.page.locator("#text")).to_have_text("hers and mine")
            await expect(ada.page.locator("#page-facts")).to_contain_text("13 characters · corrected")
            await expect(ada.page.locator("#message")).to_contain_text("Reviewer ")
            assert await ada.violations() == []
            await ada.picture("review-corrected-by-another")


async def test_a_report_that_is_opened_later_and_a_command_beside_it_are_followed_too(
    browser: Browser, out: Path
) -> None:
    """A search finds the new text, and a page that had failed has one."""
    built = build(out, keeps_pages=True)
    async with (
        serving_report(out, out / "report", built, 0) as url,
        visiting(browser, url.partition("/?")[0]) as visit,
    ):
        line = {"source": "c.tif", "page": 1, "text": "read by a person", "by": "Ada", "checked": True}
        await anyio.to_thread.run_sync(lambda: correct(out, line))
        page = visit.page
        visit.is_error_expected = True  # it has no picture
        await open_report(page, f"{url}#source=c.tif&page=1")
        await expect(page.locator("#text")).to_have_text("read by a person")
        await expect(page.locator("#page-notes")).to_contain_text("Ada corrected this")
        await expect(page.locator("#filter option[value=failed]")).to_have_text("Failed (0)")
        await page.locator("#search").fill("by a person")
        await expect(page.locator(".option mark")).to_have_text("by a person")


async def test_what_was_corrected_while_the_server_was_away_is_sent_when_it_is_back(
    browser: Browser, out: Path
) -> None:
    """One after another; what is refused says why, and is not sent again."""
    built = build(out, keeps_pages=True)
    async with serving_report(out, out / "report", built, 0) as url:
        port = urlsplit(url).port
        assert port
    origin = f"http://127.0.0.1:{port}"
    async with visiting(browser, origin) as visit:
        page = visit.page
        async with serving_report(out, out / "report", built, port) as url:
            await open_report(page, f"{url}#source=b.png&page=1")
            await expect(page.locator("#text")).to_have_text("b")
        for name in ("b.png", "a.png", "c.tif"):
            await edit(page, name, f"{name} by me")
            await expect(page.locator("#message")).to_contain_text("the server does not answer")
        await expect(page.locator("#corrections-count")).to_have_text("3 corrections, 3 not downloaded")
        await page.locator("#unsaved-summary").press("Enter")
        await expect(page.locator("#unsaved-list li")).to_have_count(3)
        await expect(page.locator("#unsaved-list")).to_contain_text("not sent: the server does not answer")
        line = {"source": "b.png", "page": 1, "text": "hers", "by": "Ada"}
        await anyio.to_thread.run_sync(lambda: correct(out, line))
        built = build(out, keeps_pages=True)
        page.on("dialog", lambda dialog: dialog.accept())
        async with serving_report(out, out / "report", built, port) as url:
            await open_report(page, url)
            await expect(page.locator("#message")).to_have_text("Corrections: 2 saved, 1 refused.")
            await expect(page.locator("#unsaved-list li")).to_contain_text("b.png, page 1: Ada has reviewed it later")
            await page.get_by_role("link", name="b.png, page 1").click()
            await expect(page.locator("#text")).to_have_text("b.png by me")
            await expect(page.locator("#others-text")).to_have_text("hers")
            assert texts(out) == {"a.png": "a.png by me", "b.png": "hers", "c.tif": "c.tif by me"}
            await open_report(page, f"{origin}/?again#pages")
            await expect(page.locator("#unsaved-list li")).to_have_count(1)
            await look_again(page)
            refused = out / "report/refused-corrections.jsonl"
            assert refused.read_bytes().count(b"\n") == 1
        visit.complaints = [text for text in visit.complaints if "ERR_CONNECTION_REFUSED" not in text]


async def test_what_the_server_keeps_for_the_end_of_a_run_is_settled_then(browser: Browser, out: Path) -> None:
    built = build(out, keeps_pages=True)
    async with (
        serving_report(out, out / "report", built, 0) as url,
        visiting(browser, url.partition("/?")[0]) as visit,
    ):
        page = visit.page
        await open_report(page, f"{url}#source=b.png&page=1")
        await expect(page.locator("#text")).to_have_text("b")
        with lock_workspace(out):
            await write(page, "mine")
            await expect(page.locator("#corrections-count")).to_have_text(
                "1 correction kept by the server until the run ends"
            )
        await page.reload()
        await expect(page.locator("#message")).to_have_text("Saved in the workspace.")
        await expect(page.locator("#unsaved")).to_be_hidden()
    assert texts(out)["b.png"] == "mine"


async def test_what_is_refused_at_the_end_of_a_run_is_told_to_the_page_that_is_open(
    browser: Browser, out: Path
) -> None:
    """Two people have corrected one page during the run."""
    built = build(out, keeps_pages=True)
    inbox = Inbox(out, out / "report")
    hers = {"source": "b.png", "page": 1, "text": "hers", "by": "Ada", "at": rfc3339(datetime.now(UTC))}
    async with (
        serving_report(out, out / "report", built, 0) as url,
        visiting(browser, url.partition("/?")[0]) as visit,
    ):
        page = visit.page
        await open_report(page, f"{url}#source=b.png&page=1")
        await expect(page.locator("#text")).to_have_text("b")
        with lock_workspace(out):
            await anyio.to_thread.run_sync(lambda: inbox.add(json.dumps(hers).encode()))
            await write(page, "mine")
            await expect(page.locator("#message")).to_contain_text("Kept by the server")
            await look_again(page)
            await expect(page.locator("#corrections-count")).to_contain_text("until the run ends")
        await anyio.to_thread.run_sync(inbox.fold)
        await look_again(page)
        await expect(page.locator("#message")).to_contain_text("Refused: Ada has reviewed it since")
        await expect(page.locator("#unsaved-list li")).to_contain_text("b.png, page 1: Ada has reviewed it since")
        await expect(page.locator("#others-text")).to_have_text("hers")
    assert texts(out)["b.png"] == "hers"


async def test_corrections_of_pages_that_are_gone_are_listed_and_not_counted(
    browser: Browser, out: Path, tmp_path: Path
) -> None:
    async def accept(dialog: Dialog) -> None:
        await dialog.accept()

    async with reading(browser, out / "report") as visit:
        page = visit.page
        page.on("dialog", accept)
        for name in ("b.png", "c.tif", "a.png"):
            await edit(page, name, f"{name} by me")
        (out / "failures.jsonl").unlink()
        (out / "index.sqlite3").unlink(missing_ok=True)
        write_review(tmp_path, [page_record("a.png", ["Dear Sir,"])])
        build(out)
        await page.reload()
        await expect(page.locator("#corrections-count")).to_have_text("1 correction, 1 not downloaded")
        await expect(page.locator("#unsaved-summary")).to_have_text("2 cannot be applied")
        items = page.locator("#unsaved-list li")
        await expect(items.filter(has_text="b.png")).to_contain_text("the report has no such page any more")
        assert await visit.violations() == []
        lines = await download(page, "Download these")
        assert {line["source"] for line in lines} == {"b.png", "c.tif"}
        await page.get_by_role("button", name="Discard all of these").click()
        await expect(page.locator("#unsaved-summary")).to_have_text("List them")
        assert [line["source"] for line in await download(page)] == ["a.png"]


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
        await expect(page.locator("#unsaved-list li")).to_contain_text(
            "b.png, page 1: its file has another content now"
        )
        lines = await download(page, "Download these")
        assert [(line["id"], line["text"]) for line in lines] == [(record.id, "other")]


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
