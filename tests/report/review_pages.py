"""Workspaces for the review report, and the report in a browser."""

import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from PIL import Image, ImageDraw
from playwright.async_api import Browser, Page

from pipeline.billing import Calendar
from pipeline.config import BudgetConfig
from pipeline.positions import TextLine
from pipeline.quality import Confidence, Quality
from pipeline.records import Failure, PageId, Prep, Record, Reply
from pipeline.report.build import Built, ReportJob, build_report
from pipeline.report.changes import content_hash
from pipeline.report.overview import collect_overview
from pipeline.report.pictures import PictureChoice
from pipeline.workspace.run_file import RunFile, require_workspace
from pipeline.workspace.source_names import encode_name
from tests.report.workspaces import write_lines
from tests.server.browser import DESK_PX, Visit, visiting

SIZE_PX = (600, 400)
WORKSPACE_ID = "0123456789abcdef"
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


def write_scan(path: Path, lines: Sequence[str]) -> None:
    """Write a picture with lines at the places that `page_record` gives."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", SIZE_PX, "white")
    for at, line in enumerate(lines):
        ImageDraw.Draw(image).text((40, 42 + 40 * at), line.encode("ascii", "replace").decode(), fill="black")
    image.save(path)


def page_record(source: str, lines: Sequence[str], *, score: float | None = None, page: int = 1) -> Record:
    """Return the record of a page whose lines have places."""
    digest = hashlib.sha256(encode_name(source)).hexdigest()
    boxes = [(40, 40 + 40 * at, 400, 40 + 40 * at, 400, 64 + 40 * at, 40, 64 + 40 * at) for at in range(len(lines))]
    return Record(
        id=PageId(f"sha256:{digest}#{page}"),
        source=source,
        page=page,
        sha256=digest,
        text="\n".join(lines),
        duplicate_of=None,
        prep=Prep("png", *SIZE_PX, bytes=1000),
        reply=Reply("doc", 1, "host"),
        attempts=(f"{digest[:12]}-{page:06}",),
        elapsed_ms=900,
        added="2026-11-29T10:00:00.000000Z",
        quality=None if score is None else Quality(score, 0.8, Confidence(score, score), 0.1, 0.0, "f32"),
        lines=tuple(TextLine(line, box, 0.95) for line, box in zip(lines, boxes, strict=True)),
    )


def plain_record(source: str, text: str, page: int = 1) -> Record:
    """Return the record of a page whose text has no places."""
    return replace(page_record(source, ()), text=text, page=page, lines=None)


def failure(source: str, message: str = "truncated") -> Failure:
    """Return the failure of a page."""
    digest = hashlib.sha256(encode_name(source)).hexdigest()
    page_id = PageId(f"sha256:{digest}#1")
    return Failure(page_id, source, 1, "rejected", message, 1, retryable=False, added="2026-11-29T11:00:00.000000Z")


def write_review(
    directory: Path, records: Iterable[Record], failures: Iterable[Failure] = (), *, name: str = "out"
) -> Path:
    """Write a workspace below a directory, whose input root is `scans` beside it; return it.

    Records and failures of files that are there have the ids of their contents.
    """
    scans = directory / "scans"
    scans.mkdir(exist_ok=True)
    run_file = RunFile(
        workspace_id=WORKSPACE_ID,
        version="0",
        service="vendor",
        root=str(scans),
        finished="2026-11-29T12:00:00Z",
        exit_code=0,
    )
    finished = (replace(each, id=content_id(scans, each, each.id)) for each in records)
    hashed = (replace(each, sha256=content_hash(each.id)) for each in finished)
    failed = (each if each.id is None else replace(each, id=content_id(scans, each, each.id)) for each in failures)
    return write_lines(directory / name, hashed, failed, run_file)


def content_id(scans: Path, page: Record | Failure, default: PageId) -> PageId:
    """Return the id of a page by the content of its file; another one where there is no file."""
    try:
        digest = hashlib.sha256((scans / page.source).read_bytes()).hexdigest()
    except OSError:
        return default
    return PageId(f"sha256:{digest}#{page.page}")


def build(
    workspace: Path,
    destination: Path | None = None,
    choice: PictureChoice = "link",
    *,
    thumbnails: bool = False,
    keeps_pages: bool = False,
    tick: Callable[[], object] = int,
) -> Built:
    """Build the report of a workspace."""
    run_file = require_workspace(workspace)
    overview = collect_overview(workspace, run_file, BudgetConfig(), NOW)
    assert overview.calendar == Calendar("UTC", 1)
    folder = workspace / "report" if destination is None else destination
    return build_report(ReportJob(workspace, folder, run_file, overview, choice, thumbnails, keeps_pages), tick)


@asynccontextmanager
async def reading(
    browser: Browser, report: Path, size_px: tuple[int, int] = DESK_PX, *, is_dark: bool = False, hash_: str = "pages"
) -> AsyncIterator[Visit]:
    """Open a report from disk, with all its data."""
    async with visiting(browser, "file://", size_px, is_dark=is_dark) as visit:
        await open_report(visit.page, f"{(report / 'index.html').absolute().as_uri()}#{hash_}")
        yield visit


async def open_report(page: Page, url: str) -> None:
    """Go to a report, and wait for all its data."""
    await page.goto(url)
    await page.locator("body[data-loaded=texts]").wait_for()


async def names(page: Page) -> list[str]:
    """Return the names in the list, from the top."""
    options = await page.locator("#list .option").evaluate_all(
        "all => all.sort((a, b) => a.offsetTop - b.offsetTop).map((o) => o.querySelector('.name').textContent)"
    )
    return [str(name) for name in options]
