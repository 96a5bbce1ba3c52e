"""How long the review report takes to build, to open and to search, and how much memory it takes in a browser.

    python -m tests.benchmarks.report [PAGES] [--rounds N] [--one-file]

The workspace is synthetic: English and Chinese pages of some 1,500 characters with the places of their lines, one
picture linked by all, or the pages of one file. Each round builds the report anew, and opens it in a browser
that has no cache of it. Prints mean and worst of the rounds. The bounds are those of 50,000 pages, for the worst.
"""

import argparse
import asyncio
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from playwright.async_api import Page

from pipeline.records import FileStat, Record, SourceFile
from pipeline.workspace.index import Index
from tests.report.review_pages import page_record, write_review, write_scan
from tests.server.browser import launched

_BUILD_S: Final = 60.0
_PAINT_MS: Final = 1000.0
_SEARCH_MS: Final = 100.0
_HEAP_MB: Final = 400.0
_LINES: Final = 24
_MOST_LINKS: Final = 50_000
"""Of one file; ext4 allows 65,000."""
_ENGLISH: Final = "the register of the parish was copied by hand in the year of the flood and bound again by order"

_CHINESE: Final = "档案馆目录登记簿手抄本年份洪水重新装订命令县志人口土地赋税粮食河道桥梁书院学生老师商人船只"
_QUERIES: Final = ("register", "FLOOD AND", "洪水重", "e", "nowhere to be found", "page-04", "书")


_MEASURE: Final = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""
"""Prints the peak memory of a command, in kB: that of a child begins with its parent's, which must be small."""


class Figure(NamedTuple):
    """A figure with its unit and bound."""

    name: str
    value: float
    unit: str
    bound: float | None = None


def main() -> int:
    """Print the figures; 1 when one exceeds its bound."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.report")
    parser.add_argument("pages", nargs="?", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--one-file", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pagemill-report-") as directory:
        out = _write(Path(directory), options.pages, is_one_file=options.one_file)
        rounds = [list(_measure(Path(directory), out)) for _ in range(options.rounds)]
    print(f"{f'{options.pages:,} pages, rounds: {options.rounds}':<44}{'mean':>10}{'worst':>10}")
    is_within = True
    for figures in zip(*rounds, strict=True):
        name, _, unit, bound = figures[0]
        values = [figure.value for figure in figures]
        against = "" if bound is None else f"   (bound {bound:,.0f} {unit})"
        print(f"{name:<44}{statistics.mean(values):>10,.1f}{max(values):>10,.1f} {unit}{against}")
        is_within &= bound is None or max(values) <= bound
    return int(not is_within)


def _write(directory: Path, pages: int, *, is_one_file: bool) -> Path:
    scan = directory / "scans/page-000000.png"
    write_scan(scan, ["a line"])
    for number in () if is_one_file else range(1, pages):
        path = scan.with_name(f"page-{number:06}.png")
        if number % _MOST_LINKS == 0:
            scan = path
            write_scan(scan, ["a line"])
        else:
            os.link(scan, path)
    out = write_review(directory, _records(pages, is_one_file=is_one_file))
    with Index.open(out) as index:  # as a run leaves it
        for path in scan.parent.iterdir():
            index.add_file(SourceFile(path.name, path, _stat_of(path)), 1)
    return out


def _stat_of(path: Path) -> FileStat:
    status = path.stat()
    return FileStat(status.st_size, status.st_mtime_ns)


def _measure(directory: Path, out: Path) -> Iterator[Figure]:
    yield from _build(out, "build")
    size = sum(path.stat().st_size for path in (out / "report").rglob("*") if path.is_file())
    yield Figure("the folder", size / 1e6, "MB")
    scans = [directory / "scans" / f"page-{number:06}.png" for number in (0, _MOST_LINKS)]
    known = {scan: scan.stat() for scan in scans if scan.exists()}
    for scan in known:
        os.utime(scan)
    yield from _build(out, "build when all files were touched")
    for scan, status in known.items():
        os.utime(scan, ns=(status.st_atime_ns, status.st_mtime_ns))
    yield from asyncio.run(_open(directory, out / "report/index.html"))


def _build(out: Path, name: str) -> Iterator[Figure]:
    begin = time.monotonic()
    command = [sys.executable, "-m", "pipeline", "report", str(out), "--no-progress"]
    printed = subprocess.run([sys.executable, "-c", _MEASURE, *command], check=True, capture_output=True).stdout
    yield Figure(name, time.monotonic() - begin, "s", _BUILD_S)
    yield Figure(f"memory of the {name}", int(printed) * 1024 / 1e6, "MB")


async def _open(directory: Path, html: Path) -> list[Figure]:
    async with launched(directory / "home") as browser:
        page = await browser.new_page(viewport={"width": 1440, "height": 900}, bypass_csp=True)
        begin = time.monotonic()
        await page.goto(f"{html.as_uri()}#overview", wait_until="commit")
        await page.locator("body[data-loaded]").wait_for(timeout=120_000)
        listed = time.monotonic() - begin
        await page.locator("body[data-loaded=texts]").wait_for(timeout=240_000)
        searchable = time.monotonic() - begin
        paint = await page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        await page.locator("#to-pages").click()
        figures = [
            Figure("first paint", paint, "ms", _PAINT_MS),
            Figure("the list is there", listed, "s"),
            Figure("all texts can be searched", searchable, "s"),
        ]
        figures += [await _search(page, query) for query in _QUERIES]
        figures.append(await _open_page(page))
        return [*figures, await _heap(page)]


async def _search(page: Page, query: str) -> Figure:
    await page.evaluate("performance.clearMeasures()")
    await page.locator("#search").fill(query)
    await page.wait_for_function("performance.getEntriesByType('measure').length > 0")
    ms = await page.evaluate("performance.getEntriesByType('measure').at(-1).duration")
    found = str(await page.locator("#found").text_content()).split(" page")[0]
    return Figure(f"search for '{query}': {found} pages", ms, "ms", _SEARCH_MS)


async def _open_page(page: Page) -> Figure:
    await page.locator("#search").fill("")
    await page.locator("#list").press("End")
    begin = time.monotonic()
    await page.locator("#list").press("Home")
    await page.locator("#page:not([aria-busy]) #text:not(:empty), #viewer polygon").first.wait_for(state="attached")
    return Figure("a page is opened", (time.monotonic() - begin) * 1000, "ms")


async def _heap(page: Page) -> Figure:
    session = await page.context.new_cdp_session(page)
    await session.send("HeapProfiler.collectGarbage")
    await session.send("Performance.enable")
    metrics = (await session.send("Performance.getMetrics"))["metrics"]
    used = next(each["value"] for each in metrics if each["name"] == "JSHeapUsedSize")
    return Figure("heap of the page", used / 1e6, "MB", _HEAP_MB)


def _records(pages: int, *, is_one_file: bool) -> Iterator[Record]:
    chance = random.Random(1)
    for number in range(pages):
        make = _chinese if number % 2 else _english
        score = round(min(1.0, max(0.0, chance.gauss(0.9, 0.1))), 4)
        lines = [make(chance) for _ in range(_LINES)]
        if is_one_file:
            yield page_record("book.pdf", lines, score=score, page=number + 1)
        else:
            yield page_record(f"page-{number:06}.png", lines, score=score)


def _english(chance: random.Random) -> str:
    return " ".join(chance.choices(_ENGLISH.split(), k=12))


def _chinese(chance: random.Random) -> str:
    return "".join(chance.choices(_CHINESE, k=36))


if __name__ == "__main__":
    sys.exit(main())
