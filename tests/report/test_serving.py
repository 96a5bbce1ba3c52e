"""`report --serve`: corrections are on disk, then in the workspace, whatever holds it."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest
from PIL import Image
from playwright.async_api import Browser, expect

from pipeline.correct.folding import Folded, fold
from pipeline.report import serving as report_serving
from pipeline.report.build import ShownPage
from pipeline.report.serving import REFUSED, WAITING, Inbox, append_line, serving_report
from pipeline.workspace.lock import lock_workspace
from pipeline.workspace.result_lines import encode_record
from tests.fakes import serve_fake
from tests.pages import write_page
from tests.report.review_pages import build, open_report, page_record, plain_record, write_review, write_scan
from tests.runs import results, run_command, run_here
from tests.server.browser import visiting

pytestmark = pytest.mark.asyncio(loop_scope="module")

LINES = ["Dear Sir,", "the fery"]


def correction(text: str, **more: Any) -> bytes:
    return orjson.dumps({"source": "a.png", "page": 1, "text": text, **more})


def texts(workspace: Path) -> Mapping[str, str]:
    """Return the last text of each source."""
    return {line["source"]: line["text"] for line in results(workspace)}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    write_scan(tmp_path / "scans/a.png", LINES)
    out = write_review(tmp_path, [page_record("a.png", LINES), plain_record("b.png", "b")])
    build(out)
    return out


async def add(inbox: Inbox, line: bytes) -> dict[str, str]:
    """Add a correction in a thread, as the server does."""
    return await asyncio.get_running_loop().run_in_executor(None, inbox.add, line)


async def test_a_correction_is_in_the_workspace_at_once(out: Path) -> None:
    inbox = Inbox(out, out / "report")
    assert await add(inbox, correction("new")) == {"state": "saved", "reason": ""}
    assert texts(out)["a.png"] == "new"
    assert inbox.is_empty


async def test_a_correction_waits_for_the_end_of_a_run(out: Path) -> None:
    inbox = Inbox(out, out / "report")
    with lock_workspace(out):
        assert (await add(inbox, correction("first")))["state"] == "waiting"
        assert (await add(inbox, correction("second")))["state"] == "waiting"
    assert (out / "report" / WAITING).read_bytes().count(b"\n") == 2
    assert texts(out)["a.png"] == "\n".join(LINES)
    await asyncio.get_running_loop().run_in_executor(None, inbox.fold)
    assert texts(out)["a.png"] == "second"
    assert inbox.is_empty


async def test_a_correction_that_cannot_be_applied_is_refused_and_kept(out: Path) -> None:
    inbox = Inbox(out, out / "report")
    answer = await add(inbox, correction("new", base="2020-01-01T00:00:00Z"))
    assert answer["state"] == "refused"
    assert answer["reason"]
    assert b'"text":"new"' in (out / "report" / REFUSED).read_bytes()
    assert (await add(inbox, correction("newer")))["state"] == "saved"


async def test_what_the_same_person_has_corrected_later_is_not_said_to_be_saved(out: Path) -> None:
    """It was made in another browser while the server was away."""
    inbox = Inbox(out, out / "report")
    late = correction("laptop", by="Ada", browser="00c0ffee", at="2026-03-01T09:00:00Z")
    await add(inbox, correction("desk", by="Ada", browser="3f9a1c07", at="2026-03-01T10:00:00Z"))
    assert await add(inbox, late) == {"state": "refused", "reason": "the same person has reviewed it later"}
    assert texts(out)["a.png"] == "desk"
    assert (out / "report" / REFUSED).read_bytes() == late + b"\n"


async def test_a_correction_that_another_server_takes_meanwhile_is_not_lost(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two servers of one report: the second one's correction comes when the first has folded its own in."""
    second = Inbox(out, out / "report")
    added: list[asyncio.Future[dict[str, str]]] = []
    loop = asyncio.get_running_loop()

    def fold_and_be_overtaken(workspace: Path, *arguments: Any, **more: Any) -> Folded:
        folded = fold(workspace, *arguments, **more)
        monkeypatch.setattr(report_serving, "fold", fold)
        future = asyncio.run_coroutine_threadsafe(add(second, correction("b2", source="b.png")), loop)
        added.append(asyncio.wrap_future(future, loop=loop))
        with suppress(TimeoutError):  # it waits for this fold to end, or would be removed with the first one's line
            future.result(1)
        return folded

    monkeypatch.setattr(report_serving, "fold", fold_and_be_overtaken)
    assert (await add(Inbox(out, out / "report"), correction("a2")))["state"] == "saved"
    assert (await added[0])["state"] == "saved"
    assert texts(out) == {"a.png": "a2", "b.png": "b2"}


async def test_a_line_that_was_cut_short_does_not_spoil_the_next_one(out: Path) -> None:
    (out / "report" / WAITING).write_bytes(b'{"source":"b.png","pa')
    assert (await add(Inbox(out, out / "report"), correction("new")))["state"] == "saved"
    assert texts(out)["a.png"] == "new"


async def test_a_folder_that_cannot_be_written_for_a_while_does_not_end_what_folds_in_later(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_serving, "_RETRY_S", 0.01)
    failed, folded = asyncio.Event(), asyncio.Event()
    fold_in, loop = Inbox.fold, asyncio.get_running_loop()

    def fold_and_tell(inbox: Inbox) -> list[tuple[bytes, str]]:
        try:
            refused = fold_in(inbox)
        except Exception:
            loop.call_soon_threadsafe(failed.set)
            raise
        loop.call_soon_threadsafe(folded.set)
        return refused

    monkeypatch.setattr(Inbox, "fold", fold_and_tell)
    built = build(out, keeps_pages=True)
    (out / "report" / REFUSED).mkdir()
    append_line(out / "report" / WAITING, correction("new", base="2020-01-01T00:00:00Z"))
    async with serving_report(out, out / "report", built, 0):
        await asyncio.wait_for(failed.wait(), 20)
        (out / "report" / REFUSED).rmdir()
        await asyncio.wait_for(folded.wait(), 20)
    assert b'"text":"new"' in (out / "report" / REFUSED).read_bytes()


async def test_corrections_wait_for_the_workspace_of_their_report(out: Path, tmp_path: Path) -> None:
    other = write_review(tmp_path, [page_record("a.png", LINES)], name="other")
    run_file = other / "run.json"
    run_file.write_text(run_file.read_text().replace("0123456789abcdef", "fedcba9876543210"))
    (out / "report" / WAITING).write_bytes(correction("new") + b"\n")
    assert (await run_command("report", other, out / "report")).returncode == 2
    assert texts(other)["a.png"] == "\n".join(LINES)
    assert (out / "report" / WAITING).exists()


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b'{"source":"a.png","page":1}', correction("a") + b"\n{}"])
async def test_what_is_no_correction_is_not_kept(out: Path, line: bytes) -> None:
    inbox = Inbox(out, out / "report")
    with pytest.raises(ValueError, match=r"."):
        inbox.add(line)
    assert inbox.is_empty


async def test_an_edit_in_the_browser_is_in_the_workspace(browser: Browser, out: Path) -> None:
    """Also a second edit of the same page, after a reload of the report that was built before both."""
    built = build(out, keeps_pages=True)
    async with serving_report(out, out / "report", built, 0) as url:
        origin = url.partition("/?")[0]
        async with visiting(browser, origin) as visit:
            page = visit.page
            await open_report(page, f"{url}#source=a.png&page=1")
            assert "token" not in page.url
            await expect(page.locator("#viewer polygon")).to_have_count(2)
            for text in ("Dear Sir,\nthe ferry", "Dear Sir,\nthe ferry goes"):
                await page.get_by_role("button", name="Edit").click()
                await page.locator("#editor").fill(text)
                await page.get_by_role("button", name="Save").click()
                await expect(page.locator("#message")).to_have_text("Saved in the workspace.")
                await expect(page.locator("#unsaved")).to_be_hidden()
                assert texts(out)["a.png"] == text
                await page.reload()
                await page.locator("body[data-loaded=texts]").wait_for()
                await expect(page.locator("#text")).to_have_text(text)


async def test_a_run_that_begins_lets_an_edit_wait(
    browser: Browser, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_serving, "_RETRY_S", 0.05)
    built = build(out, keeps_pages=True)
    folded = asyncio.Event()
    fold_in = Inbox.fold

    def fold_and_tell(inbox: Inbox) -> list[tuple[bytes, str]]:
        refused = fold_in(inbox)
        loop.call_soon_threadsafe(folded.set)
        return refused

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(Inbox, "fold", fold_and_tell)
    async with (
        serving_report(out, out / "report", built, 0) as url,
        visiting(browser, url.partition("/?")[0]) as visit,
    ):
        page = visit.page
        await open_report(page, f"{url}#source=b.png&page=1")
        await expect(page.locator("#text")).to_have_text("b")
        with lock_workspace(out):
            await page.keyboard.press("c")
            await expect(page.locator("#message")).to_contain_text("a run holds the workspace")
        await asyncio.wait_for(folded.wait(), 20)
    assert results(out)[-1]["review"]["checked"]


async def test_a_server_that_has_gone_leaves_the_edit_in_the_browser(browser: Browser, out: Path) -> None:
    built = build(out, keeps_pages=True)
    async with visiting(browser, "http://127.0.0.1") as visit:
        page = visit.page
        async with serving_report(out, out / "report", built, 0) as url:
            await open_report(page, f"{url}#source=b.png&page=1")
            await expect(page.locator("#text")).to_have_text("b")
            visit.origin, visit.is_error_expected = url.partition("/?")[0], True
            (out / "report" / WAITING).mkdir()  # as on a full disk, nothing can be written there
            await page.keyboard.press("c")
            await expect(page.locator("#message")).to_contain_text(": Is a directory. It is kept in this browser.")
            (out / "report" / WAITING).rmdir()
        await page.keyboard.press("c")
        await page.keyboard.press("c")
        await expect(page.locator("#message")).to_contain_text(
            "the server does not answer. It is kept in this browser."
        )
        await expect(page.locator("#corrections-count")).to_have_text("1 correction, 1 not downloaded")
        visit.complaints = [text for text in visit.complaints if "ERR_CONNECTION_REFUSED" not in text]


async def read_book(directory: Path) -> tuple[Path, Path]:
    """Read a TIFF of two pages and a PNG; return their folder and the workspace."""
    scans, out = directory / "scans", directory / "out"
    scans.mkdir()
    frames = [Image.new("L", (400, 300), shade) for shade in (255, 128)]
    frames[0].save(scans / "book.tif", save_all=True, append_images=frames[1:])
    write_page(scans / "page.png", 1)
    async with serve_fake() as fake:
        await run_here(scans, out, fake.url)
    return scans, out


async def test_pictures_that_the_report_lacks_are_made_when_they_are_looked_at(
    browser: Browser, tmp_path: Path
) -> None:
    _, out = await read_book(tmp_path)
    built = build(out, choice="none", keeps_pages=True)
    assert all(isinstance(page, ShownPage) for page in built.shown)
    async with (
        serving_report(out, out / "report", built, 0) as url,
        visiting(browser, url.partition("/?")[0]) as visit,
    ):
        page = visit.page
        for name, number in (("book.tif", 2), ("page.png", 1), ("book.tif", 1)):
            await open_report(page, f"{url}#source={name}&page={number}")
            await expect(page.locator("#picture-note")).to_have_text("")
            assert await page.locator(".sheet img").evaluate("image => image.naturalWidth") >= 120


async def test_a_file_that_is_replaced_meanwhile_is_not_served_beside_the_old_text(
    browser: Browser, tmp_path: Path
) -> None:
    """One that is served as it is, and one that is made; the former content is served again, whatever its time."""
    scans, out = await read_book(tmp_path)
    built = build(out, choice="none", keeps_pages=True)
    async with (
        serving_report(out, out / "report", built, 0) as url,
        visiting(browser, url.partition("/?")[0]) as visit,
    ):
        page, visit.is_error_expected = visit.page, True
        note, notes = page.locator("#picture-note"), page.locator("#page-notes")
        changed = page.locator("#filter option[value=changed]")
        for name in ("book.tif", "page.png"):
            content = (scans / name).read_bytes()
            Image.new("L", (90, 90)).save(scans / name)
            await open_report(page, f"{url}#source={name}&page=1")
            await expect(note).to_have_text("Its picture is not shown: the file has changed since it was read.")
            await expect(page.locator("#viewer")).to_be_hidden()
            await expect(notes).to_contain_text("the text is of the former content")
            await expect(changed).to_have_text("Changed (1)")
            (scans / name).write_bytes(content)
            await open_report(page, f"{url}#source={name}&page=1")
            await expect(note).to_have_text("")
            await expect(page.locator("#viewer")).to_be_visible()
            await expect(notes).to_have_text("")
            await expect(changed).to_have_text("Changed (0)")


async def test_a_page_of_an_earlier_build_gets_no_picture_of_another_page(browser: Browser, tmp_path: Path) -> None:
    """A tab that stays open while the report is built and served anew, and one that a server of another build shows."""
    for name in ("a.png", "b.png"):
        write_scan(tmp_path / "scans" / name, [name])
    out = write_review(tmp_path, [page_record("a.png", LINES), plain_record("b.png", "b")])
    built = build(out, choice="none", keeps_pages=True)
    async with visiting(browser, "http://127.0.0.1") as visit:
        page = visit.page
        async with serving_report(out, out / "report", built, 0) as url:
            visit.origin = url.partition("/?")[0]
            await open_report(page, f"{url}#source=a.png&page=1")
            await expect(page.locator("#picture-note")).to_have_text("")
        with (out / "results.jsonl").open("ab") as file:
            file.write(encode_record(plain_record("a-new.png", "new")))
        again = build(out, choice="none", keeps_pages=True)
        visit.is_error_expected = True
        for served in (again, built):
            async with serving_report(out, out / "report", served, int(visit.origin.rpartition(":")[2])) as url:
                other = await page.context.new_page()  # it brings the cookie of the new server
                await other.goto(url)
                if served is built:
                    await page.reload()
                await page.locator(".option", has_text="b.png").click()
                await expect(page.locator("#text")).to_have_text("b")
                await expect(page.locator("#picture-note")).to_contain_text("the report was built again")
        visit.complaints = [text for text in visit.complaints if "ERR_CONNECTION_REFUSED" not in text]
