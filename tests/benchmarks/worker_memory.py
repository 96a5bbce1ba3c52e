"""Memory of one worker of `pagemill serve`: when its engine is loaded, and at the peak of large pages.

    python -m tests.benchmarks.worker_memory [--engine fast]

One worker reads the pages in turn, the larger ones last, so each peak is that of the pages so far.
`tests.benchmarks.speed` prints the same table.
"""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

from PIL import Image

from pipeline.config import ServeConfig
from pipeline.convert.resources import resident_bytes
from pipeline.errors import EngineError
from pipeline.server.workers.pool import Pool, plan_pool
from tests.evaluation.engines import encode_png
from tests.evaluation.layouts import Layout, make_page

A4_300_DPI_PX: Final = (2480, 3508)
SCREENSHOT_PX: Final = (1080, 30_000)

EngineName = Literal["accurate", "fast"]


async def main() -> None:
    """Print a row when the engine is loaded, and one after each page."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.worker_memory")
    parser.add_argument("--engine", choices=("accurate", "fast"), default="accurate")
    async for row in memory_table(parser.parse_args().engine):
        print(row, flush=True)


async def memory_table(engine: EngineName) -> AsyncIterator[str]:
    """Yield the rows of the table: after each page the resident memory of the worker, and its peak so far."""
    try:
        plan = replace(plan_pool(ServeConfig(engine=engine, workers=1)), recycle_bytes=sys.maxsize)
    except EngineError as exc:
        sys.exit(str(exc))
    async with Pool(plan) as pool:
        yield f"{f'MiB of one worker, {engine}':<36}{'resident':>10}{'peak':>10}"
        yield _row("engine loaded", pool.worker_pids)
        for name, image in large_pages():
            await pool.recognise(image)
            yield _row(name, pool.worker_pids)


def large_pages() -> Iterator[tuple[str, bytes]]:
    """Yield the name and the PNG of each page, from the smallest to the largest."""
    for name, layout in (("usual", "single"), ("small", "small type")):
        yield f"A4 at 300 dpi, {name} type", encode_png(_draw(layout).resize(A4_300_DPI_PX, Image.Resampling.LANCZOS))
    width, height = SCREENSHOT_PX
    screen, screenshot = _draw("long screenshot"), Image.new("RGB", SCREENSHOT_PX)
    for top in range(0, height, screen.height):
        screenshot.paste(screen, (0, top))
    yield f"screenshot of {width} × {height:,} px", encode_png(screenshot)


def peak_bytes(pid: int) -> int:
    """Return the largest resident memory that a process had so far (proc(5), `status`); 0 when it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text("ascii")
    except OSError:
        return 0
    return 1024 * next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")), 0)


def _draw(layout: Layout) -> Image.Image:
    return make_page(layout, "en", "memory").draw()


def _row(name: str, pids: Iterable[int]) -> str:
    (pid,) = pids
    return f"{name:<36}{resident_bytes(pid) / 1024**2:>10,.0f}{peak_bytes(pid) / 1024**2:>10,.0f}"


if __name__ == "__main__":
    asyncio.run(main())
