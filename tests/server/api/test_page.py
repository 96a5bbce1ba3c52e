"""The page for trying the API, in a real browser, in front of the real application."""

import asyncio
import base64
import json
import os
from io import BytesIO
from pathlib import Path

import pytest
from PIL import ExifTags, Image
from playwright.async_api import Browser, FilePayload, expect

from pipeline.engine.recognition import Line, Recognition
from pipeline.server.http.requests import RequestError
from tests.server.browser import DESK_PX, PHONE_PX, visiting
from tests.server.page_actions import SCAN, SCREENS, Screen, choose, clipboard, drag, sign_in
from tests.server.page_server import LINES, PAGE, SIZE_PX, make_used_key, page_reader, placed_lines, serving_page
from tests.server.serving import ScriptedRecogniser

pytestmark = pytest.mark.asyncio(loop_scope="module")

TEXT = "\n".join(LINES)


class TestAccessibility:
    """Every state of the page on each screen, checked by axe-core; screenshots are kept."""

    @SCREENS
    async def test_the_empty_page_is_accessible(self, browser: Browser, screen: Screen) -> None:
        """Before an image is chosen, on a server without keys."""
        async with serving_page() as origin, visiting(browser, origin, screen.size_px, is_dark=screen.is_dark) as visit:
            await visit.page.goto(origin)
            await expect(visit.page.get_by_text("0 calls used; resets 1 December")).to_be_visible()
            await expect(visit.page.get_by_role("button", name="Sign out")).to_be_hidden()
            await screen.check(visit, "empty")

    @SCREENS
    async def test_a_result_is_accessible(self, browser: Browser, screen: Screen, tmp_path: Path) -> None:
        """With a line marked, for a signed-in user."""
        key = make_used_key(tmp_path / "keys", used=317)
        async with (
            serving_page(keys=tmp_path / "keys") as origin,
            visiting(browser, origin, screen.size_px, is_dark=screen.is_dark) as visit,
        ):
            visit.is_error_expected = True
            await visit.page.goto(origin)
            await sign_in(visit.page, key)
            await choose(visit.page)
            await expect(visit.page.get_by_text("318 of 1,000 calls used; resets 1 December")).to_be_visible()
            await visit.page.get_by_role("option", name=LINES[1]).hover()
            await screen.check(visit, "result")

    @SCREENS
    async def test_an_error_is_accessible(self, browser: Browser, screen: Screen) -> None:
        reason = "Insufficient quota: all 30 calls of 2026-11 are used; they reset at 2026-12-01T00:00:00Z"
        engine = ScriptedRecogniser(RequestError(reason, 403))
        async with (
            serving_page(engine) as origin,
            visiting(browser, origin, screen.size_px, is_dark=screen.is_dark) as visit,
        ):
            visit.is_error_expected = True
            await visit.page.goto(origin)
            await choose(visit.page)
            message = "All 30 calls of November 2026 are used. The count starts again on 1 December."
            await expect(visit.page.get_by_role("alert")).to_have_text(message)
            await expect(visit.page.get_by_role("button", name="Try again")).to_be_visible()
            await expect(visit.page.get_by_role("region", name="Text", exact=True)).to_be_hidden()
            await screen.check(visit, "error")

    @SCREENS
    async def test_the_signed_out_page_is_accessible(self, browser: Browser, screen: Screen, tmp_path: Path) -> None:
        """A server with keys asks for one."""
        make_used_key(tmp_path / "keys")
        async with (
            serving_page(keys=tmp_path / "keys") as origin,
            visiting(browser, origin, screen.size_px, is_dark=screen.is_dark) as visit,
        ):
            visit.is_error_expected = True
            await visit.page.goto(origin)
            await expect(visit.page.get_by_label("API key")).to_be_visible()
            await screen.check(visit, "signed-out")

    async def test_a_busy_page_says_so_and_can_be_cancelled(self, browser: Browser) -> None:
        engine = page_reader(may_answer=asyncio.Event())
        async with serving_page(engine) as origin, visiting(browser, origin) as visit:
            page = visit.page
            await page.goto(origin)
            await choose(page)
            await expect(page.get_by_role("status")).to_have_text("Reading scan 1.png …")
            await expect(page.locator("#result")).to_have_attribute("aria-busy", "true")
            await Screen(DESK_PX, is_dark=False).check(visit, "busy")
            await page.get_by_role("button", name="Cancel").click()
            await expect(page.get_by_role("status")).to_contain_text("Cancelled: 1 file.")
            await expect(page.get_by_role("button", name="Try again")).to_be_visible()
            await expect(page.get_by_role("button", name="Choose files")).to_be_focused()
            engine.may_answer.set()

    async def test_an_outline_covers_its_line(self, browser: Browser) -> None:
        """On a phone, where the picture is scaled down."""
        async with serving_page() as origin, visiting(browser, origin, PHONE_PX) as visit:
            await visit.page.goto(origin)
            await choose(visit.page)
            outline = await visit.page.locator("polygon").first.bounding_box()
            picture = await visit.page.locator(".sheet img").bounding_box()
        assert outline
        assert picture
        scale = picture["width"] / SIZE_PX[0]
        assert outline["x"] - picture["x"] == pytest.approx(0.07 * SIZE_PX[0] * scale, abs=2)
        assert outline["y"] - picture["y"] == pytest.approx(0.08 * SIZE_PX[1] * scale, abs=2)

    async def test_the_picture_never_hides_the_line_that_has_the_focus(self, browser: Browser) -> None:
        """On a phone the picture stays visible while the lines scroll."""
        async with (
            serving_page(page_reader(placed_lines() * 8)) as origin,
            visiting(browser, origin, PHONE_PX) as visit,
        ):
            await visit.page.goto(origin)
            await choose(visit.page)
            await visit.page.get_by_role("option").first.focus()
            for key in ("End", *["ArrowUp"] * 20):
                await visit.page.keyboard.press(key)
                line = await visit.page.locator("li:focus").bounding_box()
                picture = await visit.page.locator("figure").bounding_box()
                assert line
                assert picture
                assert picture["y"] >= 0
                assert line["y"] >= picture["y"] + picture["height"]

    async def test_positions_refer_to_the_pixels_as_sent(self, browser: Browser) -> None:
        """A photo with an EXIF orientation is shown without it, because the service does not apply it."""
        exif, buffer = Image.Exif(), BytesIO()
        exif[ExifTags.Base.Orientation] = 6
        Image.new("RGB", (300, 200), "white").save(buffer, "JPEG", exif=exif)
        async with serving_page() as origin, visiting(browser, origin) as visit:
            await visit.page.goto(origin)
            await choose(visit.page, FilePayload(name="photo.jpg", mimeType="image/jpeg", buffer=buffer.getvalue()))
            await expect(visit.page.get_by_text("photo.jpg, 300 × 200 px")).to_be_visible()
            await expect(visit.page.locator(".outlines")).to_have_attribute("viewBox", "0 0 300 200")


class TestReading:
    """From an image to its text."""

    async def test_a_page_in_doubt_is_named_as_such(self, browser: Browser) -> None:
        doubtful = Recognition(TEXT, tuple(placed_lines()), unread_ink=0.9)
        async with serving_page(ScriptedRecogniser(doubtful)) as origin, visiting(browser, origin) as visit:
            await visit.page.goto(origin)
            await choose(visit.page)
            status = visit.page.get_by_role("status")
            await expect(status).to_have_text(
                "6 lines of text. Compare it with the picture: much ink is unread (90 %)."
            )

    async def test_the_keyboard_alone_leads_from_an_image_to_its_text(self, browser: Browser) -> None:
        async with serving_page() as origin, visiting(browser, origin) as visit:
            page = visit.page
            await page.goto(origin)
            await page.keyboard.press("Tab")
            await expect(page.get_by_role("button", name="Choose files")).to_be_focused()
            async with page.expect_file_chooser() as chooser:
                await page.keyboard.press("Enter")
            await (await chooser.value).set_files(files=[SCAN])
            await expect(page.get_by_role("status")).to_have_text("6 lines of text.")
            await page.keyboard.press("Tab")
            await expect(page.get_by_role("group", name="Picture")).to_be_focused()
            for name in ("Zoom out", "Zoom in", "Fit the picture", "Turn the picture", "Copy text"):
                await page.keyboard.press("Tab")
                await expect(page.get_by_role("button", name=name)).to_be_focused()
            await page.keyboard.press("Enter")
            await expect(page.get_by_role("status")).to_have_text("Text copied.")
            assert await clipboard(page) == TEXT
            await page.keyboard.press("Tab")
            await expect(page.get_by_role("link", name="Download text")).to_be_focused()
            await page.keyboard.press("Tab")
            await expect(page.get_by_role("option", name=LINES[0])).to_be_focused()
            for key, line in (("ArrowDown", 1), ("End", 5), ("ArrowUp", 4), ("Home", 0)):
                await page.keyboard.press(key)
                await expect(page.get_by_role("option", name=LINES[line])).to_be_focused()
                await expect(page.locator("polygon.marked")).to_have_attribute("data-line", str(line))
            await page.keyboard.press("Tab")
            await expect(page.get_by_role("button", name="Copy command")).to_be_focused()

    async def test_a_line_and_its_outline_are_marked_together(self, browser: Browser) -> None:
        async with serving_page() as origin, visiting(browser, origin) as visit:
            page, marked = visit.page, visit.page.locator(".marked")
            await page.goto(origin)
            await choose(page)
            await page.get_by_role("option", name=LINES[2]).hover()
            await expect(marked).to_have_count(2)
            await expect(page.locator("polygon.marked")).to_have_attribute("data-line", "2")
            await expect(page.get_by_text("Line 3, 97 % sure.")).to_be_visible()
            await page.locator("polygon").nth(4).hover()
            await expect(marked).to_have_count(2)
            await expect(page.locator("li.marked")).to_have_text(LINES[4])
            await page.locator("polygon").nth(4).click()
            await expect(page.get_by_role("option", name=LINES[4])).to_be_focused()
            await page.get_by_role("button", name="Copy text").click()
            await page.get_by_role("heading", name="pagemill").hover()
            await expect(marked).to_have_count(0)

    async def test_the_text_is_downloaded_as_a_file(self, browser: Browser, tmp_path: Path) -> None:
        async with serving_page() as origin, visiting(browser, origin) as visit:
            await visit.page.goto(origin)
            await choose(visit.page)
            async with visit.page.expect_download() as download:
                await visit.page.get_by_role("link", name="Download text").click()
            file = await download.value
            await file.save_as(tmp_path / "text")
            assert file.suggested_filename == "scan 1.txt"
        assert (tmp_path / "text").read_text("utf-8") == f"{TEXT}\n"

    async def test_the_cells_of_a_table_s_row_are_one_line_shown_copied_and_downloaded(
        self, browser: Browser, tmp_path: Path
    ) -> None:
        """The text is the one of the text endpoint; each cell keeps its outline."""
        cells = placed_lines()
        rows = [" ".join(cell.text for cell in cells[at : at + 2]) for at in range(0, 6, 2)]
        table = ScriptedRecogniser(Recognition("\n".join(rows), tuple(cells)))
        async with serving_page(table) as origin, visiting(browser, origin) as visit:
            page = visit.page
            await page.goto(origin)
            await choose(page)
            await expect(page.get_by_role("status")).to_have_text("3 lines of text.")
            await expect(page.locator(".lines > li")).to_have_text(rows)
            await page.get_by_role("option", name=LINES[3]).hover()
            await expect(page.locator("polygon.marked")).to_have_attribute("data-line", "3")
            await expect(page.get_by_text("Line 2, part 2 of 2, 96 % sure.")).to_be_visible()
            await page.get_by_role("option", name=LINES[3]).focus()
            await page.keyboard.press("ArrowDown")
            await expect(page.get_by_role("option", name=LINES[4])).to_be_focused()
            await visit.picture("table")
            assert await visit.violations() == []
            await page.get_by_role("button", name="Copy text").click()
            await expect(page.get_by_role("status")).to_have_text("Text copied.")
            assert await clipboard(page) == "\n".join(rows)
            async with page.expect_download() as download:
                await page.get_by_role("link", name="Download text").click()
            await (await download.value).save_as(tmp_path / "text")
        assert (tmp_path / "text").read_text("utf-8") == "\n".join(rows) + "\n"

    async def test_a_dropped_image_is_read(self, browser: Browser) -> None:
        engine = page_reader()
        async with serving_page(engine) as origin, visiting(browser, origin) as visit:
            await visit.page.goto(origin)
            files = await drag(visit.page, "dropped.png")
            await visit.page.dispatch_event("footer", "dragover", {"dataTransfer": files})
            await expect(visit.page.locator("body.dropping")).to_be_visible()
            await visit.page.dispatch_event("footer", "drop", {"dataTransfer": files})
            await expect(visit.page.get_by_role("option", name=LINES[0])).to_be_visible()
            await expect(visit.page.get_by_text("dropped.png, 1000 × 640 px")).to_be_visible()
        assert engine.seen == [PAGE]

    async def test_a_pasted_image_is_read(self, browser: Browser) -> None:
        engine = page_reader()
        async with serving_page(engine) as origin, visiting(browser, origin) as visit:
            await visit.page.goto(origin)
            await visit.page.evaluate(
                """async (data) => {
                    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
                    const blob = new Blob([bytes], { type: "image/png" });
                    await navigator.clipboard.write([new ClipboardItem({ "image/png": blob })]);
                }""",
                base64.b64encode(PAGE).decode(),
            )
            await visit.page.keyboard.press("Control+V")
            await expect(visit.page.get_by_role("option", name=LINES[0])).to_be_visible()
        assert len(engine.seen) == 1  # the browser encodes the image again, so its bytes may differ

    async def test_an_image_without_text_gets_a_message_of_its_own(self, browser: Browser) -> None:
        async with serving_page(page_reader([])) as origin, visiting(browser, origin) as visit:
            await visit.page.goto(origin)
            await choose(visit.page)
            await expect(visit.page.get_by_text("No text was found in this image.")).to_be_visible()
            assert await visit.violations() == []

    async def test_a_line_has_the_language_of_its_text(self, browser: Browser) -> None:
        """Screen readers and fonts depend on it."""
        async with serving_page() as origin, visiting(browser, origin) as visit:
            await visit.page.goto(origin)
            await choose(visit.page)
            await expect(visit.page.get_by_role("option", name=LINES[0])).to_have_attribute("lang", "zh")
            await expect(visit.page.get_by_role("option", name=LINES[1])).to_have_attribute("lang", "en")

    async def test_text_is_never_markup(self, browser: Browser) -> None:
        """Neither the recognised text nor the file's name."""
        hostile = "<img src=x onerror=alert(1)>"
        engine = page_reader([Line(hostile, 0.9, ((0, 0), (90, 0), (90, 20), (0, 20)))])
        async with serving_page(engine) as origin, visiting(browser, origin) as visit:
            await visit.page.goto(origin)
            await choose(visit.page, FilePayload(name=f"{hostile}.png", mimeType="image/png", buffer=PAGE))
            await expect(visit.page.get_by_role("option", name=hostile)).to_be_visible()
            await expect(visit.page.get_by_text(f"{hostile}.png, 1000 × 640 px")).to_be_visible()
            await expect(visit.page.locator("img")).to_have_count(2)  # the picture, and the line enlarged

    async def test_text_can_be_copied_without_the_clipboard_interface(self, browser: Browser) -> None:
        """Browsers withhold it on plain http from another machine."""
        async with serving_page() as origin, visiting(browser, origin) as visit:
            page = visit.page
            await page.goto(origin)
            await choose(page)
            await page.evaluate(
                "Object.defineProperty(navigator, 'clipboard', { value: undefined, configurable: true })"
            )
            await page.get_by_role("button", name="Copy text").click()
            await expect(page.get_by_role("status")).to_have_text("Text copied.")
            await expect(page.get_by_role("button", name="Copy text")).to_be_focused()
            await page.evaluate("delete navigator.clipboard")
            assert await clipboard(page) == TEXT


class TestErrors:
    """Errors are shown in one sentence."""

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            pytest.param(
                b"II*\0" + bytes(200),
                "is neither a JPEG, PNG, GIF or WebP image nor a PDF. Choose one that is.",
                id="not-what-its-name-says",
            ),
            pytest.param(
                PAGE + bytes(10 * 1024 * 1024), "is too large: at most 10 MB. Choose a smaller one.", id="too-large"
            ),
        ],
    )
    async def test_a_file_outside_the_limits_is_not_sent(
        self, browser: Browser, tmp_path: Path, content: bytes, message: str
    ) -> None:
        (tmp_path / "odd.png").write_bytes(content)
        async with serving_page() as origin, visiting(browser, origin) as visit:
            await visit.page.goto(origin)
            await choose(visit.page, tmp_path / "odd.png")
            await expect(visit.page.get_by_role("alert")).to_have_text(f"odd.png {message}")
            await expect(visit.page.get_by_role("button", name="Choose another file")).to_be_visible()
            await expect(visit.page.locator("#result")).to_be_hidden()
            assert [url for url in visit.requests if "recognition" in url] == []
            async with visit.page.expect_file_chooser() as chooser:
                await visit.page.get_by_role("button", name="Choose another file").click()
            await (await chooser.value).set_files(files=[SCAN])
            await expect(visit.page.get_by_role("status")).to_have_text("6 lines of text.")
            await expect(visit.page.locator("#queue-list > li")).to_have_count(1)

    async def test_an_error_response_is_shown_by_its_status_text(self, browser: Browser) -> None:
        """The picture stays visible."""
        small = BytesIO()
        Image.new("RGB", (99, 120), "white").save(small, "PNG")
        async with serving_page() as origin, visiting(browser, origin) as visit:
            visit.is_error_expected = True
            await visit.page.goto(origin)
            await choose(visit.page, FilePayload(name="small.png", mimeType="image/png", buffer=small.getvalue()))
            message = (
                "small.png has 99 × 120 px; at least 100 × 100 px are needed. Scan it at a higher resolution, then"
            )
            await expect(visit.page.get_by_role("alert")).to_contain_text(message)
            await expect(visit.page.get_by_role("img", name="The image small.png")).to_be_visible()

    async def test_an_unreachable_server_is_shown_as_an_error(self, browser: Browser) -> None:
        async with visiting(browser, "") as visit:
            async with serving_page() as visit.origin:
                await visit.page.goto(visit.origin)
                await expect(visit.page.get_by_text("0 calls used")).to_be_visible()
            await choose(visit.page)
            await expect(visit.page.get_by_role("alert")).to_contain_text("The server cannot be reached.")
            await expect(visit.page.get_by_role("button", name="Try again")).to_be_visible()
            visit.complaints = [text for text in visit.complaints if "ERR_CONNECTION_REFUSED" not in text]


class TestAccount:
    """A server with keys."""

    async def test_an_image_that_needs_a_key_is_read_after_the_sign_in_and_signing_out_asks_again(
        self, browser: Browser, tmp_path: Path
    ) -> None:
        """A reload keeps the session."""
        key, engine = make_used_key(tmp_path / "keys", used=18), page_reader()
        async with serving_page(engine, keys=tmp_path / "keys") as origin, visiting(browser, origin) as visit:
            visit.is_error_expected = True
            page = visit.page
            await page.goto(origin)
            await choose(page)
            await expect(page.get_by_role("alert")).to_have_text(
                "This server needs an API key. Sign in, and reading goes on."
            )
            await expect(page.get_by_label("API key")).to_be_focused()
            await sign_in(page, "wrong")
            await expect(page.get_by_role("alert")).to_contain_text("The server does not accept this key.")
            await sign_in(page, key)
            await expect(page.get_by_role("option", name=LINES[0])).to_be_visible()
            await expect(page.get_by_text("19 of 1,000 calls used")).to_be_visible()
            await expect(page.get_by_role("alert")).to_be_empty()
            await page.reload()
            await page.get_by_role("button", name="Sign out").click()
            await expect(page.get_by_role("status")).to_have_text("Signed out.")
            await expect(page.get_by_label("API key")).to_be_focused()
            await expect(page.get_by_role("region", name="Usage this month")).to_be_hidden()
        assert engine.seen == [PAGE]

    async def test_after_the_sign_in_no_script_can_read_the_key(self, browser: Browser, tmp_path: Path) -> None:
        key = make_used_key(tmp_path / "keys")
        async with serving_page(keys=tmp_path / "keys") as origin, visiting(browser, origin) as visit:
            visit.is_error_expected = True
            await visit.page.goto(origin)
            await sign_in(visit.page, key)
            await choose(visit.page)
            await expect(visit.page.get_by_role("option", name=LINES[0])).to_be_visible()
            seen = await visit.page.evaluate(
                "JSON.stringify([localStorage, sessionStorage, document.cookie, key.value])"
            )
            assert key not in seen + await visit.page.content() + " ".join(visit.requests)
            (cookie,) = await visit.page.context.cookies()
            assert cookie["httpOnly"]
            assert cookie["sameSite"] == "Strict"

    async def test_the_curl_command_gets_the_same_text(self, browser: Browser, tmp_path: Path) -> None:
        """Whatever characters the file's name has."""
        key, engine = make_used_key(tmp_path / "keys"), page_reader()
        odd = """it's 100% "odd" $(name) 档.png"""
        (tmp_path / odd).write_bytes(PAGE)
        async with serving_page(engine, keys=tmp_path / "keys") as origin, visiting(browser, origin) as visit:
            visit.is_error_expected = True
            await visit.page.goto(origin)
            await sign_in(visit.page, key)
            await choose(visit.page, FilePayload(name=odd, mimeType="image/png", buffer=PAGE))
            await expect(visit.page.get_by_role("option", name=LINES[0])).to_be_visible()
            await visit.page.get_by_role("button", name="Copy command").click()
            reply = await run_command(await clipboard(visit.page), tmp_path, key)
        assert (reply["content"], reply["filename"]) == (TEXT, odd)
        assert engine.seen == [PAGE, PAGE]


class TestNegativeControls:
    """The checks at the end of every visit can fail."""

    async def test_a_request_to_another_origin_is_detected(self, browser: Browser) -> None:
        async with serving_page() as origin, visiting(browser, origin) as visit:
            await visit.page.goto(origin)
            await visit.page.evaluate("fetch('http://127.0.0.2:1/').catch(() => undefined)")
            with pytest.raises(AssertionError):
                visit.check()
            assert any("Content Security Policy" in text for text in visit.complaints)
            visit.complaints.clear()
            visit.requests.clear()

    async def test_an_inaccessible_element_is_detected(self, browser: Browser) -> None:
        """axe-core runs on this page in spite of its content security policy."""
        async with serving_page() as origin, visiting(browser, origin) as visit:
            await visit.page.goto(origin)
            await visit.page.evaluate("document.querySelector('main').append(document.createElement('input'))")
            assert [text.partition(":")[0] for text in await visit.violations()] == ["label"]


async def run_command(command: str, folder: Path, key: str) -> dict[str, str]:
    """Run the command in a shell with the key in the environment; return the reply."""
    assert key not in command
    environment = os.environ | {"PAGEMILL_API_KEY": key}
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", command, cwd=folder, env=environment, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(30):
        out, _ = await process.communicate()
    assert process.returncode == 0
    reply = json.loads(out)
    assert isinstance(reply, dict)
    return reply
