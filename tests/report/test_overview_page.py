"""The overview in a browser: complete without a request, readable on a phone and at a desk, light and dark."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from random import Random

import msgspec
import pytest
import pytest_asyncio
from playwright.async_api import Browser

from pipeline.cli.status import show_status
from pipeline.workspace.run_file import RunFile
from tests.factories import make_failure
from tests.report.workspaces import WORKSPACE_ID, YEAR_BEGIN, write_lines, write_year, year_record
from tests.server.browser import DESK_PX, PHONE_PX, Visit, launched, visiting

pytestmark = pytest.mark.asyncio(loop_scope="module")

RUN = RunFile(workspace_id=WORKSPACE_ID, version="0", service="vendor", finished="2026-11-30T04:00:00Z", exit_code=0)
MARKUP = "</title></style><script>document.title = 'run'</script><img src=x onerror=\"document.title = 'run'\">"
HOSTILE = f"{MARKUP}\u202egnp.\x01\u2066"

OVERLAPS = """() => [...document.querySelectorAll("svg.chart")].flatMap((chart) => {
  const boxes = [...chart.querySelectorAll("text")].map((text) => [text.textContent, text.getBoundingClientRect()]);
  return boxes.flatMap(([name, a], place) => [
    ...(a.left < 0 || a.right > innerWidth ? [`${name} beyond the screen`] : []),
    ...boxes.slice(place + 1)
      .filter(([, b]) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom)
      .map(([other]) => `${name} on ${other}`),
  ]);
})"""


def make_empty(directory: Path) -> Path:
    return write_lines(directory / "empty", iter(()), iter(()), RUN)


def make_one_page(directory: Path) -> Path:
    return write_lines(directory / "one page", iter([year_record(Random(1), 1, YEAR_BEGIN, 0)]), iter(()), RUN)


def make_one_day(directory: Path) -> Path:
    chance = Random(1)
    records = (year_record(chance, n, YEAR_BEGIN + timedelta(seconds=11 * n), 0) for n in range(700))
    return write_lines(directory / "one day", records, iter(()), RUN)


def make_ten_years(directory: Path) -> Path:
    chance = Random(1)
    records = (year_record(chance, n, YEAR_BEGIN + timedelta(days=1.5 * n), n) for n in range(2400))
    return write_lines(directory / "ten years", records, iter(()), RUN)


def make_all_failed(directory: Path) -> Path:
    failures = (make_failure(f"{n}.png", n, error=("rejected", "truncated")[n % 2]) for n in range(30))
    return write_lines(directory / "all failed", iter(()), failures, RUN)


def make_hostile(directory: Path) -> Path:
    """Names that are markup, turn the text, or are far too long; a clock of the first year, and of the last."""
    record = year_record(Random(1), 1, YEAR_BEGIN, 0)
    times = ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "", "\0")
    records = (replace(record, source=f"{HOSTILE}{n}", text=HOSTILE, added=time) for n, time in enumerate(times))
    names = (HOSTILE, "x" * 10_000, "\0\x1b[31m", MARKUP * 30)
    failures = (make_failure(f"{n}.png", n, error=name) for n, name in enumerate(names))
    return write_lines(directory / HOSTILE.replace("/", "\u2215"), records, failures, with_service(HOSTILE))


def with_service(name: str) -> RunFile:
    return msgspec.structs.replace(RUN, service=name, exit_code=5, reason=MARKUP)


def make_year(directory: Path) -> Path:
    return write_year(directory, per_night=8)


MAKERS = {
    "year": make_year,
    "empty": make_empty,
    "one-page": make_one_page,
    "one-day": make_one_day,
    "ten-years": make_ten_years,
    "all-failed": make_all_failed,
    "hostile": make_hostile,
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    async with launched(tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest.fixture(scope="module", params=MAKERS)
def page_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the overview of a workspace."""
    directory = tmp_path_factory.mktemp(request.param)
    make: Callable[[Path], Path] = MAKERS[request.param]
    path = directory / f"{request.param}.html"
    show_status(make(directory), as_json=True, html=path)
    return path


async def check_layout(visit: Visit, width_px: int) -> None:
    """Fail when the page is wider than the screen, or labels touch."""
    assert await visit.page.evaluate("document.documentElement.scrollWidth") <= width_px
    assert await visit.page.evaluate(OVERLAPS) == []


@pytest.mark.parametrize(
    ("size_px", "is_dark"),
    [
        pytest.param(PHONE_PX, False, id="phone-light"),
        pytest.param(DESK_PX, True, id="desk-dark", marks=pytest.mark.deep),
    ],
)
async def test_any_overview_in_a_browser(
    page_file: Path, browser: Browser, size_px: tuple[int, int], *, is_dark: bool
) -> None:
    await look_at(page_file, browser, size_px, is_dark=is_dark)


@pytest.mark.parametrize(("size_px", "is_dark"), [(PHONE_PX, True), (DESK_PX, False)], ids=["phone-dark", "desk-light"])
async def test_a_years_overview_on_the_other_screens(
    tmp_path: Path, browser: Browser, size_px: tuple[int, int], *, is_dark: bool
) -> None:
    path = tmp_path / "year.html"
    show_status(make_year(tmp_path), as_json=True, html=path)
    await look_at(path, browser, size_px, is_dark=is_dark)


async def look_at(path: Path, browser: Browser, size_px: tuple[int, int], *, is_dark: bool) -> None:
    """Open a page; check it with its tables folded, with one open, and with all."""
    async with visiting(browser, "file://", size_px, is_dark=is_dark) as visit:
        await visit.page.goto(path.as_uri())
        assert await visit.page.title() != "run"
        await visit.picture(f"overview-{path.stem}-{size_px[0]}-{'dark' if is_dark else 'light'}")
        await check_layout(visit, size_px[0])
        summaries = await visit.page.locator("summary").all()
        for summary in summaries[:1]:
            await summary.click()
        assert await visit.violations() == []
        for summary in summaries[1:]:
            await summary.click()
        await check_layout(visit, size_px[0])
        assert len(visit.requests) == 1


async def test_hostile_names_are_shown_as_text(tmp_path: Path, browser: Browser) -> None:
    path = tmp_path / "overview.html"
    show_status(make_hostile(tmp_path), as_json=True, html=path)
    async with visiting(browser, "file://") as visit:
        await visit.page.goto(path.as_uri())
        assert "<script>document.title = 'run'<\u2215script>" in await visit.page.locator("h1").inner_text()
        assert "<script>document.title = 'run'</script>" in await visit.page.locator(".bars").last.inner_text()
        assert await visit.page.locator("script, img").count() == 0
        assert await visit.page.evaluate(r"/[\u202e\u2066\0\x1b\x01]/.test(document.body.textContent)") is False


async def test_a_chart_is_read_aloud_as_its_title_and_summary(page_file: Path, browser: Browser) -> None:
    async with visiting(browser, "file://") as visit:
        await visit.page.goto(page_file.as_uri())
        charts = await visit.page.locator("svg.chart").all()
        for chart in charts:
            title, summary = await chart.locator("> title").text_content(), await chart.locator("> desc").text_content()
            assert await visit.page.get_by_role("img", name=f"{title} {summary}", exact=True).count() == 1
            assert await chart.locator("xpath=following-sibling::details//tbody/tr").count() > 0
        assert (page_file.stem == "empty") == (not charts)
