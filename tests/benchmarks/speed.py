"""Speed of our engines and of RapidOCR, measured on the same pages in one run.

    python -m tests.benchmarks.speed [--pages N] [--seed N] [--block N] [--engines accurate,fast,rapidocr]

Our engines run as in `pagemill serve`: a pool of worker processes of the size that it chooses for this machine, with
all pages of a block requested at once. RapidOCR runs with its default settings, which give its threads all cores, in
one process, one page at a time. The pages are a mix of the evaluation set's groups and languages, as PNG. They are read
in blocks, each block by every engine in turn, so that other load on the machine affects all engines alike; two warm-up
pages do not count. CPU seconds are those of all processes of an engine; memory is that of its largest process at the
end (RapidOCR shares its process with this program), and below the table that of one worker with large pages
(`worker_memory.py`). "wrong %" counts white space as `tests.benchmarks.accuracy` does, "no spaces %" ignores it.
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal

from pipeline.config import ServeConfig
from pipeline.convert.resources import resident_bytes
from pipeline.errors import EngineError
from pipeline.server.workers.pool import Pool, plan_pool
from tests.benchmarks.worker_memory import memory_table
from tests.evaluation.engines import encode_png, load_rapidocr
from tests.evaluation.groups import TEXT_GROUPS, make_sample
from tests.evaluation.scoring import Score, score_page
from tests.evaluation.writing import LANGUAGES

BASE = "rapidocr"
ENGINES = ("accurate", "fast", BASE)
BAR_WIDTH = 24

ReadAll = Callable[[Sequence[bytes]], Awaitable[list[str]]]
"""Returns the texts of a block of encoded pages."""


@dataclass(frozen=True, slots=True)
class EncodedPage:
    """A page as a PNG, and its text."""

    image: bytes
    truth: str


@dataclass(slots=True)
class Runner:
    """A measured engine.

    Attributes:
        processes: Number of its processes, for the table.
        read_all: Reads a block of pages.
        pids: Returns its worker processes; none when it runs in this process.
        wall_s: Wall time of all pages so far.
        cpu_s: CPU time of all pages so far, of its processes and of this one.
        score: Errors on all pages so far.
    """

    processes: str
    read_all: ReadAll
    pids: Callable[[], Sequence[int]] = tuple
    wall_s: float = 0.0
    cpu_s: float = 0.0
    score: Score = field(default_factory=Score)

    async def read(self, pages: Sequence[EncodedPage]) -> None:
        """Read a block of pages; add its time and its errors."""
        pids = self.pids()
        begun_s, begun_cpu_s = time.monotonic(), self._cpu_s()
        texts = await self.read_all([page.image for page in pages])
        self.wall_s += time.monotonic() - begun_s
        if self.pids() != pids:
            sys.exit("a worker was replaced during the block, so its CPU time is unknown; run the benchmark again")
        self.cpu_s += self._cpu_s() - begun_cpu_s
        for page, text in zip(pages, texts, strict=True):
            self.score += score_page(page.truth, text)

    def memory_mib(self) -> float:
        """Return the resident memory of its largest process."""
        return max(map(resident_bytes, self.pids() or [os.getpid()])) / 1024**2

    def _cpu_s(self) -> float:
        return time.process_time() + sum(map(process_cpu_s, self.pids()))


async def main() -> int:
    """Print the progress on stderr after each block, and the table at the end."""
    options = _options()
    runners: dict[str, Runner] = {}
    async with AsyncExitStack() as stack:
        for name in options.engines:
            runners[name] = _load_rapidocr() if name == BASE else await _start_pool(stack, name)
        warm_up = [page.image for page in islice(mixed_pages(options.seed + 1), 2)]
        for runner in runners.values():
            await runner.read_all(warm_up)
        pages = mixed_pages(options.seed)
        for done in range(0, options.pages, options.block):
            block = list(islice(pages, min(options.block, options.pages - done)))
            for runner in list(runners.values())[:: -1 if done // options.block % 2 else 1]:
                await runner.read(block)
            print(f"{done + len(block)} pages", file=sys.stderr, flush=True)
        print(f"seed {options.seed}, {options.pages} pages in blocks of {options.block}, {os.cpu_count()} cores")
        print("\n".join(table(runners, options.pages)), flush=True)
    for name in options.engines:
        if name != BASE:
            async for row in memory_table(name):
                print(row, flush=True)
    return 0


def mixed_pages(seed: int) -> Iterator[EncodedPage]:
    """Yield pages without end: one of each group in turn, in a different language each time."""
    number = 0
    while True:
        for i, group in enumerate(TEXT_GROUPS):
            language = (number + i) % len(LANGUAGES)
            nth = number // len(LANGUAGES) * len(LANGUAGES) + language
            sample = make_sample(group, seed, nth)
            yield EncodedPage(encode_png(sample.picture), sample.truth)
        number += 1


def table(runners: dict[str, Runner], pages: int) -> Iterator[str]:
    """Yield the rows of the table, then one bar per engine. Ratios are relative to RapidOCR, or to the first engine."""
    titles = ("pages/s", "CPU s/page", "wrong %", "no spaces %", "MiB/process", "pages/s", "CPU")
    yield f"{'':<10}" + "".join(f"{title:>13}" for title in titles) + "  processes"
    base = runners.get(BASE, next(iter(runners.values())))
    for name, runner in runners.items():
        rate, cpu_s, score = pages / runner.wall_s, runner.cpu_s / pages, runner.score
        wrong, wrong_letters = score.percent("errors"), score.percent("wrong_letters")
        yield (
            f"{name:<10}{rate:>13.3f}{cpu_s:>13.2f}{wrong:>13.2f}{wrong_letters:>13.2f}{runner.memory_mib():>13,.0f}"
            f"{base.wall_s / runner.wall_s:>12.2f}x{base.cpu_s / runner.cpu_s:>12.2f}x  {runner.processes}"
        )
    quickest = min(runner.wall_s for runner in runners.values())
    for name, runner in runners.items():
        yield f"{name:<10}{'█' * max(1, round(BAR_WIDTH * quickest / runner.wall_s))} {pages / runner.wall_s:.2f}"


def process_cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process has used, its threads included (proc(5), `stat`)."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.speed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pages", type=int, default=30)
    parser.add_argument("--block", type=int, default=10, help="pages that are requested at once")
    parser.add_argument("--engines", type=partial(str.split, sep=","), default=list(ENGINES))
    options = parser.parse_args()
    if min(options.pages, options.block) < 1:
        parser.error("--pages and --block must be at least 1")
    if unknown := set(options.engines) - set(ENGINES):
        parser.error(f"unknown engines: {', '.join(sorted(unknown))}")
    return options


async def _start_pool(stack: AsyncExitStack, engine: Literal["accurate", "fast"]) -> Runner:
    try:
        plan = plan_pool(ServeConfig(engine=engine))
    except EngineError as exc:
        sys.exit(str(exc))
    pool = await stack.enter_async_context(Pool(plan))

    async def read_all(images: Sequence[bytes]) -> list[str]:
        return [page.text for page in await asyncio.gather(*map(pool.recognise, images))]

    return Runner(f"{plan.workers}", read_all, lambda: pool.worker_pids)


def _load_rapidocr() -> Runner:
    read = load_rapidocr()

    async def read_all(images: Sequence[bytes]) -> list[str]:
        return list(map(read, images))

    return Runner("1", read_all)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
