"""Several files at once on the page: one list, each file with its state, its retry and its text."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.async_api import Browser, FilePayload, Locator, Page, expect

from pipeline.engine.recognition import Line, Recognition
from pipeline.server.http.requests import RequestError
from tests.server.browser import Visit, visiting
from tests.server.page_actions import SCREENS, Screen, choose, clipboard, sign_in
from tests.server.page_server import LINES, PAGE, make_used_key, placed_lines, serving_page

pytestmark = pytest.mark.asyncio(loop_scope="module")

READ = Recognition("\n".join(LINES), tuple(placed_lines()))
BUSY = RequestError("Too Many Requests: the server is busy", 429, retry_after_s=600)


@dataclass(slots=True)
class Script:
    """Answers the images in turn.

    Attributes:
        outcomes: For each call its recognition or exception; the last one repeats.
        may_answer: Holds the outcomes back until it is set.
        free: Number of calls that are not held back.
        calls: Number of calls.
        most: Most calls that were in progress at a time.
        running: Calls that are in progress.
        idle: Set while none is.
        arrived: The number of each call, when it has begun.
    """

    outcomes: list[Recognition | Exception]
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    free: int = 0
    calls: int = 0
    most: int = 0
    running: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    arrived: asyncio.Queue[int] = field(default_factory=asyncio.Queue)

    async def recognise(self, image: bytes) -> Recognition:
        assert image
        outcome = self.outcomes[min(self.calls, len(self.outcomes) - 1)]
        self.calls += 1
        self.arrived.put_nowait(self.calls)
        self.running += 1
        self.idle.clear()
        self.most = max(self.most, self.running)
        try:
            if self.calls > self.free:
                await self.may_answer.wait()
        finally:
            self.running -= 1
            if not self.running:
                self.idle.set()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def script(*outcomes: Recognition | Exception, held: bool = False) -> Script:
    """Return a recogniser with these outcomes; it answers at once, unless it is held."""
    made = Script(list(outcomes) or [READ])
    if not held:
        made.may_answer.set()
    return made


def scans(number: int) -> list[FilePayload]:
    """Return so many files: page 1.png and so on."""
    return [FilePayload(name=f"page {i + 1}.png", mimeType="image/png", buffer=PAGE) for i in range(number)]


@asynccontextmanager
async def visiting_queue(
    browser: Browser, recogniser: Script, screen: Screen | None = None, keys: Path | None = None
) -> AsyncIterator[Visit]:
    """Open the page of a server with this recogniser."""
    size = {"size_px": screen.size_px, "is_dark": screen.is_dark} if screen else {}
    async with serving_page(recogniser, keys=keys) as origin, visiting(browser, origin, **size) as visit:  # type: ignore[arg-type]
        visit.is_error_expected = True
        await visit.page.goto(origin)
        yield visit


def rows(page: Page) -> Locator:
    """Return the rows of the list."""
    return page.locator("#queue-list > li")


def states(page: Page) -> Locator:
    """Return the states in the list."""
    return page.locator("#queue-list .state")


def tool(page: Page, name: str) -> Locator:
    """Return a button by its whole name."""
    return page.get_by_role("button", name=name, exact=True)


class TestReading:
    async def test_several_files_are_read_and_each_text_can_be_shown(self, browser: Browser) -> None:
        other = Recognition("another text", (Line("another text", 0.99, ((70, 50), (400, 50), (400, 90), (70, 90))),))
        async with visiting_queue(browser, script(READ, other, READ)) as visit:
            page = visit.page
            await choose(page, *scans(3))
            await expect(page.get_by_role("status")).to_have_text("3 of 3 done.")
            await expect(page.get_by_role("region", name="Usage")).to_contain_text("3 calls used")
            await expect(page.locator("[aria-current=true]")).to_contain_text("page 1.png")
            single = states(page).filter(has_text="1 line")
            await single.click()
            await expect(page.get_by_role("option")).to_have_text(["another text"])
            await expect(page.get_by_role("option")).to_have_count(1)

    async def test_no_more_than_four_are_read_at_a_time_and_two_in_the_beginning(self, browser: Browser) -> None:
        engine = script(held=True)
        async with visiting_queue(browser, engine) as visit:
            await choose(visit.page, *scans(3))
            await expect(states(visit.page).filter(has_text="reading")).to_have_count(2)
            await expect(states(visit.page).filter(has_text="waiting")).to_have_count(1)
        engine = script(held=True)
        engine.free = 20
        async with visiting_queue(browser, engine) as visit:
            await choose(visit.page, *scans(40))
            await expect(visit.page.get_by_role("status")).to_have_text("Reading 4; 20 of 40 done.")
            engine.may_answer.set()
            await expect(visit.page.get_by_role("status")).to_have_text("40 of 40 done.")
        assert (engine.calls, engine.most) == (40, 4)

    async def test_files_chosen_later_join_the_list(self, browser: Browser) -> None:
        async with visiting_queue(browser, script()) as visit:
            await choose(visit.page)
            await expect(visit.page.get_by_role("status")).to_have_text("6 lines of text.")
            await expect(visit.page.locator("#queue")).to_be_hidden()
            await choose(visit.page, *scans(1))
            await expect(rows(visit.page)).to_have_count(2)
            await expect(visit.page.locator("[aria-current=true]")).to_contain_text("page 1.png")

    async def test_all_texts_are_copied_and_downloaded_below_their_names(
        self, browser: Browser, tmp_path: Path
    ) -> None:
        async with visiting_queue(browser, script()) as visit:
            page = visit.page
            await choose(page, *scans(2))
            await tool(page, "Copy all").click()
            await expect(page.get_by_role("status")).to_have_text("2 texts copied.")
            text = await clipboard(page)
            assert text == "\n".join(f"=== page {i}.png ===\n{READ.text}\n" for i in (1, 2))
            async with page.expect_download() as download:
                await tool(page, "Download all").click()
            file = await download.value
            await file.save_as(tmp_path / "all")
            assert file.suggested_filename == "texts.txt"
        assert (tmp_path / "all").read_text("utf-8") == text

    async def test_weak_lines_are_marked_in_the_list_the_text_and_the_picture(self, browser: Browser) -> None:
        """Not by colour alone: by a wave, dashes and words."""
        lines = [Line(line.text, 0.5 if i in {1, 4} else 0.95, line.corners) for i, line in enumerate(placed_lines())]
        engine = script(Recognition(READ.text, tuple(lines)), READ)
        async with visiting_queue(browser, engine) as visit:
            page = visit.page
            await choose(page, *scans(2))
            await expect(states(page).first).to_contain_text("2 unsure")
            await expect(page.get_by_text("2 parts of the text are less than 90 % sure")).to_be_visible()
            for number, line in enumerate((1, 4, 1)):
                await tool(page, "Next one").click()
                await expect(page.get_by_role("option", name=LINES[line])).to_be_focused()
                await expect(page.locator("polygon.weak.marked")).to_have_attribute("data-line", str(line))
                if number == 0:
                    await visit.picture("weak")
            style = "getComputedStyle(document.querySelector('.weak[role=option]')).textDecorationStyle"
            assert await page.evaluate(style) == "wavy"
            dashes = "getComputedStyle(document.querySelector('polygon.weak')).strokeDasharray"
            assert await page.evaluate(dashes) == "6px, 3px"
            assert await visit.violations() == []


class TestObstacles:
    async def test_a_busy_server_is_waited_for_and_the_file_is_not_lost(self, browser: Browser) -> None:
        engine = script(READ, BUSY, READ)
        async with visiting_queue(browser, engine) as visit:
            page = visit.page
            await page.clock.install()
            await choose(page, *scans(3))
            await expect(page.get_by_role("alert")).to_have_text("The server is busy. Reading goes on in 10 minutes.")
            await expect(states(page).filter(has_text="waiting")).not_to_have_count(0)
            await expect(states(page).filter(has_text="reading")).to_have_count(0)
            await page.clock.run_for(10_000)
            await expect(page.locator("#countdown")).to_have_text("590 s")
            calls = engine.calls
            await page.clock.run_for(580_000)
            await expect(page.get_by_role("alert")).to_be_visible()
            assert engine.calls == calls
            await page.clock.run_for(11_000)
            await expect(page.get_by_role("status")).to_have_text("3 of 3 done.")
            await expect(page.get_by_role("alert")).to_be_empty()
        assert engine.calls == 4

    async def test_the_wait_can_be_cut_short(self, browser: Browser) -> None:
        async with visiting_queue(browser, script(BUSY, READ)) as visit:
            await choose(visit.page)
            await tool(visit.page, "Go on now").click()
            await expect(visit.page.get_by_role("status")).to_have_text("6 lines of text.")

    async def test_without_a_call_left_the_rest_stays_unsent_until_another_key_signs_in(
        self, browser: Browser, tmp_path: Path
    ) -> None:
        spent, fresh = make_used_key(tmp_path / "keys", used=999), make_used_key(tmp_path / "keys")
        engine = script()
        async with visiting_queue(browser, engine, keys=tmp_path / "keys") as visit:
            page = visit.page
            await sign_in(page, spent)
            await expect(page.get_by_text("999 of 1,000 calls used")).to_be_visible()
            await choose(page, *scans(5))
            await expect(page.get_by_role("alert")).to_have_text(
                "All 1,000 calls of November 2026 are used. The count starts again on 1 December."
            )
            await expect(states(page).filter(has_text="waiting")).to_have_count(4)
            await expect(states(page).filter(has_text="6 lines")).to_have_count(1)
            assert engine.calls == 1
            await tool(page, "Sign in").click()
            await sign_in(page, fresh)
            await expect(page.get_by_role("status")).to_have_text("5 of 5 done.")
            await expect(page.get_by_text("4 of 1,000 calls used")).to_be_visible()

    async def test_one_bad_file_fails_alone_and_is_retried_alone(self, browser: Browser) -> None:
        engine = script(READ, ValueError("boom"), READ)
        async with visiting_queue(browser, engine) as visit:
            page = visit.page
            await choose(page, *scans(3))
            await expect(page.get_by_role("status")).to_have_text("2 of 3 done; 1 failed.")
            failed = rows(page).filter(has_text="failed: The server failed at page")
            await failed.locator(".item").click()
            await expect(page.get_by_role("alert")).to_contain_text("its log has the reason. Try again.")
            await failed.get_by_role("button", name="Retry").click()
            await expect(page.get_by_role("status")).to_have_text("3 of 3 done.")
            await expect(page.get_by_role("alert")).to_be_empty()
        assert engine.calls == 4

    async def test_an_unreachable_server_stops_the_queue_and_loses_no_file(self, browser: Browser) -> None:
        async with visiting_queue(browser, script()) as visit:
            page = visit.page
            await page.route("**/api/advanced-recognition", lambda route: route.abort())
            await choose(page, *scans(3))
            await expect(page.get_by_role("alert")).to_contain_text("The server cannot be reached.")
            await expect(states(page).filter(has_text="waiting")).to_have_count(3)
            await page.unroute("**/api/advanced-recognition")
            await tool(page, "Try again").click()
            await expect(page.get_by_role("status")).to_have_text("3 of 3 done.")
            visit.complaints = [text for text in visit.complaints if "ERR_FAILED" not in text]


class TestControl:
    async def test_a_file_is_cancelled_and_read_again_alone(self, browser: Browser) -> None:
        engine = script(held=True)
        async with visiting_queue(browser, engine) as visit:
            page = visit.page
            await choose(page, *scans(3))
            await rows(page).nth(0).get_by_role("button", name="Cancel").click()
            await expect(states(page)).to_have_text(["cancelled", "reading …", "reading …"])
            await expect(rows(page).nth(0).get_by_role("button", name="Retry")).to_be_focused()
            engine.may_answer.set()
            await expect(page.get_by_role("status")).to_have_text("2 of 3 done.")
            await tool(page, "Retry all").click()
            await expect(page.get_by_role("status")).to_have_text("3 of 3 done.")

    async def test_a_file_that_is_cancelled_and_retried_at_once_can_be_cancelled_again(self, browser: Browser) -> None:
        """The end of the first reading does not take the second one for its own."""
        engine = script(held=True)
        async with visiting_queue(browser, engine) as visit, asyncio.timeout(60):
            page = visit.page
            await choose(page, *scans(1))
            assert await engine.arrived.get() == 1
            tool_of_first = "document.querySelector('#queue-list .row-tools button').click()"
            await page.evaluate(f"() => {{ {tool_of_first}; {tool_of_first}; }}")
            assert await engine.arrived.get() == 2
            await tool(page, "Cancel").click()
            await engine.idle.wait()
            await expect(states(page)).to_have_text(["cancelled"])

    async def test_cancelling_all_stops_what_is_read_and_what_waits(self, browser: Browser) -> None:
        engine = script(held=True)
        async with visiting_queue(browser, engine) as visit:
            page = visit.page
            await choose(page, *scans(4))
            assert [await engine.arrived.get(), await engine.arrived.get()] == [1, 2]
            await tool(page, "Cancel").click()
            await expect(states(page)).to_have_text(["cancelled"] * 4)
            await expect(page.get_by_role("status")).to_contain_text("Cancelled: 4 files.")
            engine.may_answer.set()
        assert engine.calls == 2

    async def test_clearing_removes_all_files_and_their_texts(self, browser: Browser) -> None:
        async with visiting_queue(browser, script()) as visit:
            page = visit.page
            await choose(page, *scans(2))
            await expect(page.get_by_role("status")).to_have_text("2 of 2 done.")
            await tool(page, "Clear").click()
            await expect(page.locator("#queue")).to_be_hidden()
            await expect(page.locator("#result")).to_be_hidden()
            await expect(tool(page, "Choose files")).to_be_focused()
            assert LINES[0] not in await page.content()

    async def test_the_keyboard_alone_shows_and_removes_a_file(self, browser: Browser) -> None:
        async with visiting_queue(browser, script()) as visit:
            page = visit.page
            await choose(page, *scans(2))
            await expect(page.get_by_role("status")).to_have_text("2 of 2 done.")
            await tool(page, "Clear").focus()
            for name in ("page 1.png 6 lines", "Remove: page 1.png", "page 2.png 6 lines"):
                await page.keyboard.press("Tab")
                await expect(tool(page, name)).to_be_focused()
            await page.keyboard.press("Enter")
            await expect(page.locator("[aria-current=true]")).to_contain_text("page 2.png")
            await expect(page.get_by_text("page 2.png, 1000 × 640 px")).to_be_visible()
            await page.keyboard.press("Tab")
            await page.keyboard.press("Enter")
            await expect(rows(page)).to_have_count(1)

    async def test_a_removed_file_gives_its_place_and_the_focus_to_the_next(self, browser: Browser) -> None:
        async with visiting_queue(browser, script()) as visit:
            page = visit.page
            await choose(page, *scans(3))
            await expect(page.get_by_role("status")).to_have_text("3 of 3 done.")
            await rows(page).nth(0).get_by_role("button", name="Remove").press("Enter")
            await expect(rows(page)).to_have_count(2)
            await expect(rows(page).nth(0).locator(".item")).to_be_focused()
            await expect(page.locator("[aria-current=true]")).to_contain_text("page 2.png")


HOSTILE = [
    "<script>document.title = 'run'</script>.png",
    "<img src=x onerror=alert(1)>.png",
    "evil\u202egnp.exe.png",
    "bell\u0007 tab\t nul\u0000.png",
    f"{'long' * 60}.png",
]


@SCREENS
async def test_the_queue_is_accessible_with_hostile_names_and_every_state(browser: Browser, screen: Screen) -> None:
    engine = script(READ, ValueError("boom"), READ, BUSY)
    files = [FilePayload(name=name, mimeType="image/png", buffer=PAGE) for name in HOSTILE]
    text = FilePayload(name="notes.txt", mimeType="text/plain", buffer=b"no image")
    async with visiting_queue(browser, engine, screen) as visit:
        page = visit.page
        await choose(page, text, *files)
        await expect(page.get_by_role("alert")).to_contain_text("The server is busy.")
        await expect(states(page).filter(has_text="reading")).to_have_count(0)
        await rows(page).filter(has_text="6 lines").first.locator(".item").click()
        await expect(page.get_by_role("option", name=LINES[0])).to_be_visible()
        await screen.check(visit, "queue")
        shown = "".join(await page.locator("#queue-list .name").all_text_contents())
        assert "<script>" in shown
        assert "evil\ufffdgnp.exe" in shown
        assert not any(character in shown for character in "\u202e\u0007\u0000")
        assert await page.title() == "pagemill: text recognition"
