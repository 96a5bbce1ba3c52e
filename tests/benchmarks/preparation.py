"""Time to prepare pages that must be converted, beside Pillow in one thread.

    python -m tests.benchmarks.preparation [--pages N]

Each kind is N copies of one page, A4 at 300 dpi where nothing else is said. `ours` is a run's way: files read and
hashed, one worker process per core, request bodies built. `Pillow` is a loop in one thread: open, convert, scale, save
as JPEG of the same quality or as PNG, base64, JSON. CPU is that of all processes, without the start of the workers;
`late` is how late the event loop was at p99.9 meanwhile. All were measured in this order in one run.
"""

import argparse
import asyncio
import base64
import io
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

from PIL import Image, ImageFilter

from pipeline.convert.resources import read_machine
from pipeline.inputs.conversion_messages import PrepareSettings
from pipeline.inputs.image import ImageFile, open_converter
from pipeline.wire import Limits
from tests.evaluation.layouts import make_page
from tests.inputs.images import encode, noise

SETTINGS: Final = PrepareSettings(Limits())
A4_PX: Final = (2480, 3508)
LARGE_PX: Final = (6000, 8000)
_TICK_S: Final = 0.001


class Kind(NamedTuple):
    """A kind of page.

    Attributes:
        name: For the table.
        data: The file.
        target: The format that Pillow saves.
    """

    name: str
    data: bytes
    target: str


class Measured(NamedTuple):
    """Seconds of wall time and of CPU per page, bytes sent per page, and how late the event loop was, in ms."""

    wall_s: float
    cpu_s: float
    sent_bytes: float
    late_ms: float


def make_kinds() -> Iterator[Kind]:
    """Yield the kinds of pages, the quick ones first."""
    page = make_page("two columns", "en", "preparation").draw().convert("RGB").resize(A4_PX)
    scan = Image.blend(page, noise(A4_PX), 0.06).filter(ImageFilter.GaussianBlur(0.6))
    bitonal = page.convert("L").point(lambda level: 255 * (level > 128)).convert("1")
    yield Kind("JPEG that fits", encode(scan, "JPEG", quality=85), "as it is")
    yield Kind("TIFF, colour, raw", encode(scan, "TIFF"), "JPEG")
    yield Kind("TIFF, colour, LZW", encode(scan, "TIFF", compression="tiff_lzw"), "JPEG")
    yield Kind("TIFF, grey, raw", encode(scan.convert("L"), "TIFF"), "JPEG")
    yield Kind("TIFF, JPEG inside", encode(scan, "TIFF", compression="jpeg", quality=90), "JPEG")
    yield Kind("TIFF, Group 4", encode(bitonal, "TIFF", compression="group4"), "PNG")
    yield Kind("TIFF, clean type in colour", encode(page, "TIFF", compression="tiff_lzw"), "PNG")
    yield Kind("JPEG of 48 million pixels", encode(scan.resize(LARGE_PX), "JPEG", quality=90), "JPEG")


def prepare_with_pillow(path: Path, target: str) -> int:
    """Prepare a page like a loop of few lines does; return the number of bytes of the image."""
    data = path.read_bytes()
    if target != "as it is":
        image = Image.open(io.BytesIO(data))
        if image.mode not in {"1", "L", "RGB"}:
            image = image.convert("RGB")  # type: ignore[assignment]
        image.thumbnail((4000, 4000), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        image.save(buffer, target, **({"quality": SETTINGS.jpeg_quality} if target == "JPEG" else {}))
        data = buffer.getvalue()
    url = f"data:image/{target.lower()};base64,{base64.b64encode(data).decode()}"
    json.dumps({"document": {"type": "image_url", "image_url": url}}).encode()
    return len(data)


async def measure_ours(paths: list[Path]) -> Measured:
    """Prepare the pages like a run does, after one page per worker has started the workers."""
    jobs = 2 * read_machine().cores
    lates: list[float] = []
    sent: list[int] = []
    async with open_converter(SETTINGS) as converter:
        with ThreadPoolExecutor(2) as threads:

            async def prepare(path: Path) -> None:
                payload = await ImageFile(path, SETTINGS).prepare(1, converter, threads)
                assert payload.prep is not None
                sent.append(payload.prep.bytes)

            await asyncio.gather(*(prepare(path) for path in paths[:jobs]))
            sent.clear()
            remaining = iter(paths)

            async def work() -> None:
                for path in remaining:
                    await prepare(path)

            pids = converter.worker_pids
            watch = asyncio.ensure_future(_watch(lates))
            began_s, cpu_s = time.perf_counter(), time.process_time() + _cpu_s(pids)
            await asyncio.gather(*(work() for _ in range(jobs)))
            wall_s, cpu_s = time.perf_counter() - began_s, time.process_time() + _cpu_s(pids) - cpu_s
            watch.cancel()
    lates.sort()
    late_ms = 1000 * lates[min(len(lates) - 1, int(len(lates) * 0.999))] if lates else 0.0
    return Measured(wall_s / len(paths), cpu_s / len(paths), sum(sent) / len(sent), late_ms)


async def _watch(lates: list[float]) -> None:
    """Note how much longer each short sleep took."""
    while True:
        began_s = time.perf_counter()
        await asyncio.sleep(_TICK_S)
        lates.append(time.perf_counter() - began_s - _TICK_S)


def _cpu_s(pids: list[int]) -> float:
    """Return the seconds of CPU that processes have used (proc(5), `stat`, fields 14 and 15)."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / 100


def measure_pillow(paths: list[Path], target: str) -> Measured:
    """Prepare the pages in one thread."""
    prepare_with_pillow(paths[0], target)
    began_s, cpu_s = time.perf_counter(), time.process_time()
    sent = [prepare_with_pillow(path, target) for path in paths]
    wall_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    return Measured(wall_s / len(paths), cpu_s / len(paths), sum(sent) / len(sent), 0.0)


def main() -> int:
    """Print a row per kind: times per page and the ratios of wall time and of bytes."""
    parser = argparse.ArgumentParser(prog="tests.benchmarks.preparation")
    parser.add_argument("--pages", type=int, default=24)
    pages = parser.parse_args().pages
    print(f"{read_machine().cores} cores, {pages} pages per kind; ms per page")
    print(f"{'':<28}{'ours':>7}{'CPU':>7}{'Pillow':>8}{'CPU':>7}{'faster':>8}{'kB':>7}{'Pillow':>8}{'late':>6}")
    for kind in make_kinds():
        directory = Path(tempfile.mkdtemp(prefix="preparation-"))
        paths = [directory / f"{number}.dat" for number in range(pages)]
        for path in paths:
            path.write_bytes(kind.data)
        ours, pillow = asyncio.run(measure_ours(paths)), measure_pillow(paths, kind.target)
        print(
            f"{kind.name:<28}{ours.wall_s * 1000:>7.2f}{ours.cpu_s * 1000:>7.1f}{pillow.wall_s * 1000:>8.1f}"
            f"{pillow.cpu_s * 1000:>7.1f}{pillow.wall_s / ours.wall_s:>7.2f}×{ours.sent_bytes / 1000:>7,.0f}"
            f"{pillow.sent_bytes / 1000:>8,.0f}{ours.late_ms:>6.1f}",
            flush=True,
        )
        shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
