"""The plan as a page: it loads nothing, escapes names, and fits a telephone and a desk, light and dark."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser

from pipeline.batch.planning.count import PlanJob
from pipeline.batch.planning.plan import Plan, make_plan
from pipeline.cli.plan_html import render_plan
from pipeline.service import Service
from tests.pages import write_page, write_pages
from tests.runs import configure
from tests.server.browser import DESK_PX, PHONE_PX, launched, visiting

NAME = '<img src=x onerror=alert(1)>.&"'


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Browser]:
    async with launched(tmp_path) as opened:
        yield opened


async def plan_of(scans: Path) -> Plan:
    """Return the plan of a folder with pages of several formats, and names that are markup."""
    write_pages(scans, 40)
    write_page(scans / "a.jpg", 1)
    write_page(scans / "b.tif", 2)
    write_page(scans / "c.bmp", 3, size_px=(700, 700))
    (scans / f"d.{NAME}").write_bytes(b"x")
    (scans / "empty.jpg").write_bytes(b"")
    (scans / "book.djvu").write_bytes(b"AT&TFORM")
    config = configure(scans / "out", budget={"tier": "free"}, input={"include": ["*"]})
    return await make_plan(PlanJob([str(scans)], None, Service("", None, "embedded"), config))


async def test_names_are_text(scans: Path) -> None:
    page = render_plan(await plan_of(scans), [f"scans/{NAME}"])
    assert "<img" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert "http" not in page.replace("http-equiv", "")
    odd = render_plan(await plan_of(scans), ["\u202e\0\udce9", "x" * 10_000])
    assert "<h1><bdi>Plan for \\u202e\\x00\\xe9, xxx" in odd
    assert len(odd) < len(page) + 500
    assert "<script" not in page


@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size_px", [DESK_PX, PHONE_PX], ids=["desk", "phone"])
async def test_the_page_in_a_browser(
    scans: Path, tmp_path: Path, browser: Browser, size_px: tuple[int, int], *, is_dark: bool
) -> None:
    """Nothing is loaded, nothing is wider than the screen, and axe-core has no complaint."""
    path = tmp_path / "plan.html"
    path.write_text(render_plan(await plan_of(scans), ["scans/letters", NAME]), "utf-8")
    async with visiting(browser, "file://", size_px, is_dark=is_dark) as visit:
        await visit.page.goto(path.as_uri())
        assert await visit.page.evaluate("document.documentElement.scrollWidth") <= size_px[0]
        assert await visit.page.locator(".bars rect").count() > 8
        await visit.picture(f"plan-{size_px[0]}-{'dark' if is_dark else 'light'}")
        assert len(visit.requests) == 1
        assert await visit.violations() == []
