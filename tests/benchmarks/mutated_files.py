"""Mutated files of all formats through the border: what becomes of them, and whether anything escapes.

    python -m tests.benchmarks.mutated_files [FILES] [--seed N]

Each file is prepared like a run does it, with real worker processes. Each of its pages is sent unchanged, converted to
images that can be decoded and are within the limits, or failed with its class. Anything else is an escape: the command
prints it and exits with 1. A crash or a hang of a worker costs its page, and is shown as `conversion-failed`. The
longest time of a page and the processes that are left at the end are printed; exit code 1 also when a page took longer
than its deadline, or a process is left.
"""

import argparse
import asyncio
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

from pipeline.errors import PageError
from pipeline.inputs.archives.lookup import find_member
from pipeline.inputs.conversion_messages import PrepareSettings
from pipeline.inputs.image import CONVERSION_TIMEOUT_S, Converter, ImageFile, open_converter
from pipeline.members import Member
from pipeline.records import Payload
from pipeline.wire import Limits
from tests.archives import write_tar, write_zip
from tests.benchmarks.usage import family
from tests.inputs.images import check, sent_image
from tests.inputs.mutations import mutate, whole_files
from tests.inputs.odd_pdfs import ODD_PDFS

JOBS: Final = 6
SETTINGS: Final = PrepareSettings(Limits())
DEADLINE_S: Final = JOBS * CONVERSION_TIMEOUT_S
"""Of a page behind all others; the workers end tasks at `CONVERSION_TIMEOUT_S`."""
_MAX_PAGES: Final = 30
"""A damaged chain of directories may announce more pages than are worth the time."""

ARCHIVES: Final = frozenset({"ZIP", "TAR", "TGZ"})
_PDFS: Final = ("jpeg-in-colour", "ccitt", "jbig2", "jpx", "indexed", "object-streams", "form-field", "text-only")

Totals = dict[str, Counter[str]]


class Outcome(NamedTuple):
    """What became of the pages of mutated files, by kind, the escapes, and the longest time of a page."""

    totals: Totals
    escapes: list[str]
    longest_s: float


class Preparation:
    """Prepares the pages of files; notes the longest time of a page or a tile, its wait for a worker included."""

    def __init__(self, converter: Converter, threads: ThreadPoolExecutor) -> None:
        self._converter, self._threads = converter, threads
        self.longest_s = 0.0

    async def prepare(self, path: Path, member: Member | PageError | None) -> Counter[str]:
        """Prepare all pages of a file; count the classes in which they end."""
        if isinstance(member, PageError):
            return Counter([member.name])
        ended: Counter[str] = Counter()
        image, page = ImageFile(path, SETTINGS, member), 1
        while page <= min(image.pages, _MAX_PAGES):
            try:
                for payload in await self._prepare_page(image, page):
                    if member is not None or sent_image(payload) != path.read_bytes():
                        check(payload, SETTINGS)
                ended["sent"] += 1
            except PageError as exc:
                ended[exc.name] += 1
            page += 1
        image.close()
        return ended

    async def _prepare_page(self, image: ImageFile, page: int) -> list[Payload]:
        """Return a page, or the tiles of one that needs several calls."""
        payload = await self._timed(image.prepare(page, self._converter, self._threads))
        return [
            await self._timed(image.prepare_tile(page, tile, self._converter, self._threads)) for tile in payload.tiles
        ] or [payload]

    async def _timed(self, prepared: Coroutine[None, None, Payload]) -> Payload:
        begun_s = time.monotonic()
        try:
            return await prepared
        finally:
            self.longest_s = max(self.longest_s, time.monotonic() - begun_s)


async def prepare_all(files: int, seed: int, directory: Path) -> Outcome:
    """Prepare the pages of mutated files."""
    totals: Totals = defaultdict(Counter)
    escapes: list[str] = []
    numbers = iter(range(files))
    kinds = [*whole_files().items(), *_pdfs().items(), *_archives(directory).items()]

    async def work(job: int, preparation: Preparation) -> None:
        for number in numbers:
            kind, whole = kinds[number % len(kinds)]
            path = directory / f"{job}.{kind.lower() if kind in ARCHIVES else 'dat'}"
            path.write_bytes(mutate(whole, random.Random(seed * 1_000_003 + number)))
            totals[kind]["files"] += 1
            try:
                for place, member in _members(path) if kind in ARCHIVES else [(path, None)]:
                    totals[kind] += await preparation.prepare(place, member)
            except Exception:  # noqa: BLE001 - an escape is what this command looks for
                saved = directory / f"escape-{number}.dat"
                path.rename(saved)
                escapes.append(f"{kind}, file {number}, kept as {saved}:\n{traceback.format_exc()}")

    async with open_converter(SETTINGS) as converter:
        with ThreadPoolExecutor(JOBS) as threads:
            preparation = Preparation(converter, threads)
            await asyncio.gather(*(work(job, preparation) for job in range(JOBS)))
    return Outcome(totals, escapes, preparation.longest_s)


def _pdfs() -> dict[str, bytes]:
    return {f"PDF {name}": ODD_PDFS[name]().data for name in _PDFS}


def _archives(directory: Path) -> dict[str, bytes]:
    pages = {"a.tif": whole_files()["TIFF LZW"], "b/c.png": whole_files()["PNG"]}
    return {
        "ZIP": write_zip(directory / "whole.zip", pages).read_bytes(),
        "TAR": write_tar(directory / "whole.tar", pages).read_bytes(),
        "TGZ": write_tar(directory / "whole.tgz", pages, "w:gz").read_bytes(),
    }


def _members(path: Path) -> list[tuple[Path, Member | PageError]]:
    return [(path / name, find_member(str(path / name))) for name in ("a.tif", "b/c.png")]


def print_table(totals: Totals) -> None:
    """Print a line per kind and their sum: files, and pages by what became of them."""
    overall = sum(totals.values(), Counter[str]())
    outcomes = sorted(overall.keys() - {"files", "sent"})
    print("| kind | files | sent | " + " | ".join(outcomes) + " |")
    print("|---|" + "---:|" * (2 + len(outcomes)))
    for kind, counts in [*sorted(totals.items()), ("all", overall)]:
        cells = (str(counts[name]) for name in ("files", "sent", *outcomes))
        print(f"| {kind} | " + " | ".join(cells) + " |")


def main() -> int:
    """Run the benchmark; return 1 when something escaped."""
    parser = argparse.ArgumentParser(prog="tests.benchmarks.mutated_files")
    parser.add_argument("files", type=int, nargs="?", default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    began_s = time.monotonic()
    directory = Path(tempfile.mkdtemp(prefix="mutated-"))
    outcome = asyncio.run(prepare_all(options.files, options.seed, directory))
    left = len(list(family(os.getpid()))) - 1
    print_table(outcome.totals)
    escapes = len(outcome.escapes)
    print(f"\n{options.files} files in {time.monotonic() - began_s:.0f} s: {escapes} escapes, {left} processes left")
    print(f"slowest page {outcome.longest_s:.1f} s, its wait for a worker included")
    for escape in outcome.escapes:
        print(escape, file=sys.stderr)
    if escapes or left or outcome.longest_s > DEADLINE_S:
        return 1
    shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
