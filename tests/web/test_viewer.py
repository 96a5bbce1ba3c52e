"""The picture viewer by itself, from `file://` as in the review report, in a real browser."""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image
from playwright.async_api import Browser, Page

from pipeline.web.bundle import bundle_modules
from tests.web.test_bundle import shared_modules

pytestmark = pytest.mark.asyncio(loop_scope="module")

SIZE_PX = (2000, 1000)
STAGE_PX = 800
"""Width of the stage."""
FIT = STAGE_PX / SIZE_PX[0]
LINE = [1600, 800, 1900, 800, 1900, 840, 1600, 840]
ENTRY = """import { Viewer } from "./viewer.js";

window.viewer = new Viewer(document.querySelector("main"));
"""
HTML = """<!doctype html><html lang="en"><title>viewer</title><link rel="stylesheet" href="style.css">
<style>main {{ width: {width}px }} body {{ height: 3000px }}</style><main></main><script src="all.js"></script>"""
"""The body is higher than the screen, so that the page can scroll."""


@dataclass(frozen=True, slots=True)
class View:
    """Where the picture is: its left top corner in the stage, its size as shown, and the scale."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Shown:
    """A page with a viewer that shows a picture."""

    page: Page

    async def view(self) -> View:
        """Return where the picture is."""
        stage = await self.page.locator(".stage").bounding_box()
        sheet = await self.page.locator(".sheet").bounding_box()
        assert stage
        assert sheet
        return View(sheet["x"] - stage["x"], sheet["y"] - stage["y"], sheet["width"], sheet["height"])

    async def call(self, expression: str) -> object:
        """Evaluate an expression with the viewer as `v`."""
        return await self.page.evaluate(f"(() => {{ const v = window.viewer; return {expression}; }})()")


@asynccontextmanager
async def showing(browser: Browser, folder: Path, *, touch: bool = False) -> AsyncIterator[Shown]:
    """Open the viewer with a picture."""
    modules = shared_modules() | {"entry.js": ENTRY}
    (folder / "all.js").write_text(bundle_modules("entry.js", modules), "utf-8")
    style = Path(__file__).parents[2] / "pipeline/web/static/style.css"
    (folder / "style.css").write_bytes(style.read_bytes())
    (folder / "page.html").write_text(HTML.format(width=STAGE_PX), "utf-8")
    Image.new("RGB", SIZE_PX, "white").save(folder / "page.png")
    context = await browser.new_context(viewport={"width": 1000, "height": 900}, has_touch=touch)
    try:
        page = await context.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        await page.goto((folder / "page.html").as_uri())
        assert await page.evaluate("window.viewer.show('page.png', 'a page')") == {"width": 2000, "height": 1000}
        yield Shown(page)
        assert errors == []
    finally:
        await context.close()


async def test_a_picture_is_fitted_and_its_scale_is_named(browser: Browser, tmp_path: Path) -> None:
    async with showing(browser, tmp_path) as shown:
        assert await shown.view() == View(0, 0, STAGE_PX, STAGE_PX / 2)
        assert await shown.page.locator(".percent").text_content() == "40 %"


async def test_buttons_and_keys_zoom_fit_and_turn(browser: Browser, tmp_path: Path) -> None:
    async with showing(browser, tmp_path) as shown:
        await shown.page.get_by_role("button", name="Zoom in").click()
        assert (await shown.view()).width == pytest.approx(1.5 * STAGE_PX)
        await shown.page.get_by_role("button", name="Zoom out").click()
        await shown.page.get_by_role("button", name="Zoom out").click()
        assert (await shown.view()).width == pytest.approx(STAGE_PX), "it never gets smaller than the frame"
        await shown.page.locator(".stage").focus()
        await shown.page.keyboard.press("+")
        await shown.page.keyboard.press("ArrowRight")
        assert (await shown.view()).x == pytest.approx(-STAGE_PX / 4 - 60)
        for _ in range(20):
            await shown.page.keyboard.press("ArrowRight")
        moved = await shown.view()
        assert moved.x + moved.width == pytest.approx(STAGE_PX), "it leaves no edge of the frame free"
        await shown.page.keyboard.press("0")
        assert await shown.view() == View(0, 0, STAGE_PX, STAGE_PX / 2)
        await shown.page.keyboard.press("r")
        turned = await shown.view()
        assert turned.height == pytest.approx(2 * turned.width)
        await shown.page.keyboard.press("Shift+R")
        assert await shown.view() == View(0, 0, STAGE_PX, STAGE_PX / 2)


async def test_the_wheel_zooms_at_the_pointer_with_ctrl_and_else_moves_a_zoomed_picture(
    browser: Browser, tmp_path: Path
) -> None:
    """A fitted picture leaves the wheel to the page, and so does one that is at its edge."""
    async with showing(browser, tmp_path) as shown:
        stage = await shown.page.locator(".stage").bounding_box()
        assert stage
        await shown.page.mouse.move(stage["x"] + 600, stage["y"] + 100)
        await shown.page.mouse.wheel(0, 50)
        await shown.page.wait_for_function("scrollY === 50")
        await shown.page.evaluate("scrollTo(0, 0)")
        await shown.page.keyboard.down("Control")
        await shown.page.mouse.wheel(0, -400)
        await shown.page.keyboard.up("Control")
        await shown.page.wait_for_function("document.querySelector('.zoomed') !== null")
        zoomed = await shown.view()
        factor = zoomed.width / STAGE_PX
        assert factor == pytest.approx(math.e, rel=0.01)
        assert zoomed.x + 600 * factor == pytest.approx(600, abs=1)
        assert zoomed.y + 100 * factor == pytest.approx(100, abs=1)
        await shown.page.mouse.wheel(0, 40)
        await shown.page.wait_for_function(
            f"new DOMMatrix(getComputedStyle(document.querySelector('.sheet')).transform).f < {zoomed.y - 39}"
        )
        assert await shown.page.evaluate("scrollY") == 0
        await shown.page.mouse.wheel(0, 5000)
        await shown.page.mouse.wheel(0, 30)
        await shown.page.wait_for_function("scrollY === 30")


async def test_dragging_moves_a_zoomed_picture_and_is_no_click(browser: Browser, tmp_path: Path) -> None:
    async with showing(browser, tmp_path) as shown:
        await shown.call(
            "(v.outlines.innerHTML = '<rect width=2000 height=1000 fill=transparent />', "
            "window.clicks = 0, v.outlines.addEventListener('click', () => { window.clicks += 1; }))"
        )
        await shown.page.locator(".stage").click()
        await shown.page.mouse.move(100, 100)
        await shown.page.mouse.down()
        await shown.page.mouse.move(102, 100)
        await shown.page.mouse.up()
        assert await shown.page.evaluate("window.clicks") == 2, "a hand that trembles clicks, too"
        await shown.page.locator(".stage").dblclick()
        clicks = await shown.page.evaluate("window.clicks")
        before = await shown.view()
        assert before.width == pytest.approx(2.25 * STAGE_PX)
        await shown.page.mouse.move(400, 200)
        await shown.page.mouse.down()
        await shown.page.mouse.move(350, 170, steps=5)
        await shown.page.mouse.up()
        after = await shown.view()
        assert [after.x - before.x, after.y - before.y] == pytest.approx([-50, -30])
        assert await shown.page.evaluate("window.clicks") == clicks


async def test_two_fingers_zoom(browser: Browser, tmp_path: Path) -> None:
    async with showing(browser, tmp_path, touch=True) as shown:
        driver = await shown.page.context.new_cdp_session(shown.page)
        for kind, distance in (("touchStart", 50), ("touchMove", 80), ("touchMove", 100), ("touchEnd", 0)):
            points = (
                [] if kind == "touchEnd" else [{"x": 400 + side * distance, "y": 200, "id": side} for side in (0, 1)]
            )
            await driver.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        assert (await shown.view()).width == pytest.approx(2 * STAGE_PX, rel=0.02)


async def test_a_line_is_moved_into_view_and_enlarged_level(browser: Browser, tmp_path: Path) -> None:
    async with showing(browser, tmp_path) as shown:
        await shown.call("v.zoomBy(8, [0, 0])")
        await shown.call(f"(v.reveal({LINE}), v.fit.length)")
        view = await shown.view()
        scale = view.width / SIZE_PX[0]
        left, right = view.x + LINE[0] * scale, view.x + LINE[2] * scale
        assert right - left > STAGE_PX
        assert left == pytest.approx(16), "a line that is longer than the frame is shown from its beginning"
        await shown.call(f"(v.fit(), v.enlarge({LINE}))")
        loupe = await shown.page.locator(".loupe").bounding_box()
        image = await shown.page.locator(".loupe img").bounding_box()
        assert loupe
        assert image
        scale = image["width"] / SIZE_PX[0]
        assert scale > FIT
        middle = (image["x"] + 1750 * scale, image["y"] + 820 * scale)
        assert middle[0] == pytest.approx(loupe["x"] + loupe["width"] / 2, abs=1)
        assert middle[1] == pytest.approx(loupe["y"] + loupe["height"] / 2, abs=1)
        skewed = [1600, 800, 1880, 940, 1862, 976, 1582, 836]
        await shown.call(f"v.enlarge({skewed})")
        transform = await shown.page.evaluate("getComputedStyle(document.querySelector('.loupe img')).transform")
        assert "matrix(" in transform
        cosine, sine = (float(value) for value in transform[7:-1].split(",")[:2])
        assert math.degrees(math.atan2(sine, cosine)) == pytest.approx(-math.degrees(math.atan2(140, 280)), abs=0.1)


async def test_a_line_that_is_as_large_already_is_not_enlarged(browser: Browser, tmp_path: Path) -> None:
    async with showing(browser, tmp_path) as shown:
        await shown.call("v.enlarge([0, 0, 2000, 0, 2000, 1000, 0, 1000])")
        assert await shown.page.locator(".loupe.shown").count() == 0


async def test_a_small_picture_is_shown_at_twice_its_size_at_most(browser: Browser, tmp_path: Path) -> None:
    async with showing(browser, tmp_path) as shown:
        Image.new("RGB", (300, 200), "white").save(tmp_path / "small.png")
        await shown.call("v.show('small.png', '')")
        assert (await shown.view()).width == pytest.approx(600)


async def test_a_file_that_is_no_picture_has_no_size(browser: Browser, tmp_path: Path) -> None:
    async with showing(browser, tmp_path) as shown:
        (tmp_path / "odd.png").write_bytes(b"no picture")
        assert await shown.call("v.show('odd.png', '')") is None
        await shown.call("(v.zoomBy(2), v.turnTo(1), v.fit(), v.enlarge([0, 0, 1, 0, 1, 1, 0, 1]))")
        assert await shown.page.locator(".loupe.shown").count() == 0


async def test_the_last_picture_wins(browser: Browser, tmp_path: Path) -> None:
    async with showing(browser, tmp_path) as shown:
        Image.new("RGB", (400, 400), "white").save(tmp_path / "other.png")
        sizes = await shown.call("Promise.all([v.show('page.png?1', ''), v.show('other.png', '')])")
        assert sizes == [None, {"width": 400, "height": 400}]
