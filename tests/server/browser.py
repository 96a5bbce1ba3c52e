"""A real browser for the page's tests: Debian's chromium, and what it tells of a page."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, ConsoleMessage, Page, Request, async_playwright, expect

PICTURES = Path(__file__).resolve().parents[2] / "test-output" / "page"
"""Where screenshots go."""

DESK_PX = (1440, 900)
PHONE_PX = (390, 844)

DEADLINE_MS = 20_000
expect.set_options(timeout=DEADLINE_MS)


@dataclass  # without slots: the driver keeps attributes of its own on whoever listens
class Visit:
    """A page in a browser of its own, and all that it did.

    Attributes:
        page: Where the test acts.
        origin: The server's.
        requests: Every URL asked for, but those inside the page (blob and data).
        complaints: Errors and warnings of the console, violations of the content security policy among them.
        is_refusal_expected: A refused call stands in the console, too; then that is no complaint.
    """

    page: Page
    origin: str
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    is_refusal_expected: bool = False

    def watch(self) -> None:
        """Begin to record."""
        self.page.on("request", self._note_request)
        self.page.on("console", self._note_message)
        # from the start: a dialog that is asked for while interception is still being set up never comes
        self.page.on("filechooser", lambda _: None)
        self.page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))

    def check(self) -> None:
        """Fail when anything left the origin, or the console has complaints."""
        assert [url for url in self.requests if not url.startswith(f"{self.origin}/")] == []
        assert self.complaints == []

    async def violations(self) -> list[str]:
        """Return the rules of axe-core that the page breaks, with the elements."""
        results = await Axe().run(self.page)
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
        is_refusal = "Failed to load resource: the server responded with a status of" in message.text
        if message.type in {"error", "warning"} and not (self.is_refusal_expected and is_refusal):
            self.complaints.append(message.text)


@asynccontextmanager
async def launched(home: Path) -> AsyncIterator[Browser]:
    """Run chromium until the block ends; its settings and caches go to a directory of the tests."""
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(
            executable_path=shutil.which("chromium"),
            chromium_sandbox=os.geteuid() != 0,  # it refuses to start in its sandbox as root
            env={**os.environ, "HOME": str(home), "XDG_CONFIG_HOME": str(home), "XDG_CACHE_HOME": str(home)},
        )
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def visiting(
    browser: Browser, origin: str, size_px: tuple[int, int] = DESK_PX, *, is_dark: bool = False
) -> AsyncIterator[Visit]:
    """Open the page; when the block ends well, check what it did."""
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
