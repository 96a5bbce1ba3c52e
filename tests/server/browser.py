"""A real browser for the tests of the page: Debian's chromium, and a record of what the page did in it."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, ConsoleMessage, Page, Request, async_playwright, expect

PICTURES = Path(__file__).resolve().parents[2] / "test-output" / "page"
"""Directory of the screenshots."""

DESK_PX = (1440, 900)
PHONE_PX = (390, 844)

DEADLINE_MS = 20_000
expect.set_options(timeout=DEADLINE_MS)


@dataclass  # without slots: the driver sets attributes on objects whose methods are its listeners
class Visit:
    """A page in a browser context of its own, with its requests and console messages.

    Attributes:
        page: The page.
        origin: The server's origin.
        requests: Every URL requested, except blob and data URLs.
        complaints: Errors and warnings in the console, including violations of the content security policy.
        is_error_expected: Whether the console message about an error response is ignored.
    """

    page: Page
    origin: str
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    is_error_expected: bool = False

    def watch(self) -> None:
        """Begin to record."""
        self.page.on("request", self._note_request)
        self.page.on("console", self._note_message)
        # early: a file dialog that opens while interception is still being set up never arrives
        self.page.on("filechooser", lambda _: None)
        self.page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))

    def check(self) -> None:
        """Fail when a request went to another origin, or the console has complaints."""
        assert [url for url in self.requests if not url.startswith(f"{self.origin}/")] == []
        assert self.complaints == []

    async def violations(self) -> list[str]:
        """Return the rules of axe-core that the page violates, with the elements."""
        options = {"preload": not self.origin.startswith("file:")}  # there a page cannot fetch its own style
        results = await Axe().run(self.page, options=options)
        return [
            f"{rule['id']}: {node['html']} {node.get('failureSummary', '')}"
            for rule in results.response["violations"]
            for node in rule["nodes"]
        ]

    async def picture(self, name: str) -> None:
        """Write a screenshot of the whole page."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        await self.page.screenshot(path=PICTURES / f"{name}.png", full_page=True, animations="disabled")

    def _note_request(self, request: Request) -> None:
        if urlsplit(request.url).scheme not in {"blob", "data"}:
            self.requests.append(request.url)

    def _note_message(self, message: ConsoleMessage) -> None:
        is_error_status = "Failed to load resource: the server responded with a status of" in message.text
        if message.type in {"error", "warning"} and not (self.is_error_expected and is_error_status):
            self.complaints.append(message.text)


@asynccontextmanager
async def launched(home: Path) -> AsyncIterator[Browser]:
    """Run chromium until the block ends; its settings and caches go to a directory of the tests."""
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(
            executable_path=shutil.which("chromium"),
            chromium_sandbox=os.geteuid() != 0,  # chromium does not start in its sandbox as root
            env={**os.environ, "HOME": str(home), "XDG_CONFIG_HOME": str(home), "XDG_CACHE_HOME": str(home)},
        )
        try:
            yield browser
        finally:
            await browser.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    """One browser for all tests of a module; each test has a context of its own."""
    async with launched(tmp_path_factory.mktemp("chromium")) as running:
        yield running


@asynccontextmanager
async def visiting(
    browser: Browser, origin: str, size_px: tuple[int, int] = DESK_PX, *, is_dark: bool = False
) -> AsyncIterator[Visit]:
    """Open a page; when the block ends without an error, check what the page did."""
    context = await browser.new_context(
        viewport={"width": size_px[0], "height": size_px[1]},
        color_scheme="dark" if is_dark else "light",
        permissions=["clipboard-read", "clipboard-write"],
        reduced_motion="reduce",
    )
    context.set_default_timeout(DEADLINE_MS)
    try:
        visit = Visit(await context.new_page(), origin)
        visit.watch()
        yield visit
        visit.check()
    finally:
        await context.close()
