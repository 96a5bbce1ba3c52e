"""What a user does with the page, and the screens on which it is looked at."""

import base64
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.async_api import FilePayload, JSHandle, Page

from tests.server.browser import DESK_PX, PHONE_PX, Visit
from tests.server.page_server import PAGE

SCAN = FilePayload(name="scan 1.png", mimeType="image/png", buffer=PAGE)


@dataclass(frozen=True, slots=True)
class Screen:
    """A screen and a colour scheme.

    Attributes:
        size_px: (width, height) of the screen.
        is_dark: Whether the user prefers dark pages.
    """

    size_px: tuple[int, int]
    is_dark: bool

    @property
    def name(self) -> str:
        """The suffix of a screenshot's name."""
        return f"{self.size_px[0]}-{'dark' if self.is_dark else 'light'}"

    async def check(self, visit: Visit, state: str) -> None:
        """Take a screenshot; fail when axe-core finds a violation or the page is wider than the screen."""
        await visit.picture(f"{state}-{self.name}")
        assert await visit.violations() == []
        assert await visit.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


SCREENS = pytest.mark.parametrize(
    "screen",
    [
        pytest.param(screen, id=screen.name)
        for screen in (Screen(size, dark) for size in (DESK_PX, PHONE_PX) for dark in (False, True))
    ],
)


async def choose(page: Page, *files: FilePayload | Path) -> None:
    """Choose files in the file dialog; the scan, where none is given."""
    async with page.expect_file_chooser() as chooser:
        await page.get_by_role("button", name="Choose files").click()
    await (await chooser.value).set_files([*files] or [SCAN])  # type: ignore[arg-type]  # of one kind


async def sign_in(page: Page, key: str) -> None:
    """Enter the key and submit the form by the keyboard."""
    await page.get_by_label("API key").fill(key)
    await page.keyboard.press("Enter")


async def clipboard(page: Page) -> str:
    """Return the text in the clipboard."""
    text = await page.evaluate("() => navigator.clipboard.readText()")
    assert isinstance(text, str)
    return text


async def drag(page: Page, name: str) -> JSHandle:
    """Return the data of a drag of the scan, with a file name and without a type."""
    return await page.evaluate_handle(
        """([data, name]) => {
            const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], name, { type: "" }));
            return transfer;
        }""",
        [base64.b64encode(PAGE).decode(), name],
    )
