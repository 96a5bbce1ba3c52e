"""Time to prepare pages, beside Pillow or PDFium in one thread.

    python -m tests.benchmarks.preparation [WORD ...] [--pages N] [--repeat N]

Each kind is N copies of one page, A4 at 300 dpi where nothing else is said, or a book: one file of many pages. `ours`
is a run's way: files read and hashed, one worker process per core, request bodies built; `-j 1` is the same with one
page at a time. `thread` is a loop in one thread: open, convert or render, scale, save as JPEG of the same quality or as
PNG, base64, JSON; for pages that fit it is the leanest loop, which reads, hashes and encodes. CPU is that of all
processes, without the start of the workers; `late` is how late the event loop was at p99.9 meanwhile. Each figure is
the median of the repetitions, which take turns in one process. Exit code 1: a kind is slower than `PROMISED`.
"""

import argparse
import asyncio
import base64
import io
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

import pypdfium2
from PIL import Image, ImageFilter

from pipeline.convert.pool import ConversionPool
from pipeline.convert.resources import read_machine
from pipeline.inputs.conversion_messages import PrepareSettings, Result
from pipeline.inputs.image import ImageFile, open_converter
from pipeline.wire import Limits
from tests.benchmarks.contenders import prepare_lean
from tests.evaluation.layouts import make_page
from tests.inputs.images import encode, noise
from tests.inputs.pdfs import Pdf

SETTINGS: Final = PrepareSettings(Limits())
A4_PX: Final = (2480, 3508)
LARGE_PX: Final = (6000, 8000)
_TICK_S: Final = 0.001


PROMISED: Final = {"TIFF, colour": 1.8, "PDF": 1.8, "book, TIFF": 1.7}
"""How many times as fast as one thread, by the beginning of the kind's name, on two cores."""
JOBS: Final = 8
BOOK_PAGES, PDF_PAGES = 20, 40


class Kind(NamedTuple):
    """A kind of page.

    Attributes:
        name: For the table.
        data: The file.
        target: The format that one thread saves.
        pages: In the file.
    """

    name: str
    data: bytes
    target: str
    pages: int = 1

    @property
    def promised(self) -> float:
        """How many times as fast as one thread it must be."""
        return max((least for name, least in PROMISED.items() if self.name.startswith(name)), default=0.0)


class Measured(NamedTuple):
    """Seconds of wall time and of CPU per page, bytes sent per page, and how late the event loop was, in ms."""

    wall_s: float
    cpu_s: float
    sent_bytes: float
    late_ms: float


def make_kinds(words: list[str]) -> Iterator[Kind]:
    """Yield the kinds of pages whose names have one of the words, or all; the quick ones first."""
    page = make_page("two columns", "en", "preparation").draw().convert("RGB").resize(A4_PX)
    scan = Image.blend(page, noise(A4_PX), 0.06).filter(ImageFilter.GaussianBlur(0.6))
    grey = scan.convert("L")
    bitonal = page.convert("L").point(lambda level: 255 * (level > 128)).convert("1")
    makers: dict[str, tuple[Callable[[], bytes], str, int]] = {
        "fits, JPEG of 150 dpi": (lambda: encode(scan.reduce(2), "JPEG", quality=70), "", 1),
        "fits, JPEG": (lambda: encode(scan, "JPEG", quality=85), "", 1),
        "TIFF, colour, raw": (lambda: encode(scan, "TIFF"), "JPEG", 1),
        "TIFF, colour, LZW": (lambda: encode(scan, "TIFF", compression="tiff_lzw"), "JPEG", 1),
        "TIFF, colour, JPEG inside": (lambda: encode(scan, "TIFF", compression="jpeg", quality=90), "JPEG", 1),
        "TIFF, grey, raw": (lambda: encode(grey, "TIFF"), "JPEG", 1),
        "TIFF, Group 4": (lambda: encode(bitonal, "TIFF", compression="group4"), "PNG", 1),
        "TIFF, clean type in colour": (lambda: encode(page, "TIFF", compression="tiff_lzw"), "PNG", 1),
        "JPEG of 48 million pixels": (lambda: encode(scan.resize(LARGE_PX), "JPEG", quality=90), "JPEG", 1),
        "book, TIFF, colour, raw": (lambda: _book(scan, "raw"), "JPEG", BOOK_PAGES),
        "book, TIFF, colour, LZW": (lambda: _book(scan, "tiff_lzw"), "JPEG", BOOK_PAGES),
        "PDF of type": (_pdf, "PNG", PDF_PAGES),
    }
    for name, (make, target, pages) in makers.items():
        if not words or any(word in name for word in words):
            yield Kind(name, make(), target, pages)


def _book(scan: Image.Image, compression: str) -> bytes:
    return encode(scan, "TIFF", compression=compression, save_all=True, append_images=[scan] * (BOOK_PAGES - 1))


def _pdf() -> bytes:
    pdf = Pdf()
    for page in range(PDF_PAGES):
        lines = (
            b"BT /F0 9 Tf 50 %d Td (%d: the lines of a page that is rendered, set in one column of type) Tj ET\n"
            % (800 - 12 * line, 100 * page + line)
            for line in range(64)
        )
        pdf.add_page(b"".join(lines))
    return pdf.to_bytes()


def prepare_in_one_thread(path: Path, kind: Kind) -> list[int]:
    """Prepare the pages of a file like a loop of few lines does; return the number of bytes of each image."""
    if not kind.target:
        return [len(prepare_lean(path)[1])]
    return [_save(page, kind.target) for page in (_rendered(path) if kind.name.startswith("PDF") else _frames(path))]


def _frames(path: Path) -> Iterator[Image.Image]:
    image = Image.open(io.BytesIO(path.read_bytes()))
    for frame in range(getattr(image, "n_frames", 1)):
        image.seek(frame)
        yield image.copy()


def _rendered(path: Path) -> Iterator[Image.Image]:
    with pypdfium2.PdfDocument(path.read_bytes()) as document:
        for page in document:
            yield page.render(scale=SETTINGS.pdf_dpi / 72, grayscale=True).to_pil()


def _save(page: Image.Image, target: str) -> int:
    page = page if page.mode in {"1", "L", "RGB"} else page.convert("RGB")
    page.thumbnail((4000, 4000), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    page.save(buffer, target, **({"quality": SETTINGS.jpeg_quality} if target == "JPEG" else {}))
    data = buffer.getvalue()
    url = f"data:image/{target.lower()};base64,{base64.b64encode(data).decode()}"
    json.dumps({"document": {"type": "image_url", "image_url": url}}).encode()
    return len(data)


class Ours:
    """A run's way to prepare pages, with workers that are running."""

    def __init__(self, converter: ConversionPool[Result], threads: ThreadPoolExecutor) -> None:
        self._converter, self._threads = converter, threads

    async def warm_up(self, path: Path) -> None:
        """Start the workers."""
        jobs = 2 * read_machine().cores
        await asyncio.gather(*(self._prepare(ImageFile(path, SETTINGS), 1) for _ in range(jobs)))

    async def measure(self, paths: list[Path], jobs: int) -> Measured:
        """Prepare all pages of the files, at most so many at a time."""
        lates: list[float] = []
        sent: list[int] = []
        pids = self._converter.worker_pids
        watch = asyncio.ensure_future(_watch(lates))
        began_s, cpu_s = time.perf_counter(), time.process_time() + _cpu_s(pids)
        await self._prepare_all(paths, jobs, sent)
        wall_s, cpu_s = time.perf_counter() - began_s, time.process_time() + _cpu_s(pids) - cpu_s
        watch.cancel()
        lates.sort()
        late_ms = 1000 * lates[min(len(lates) - 1, int(len(lates) * 0.999))] if lates else 0.0
        return Measured(wall_s / len(sent), cpu_s / len(sent), sum(sent) / len(sent), late_ms)

    async def _prepare_all(self, paths: list[Path], jobs: int, sent: list[int]) -> None:
        rest: list[tuple[ImageFile, int]] = []
        remaining = iter(paths)

        async def begin() -> None:
            for path in remaining:
                image = ImageFile(path, SETTINGS)
                sent.append(await self._prepare(image, 1))
                rest.extend((image, page) for page in range(2, image.pages + 1))

        async def go_on() -> None:
            while rest:
                sent.append(await self._prepare(*rest.pop(0)))

        for work in (begin, go_on):
            await asyncio.gather(*(work() for _ in range(jobs)))

    async def _prepare(self, image: ImageFile, page: int) -> int:
        payload = await image.prepare(page, self._converter, self._threads)
        assert payload.prep is not None
        return payload.prep.bytes


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


def measure_one_thread(paths: list[Path], kind: Kind) -> Measured:
    """Prepare the pages in one thread."""
    began_s, cpu_s = time.perf_counter(), time.process_time()
    sent = [size for path in paths for size in prepare_in_one_thread(path, kind)]
    wall_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    return Measured(wall_s / len(sent), cpu_s / len(sent), sum(sent) / len(sent), 0.0)


async def measure(kind: Kind, paths: list[Path], repeat: int) -> list[Measured]:
    """Return the medians of our way, of our way with one page at a time, and of one thread."""
    rounds: list[list[Measured]] = []
    async with open_converter(SETTINGS) as converter:
        with ThreadPoolExecutor(max(2, read_machine().cores), "prepare") as threads:  # as `Dispatcher`
            ours = Ours(converter, threads)
            await ours.warm_up(paths[0])
            prepare_in_one_thread(paths[0], kind)
            for _ in range(repeat):
                measured = [await ours.measure(paths, JOBS), await ours.measure(paths, 1)]
                rounds.append([*measured, measure_one_thread(paths, kind)])
    return [Measured(*map(statistics.median, zip(*rows, strict=True))) for rows in zip(*rounds, strict=True)]


def main() -> int:
    """Print a row per kind: times per page and the ratios of wall time and of bytes."""
    parser = argparse.ArgumentParser(prog="tests.benchmarks.preparation")
    parser.add_argument("words", nargs="*", metavar="WORD")
    parser.add_argument("--pages", type=int, default=24)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    print(f"{read_machine().cores} cores; ms per page")
    print(f"{'':<28}{'ours':>7}{'CPU':>7}{'-j 1':>7}{'thread':>8}{'faster':>8}{'kB':>7}{'thread':>8}{'late':>6}")
    is_slow = False
    for kind in make_kinds(options.words):
        with tempfile.TemporaryDirectory(prefix="preparation-") as directory:
            paths = [Path(directory, f"{number}.dat") for number in range(options.pages if kind.pages == 1 else 1)]
            for path in paths:
                path.write_bytes(kind.data)
            ours, alone, thread = asyncio.run(measure(kind, paths, options.repeat))
        ratio = thread.wall_s / ours.wall_s
        is_slow |= ratio < kind.promised
        print(
            f"{kind.name:<28}{ours.wall_s * 1000:>7.2f}{ours.cpu_s * 1000:>7.1f}{alone.wall_s * 1000:>7.1f}"
            f"{thread.wall_s * 1000:>8.2f}{ratio:>7.2f}×{ours.sent_bytes / 1000:>7,.0f}"
            f"{thread.sent_bytes / 1000:>8,.0f}{ours.late_ms:>6.1f}",
            flush=True,
        )
    return int(is_slow)


if __name__ == "__main__":
    sys.exit(main())
