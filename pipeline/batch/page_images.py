"""The images of pages: as they were sent, or the original file where that holds one page.

Pages are prepared again, in worker processes and ahead of their use, as the last run's settings say.
"""

import asyncio
import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Protocol, Self, TypeVar

import msgspec
from anyio.from_thread import BlockingPortal, start_blocking_portal

from pipeline.batch.file_pages import open_image
from pipeline.batch.job import prepare_settings
from pipeline.batch.line_positions import Size, upright_px
from pipeline.config import Config, PrepareConfig
from pipeline.errors import PageError, UsageError
from pipeline.inputs.content import MAX_FILE_BYTES, read_content
from pipeline.inputs.entries import find_file
from pipeline.inputs.image import Converter, ImageFile, open_converter
from pipeline.inputs.kinds import HEAD_BYTES, format_of, is_pdf
from pipeline.inputs.selection import Inputs
from pipeline.records import Payload, Prep, SourceFile
from pipeline.wire import image_of_body
from pipeline.workspace.run_file import require_workspace
from pipeline.workspace.source_names import decode_name

Images = Literal["none", "sent", "original"]

_AHEAD: Final = 8
"""Pages that are prepared ahead; the workers are as many as cores."""
_SUFFIXES: Final = {"jpeg": ".jpg", "tiff": ".tif"}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PageImage:
    """The image of a page.

    Attributes:
        data: The file.
        suffix: By its format, such as ".jpg", whatever the name of its file says.
        size_px: (width, height) of the upright page in its file.
        prep: The image as it would be sent now; None for a page in tiles.
        is_original: It is the file, not the image as sent.
    """

    data: bytes
    suffix: str
    size_px: Size
    prep: Prep | None = None
    is_original: bool = False


class PageName(Protocol):
    """What names a page and its content, such as the line of its record."""

    @property
    def id(self) -> str | None:
        """Identity of its content; None when that could not be read."""

    @property
    def page(self) -> int:
        """1-based."""

    def source_bytes(self) -> bytes:
        """Return the bytes of the source's name."""


class _OpenFile:
    """The file of the pages that are read.

    Args:
        source: The bytes of its name.
    """

    def __init__(self, source: bytes) -> None:
        self.source = source
        self.first = asyncio.Lock()
        self.file: SourceFile | None = None
        self.image: ImageFile | None = None


class ImageReader:
    """Reads the images of a workspace's pages; a context manager.

    Args:
        workspace: The directory given to `-o`.
        images: "sent": as they were sent; "original": the file, where it holds one page.
        takes_pdf: False takes the image as sent of a PDF of one page, too.

    Raises:
        UsageError: the files are not where they were.
    """

    def __init__(self, workspace: Path, images: Images, *, takes_pdf: bool = True) -> None:
        run_file = require_workspace(workspace)
        if run_file.root is None or not Path(run_file.root).is_dir():
            raise UsageError(f"{workspace}: the input root of its pages, {run_file.root}, is not there; mount it")
        self._inputs = Inputs(Path(run_file.root), ())
        prepare = msgspec.convert(dict(run_file.section("prepare")), PrepareConfig)
        # Each of the first three would leave pages without an image that were sent before it was set.
        settings = prepare_settings(Config(prepare=prepare))
        self._settings = replace(
            settings, uses_text_layer=False, skips_blank=False, skips_below_px=0, records_size=True
        )
        self.orients = settings.orient
        """Whether the last run turned pages by their EXIF orientation."""
        self._is_original, self._takes_pdf = images == "original", takes_pdf
        self._stack = ExitStack()
        self._threads = ThreadPoolExecutor(2, "images")
        self._last: _OpenFile | None = None
        self.missing = 0
        """Number of pages whose file is not there, has changed, or cannot be prepared any more."""

    def __repr__(self) -> str:
        return f"<ImageReader {self.missing} missing>"

    def __enter__(self) -> Self:
        self._portal: BlockingPortal = self._stack.enter_context(start_blocking_portal())
        converter = self._portal.call(open_converter, self._settings)
        self._converter: Converter = self._stack.enter_context(self._portal.wrap_async_context_manager(converter))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        self._threads.shutdown(wait=False)

    def read(self, pages: Iterable[tuple[T, PageName]]) -> Iterator[tuple[T, PageImage | None]]:
        """Yield each item with the image of its page; None for one that is missing.

        Args:
            pages: Items, each with the name of its page, such as its record's line; a few are taken ahead.
        """
        ahead: deque[tuple[T, Future[PageImage | None]]] = deque()
        for item, name in pages:
            ahead.append((item, self._portal.start_task_soon(self._read, name)))
            if len(ahead) > _AHEAD:
                yield self._take(ahead)
        while ahead:
            yield self._take(ahead)

    def _take(self, ahead: deque[tuple[T, Future[PageImage | None]]]) -> tuple[T, PageImage | None]:
        item, future = ahead.popleft()
        image = future.result()
        self.missing += image is None
        return item, image

    async def _read(self, name: PageName) -> PageImage | None:
        loop = asyncio.get_running_loop()
        source = name.source_bytes()
        if self._last is None or self._last.source != source:
            self._last = _OpenFile(source)  # the former one is freed once its last page is read
        opened = self._last
        async with opened.first:  # the first page that is prepared reads the file; the others need what it learned
            if opened.file is None:
                opened.file = await loop.run_in_executor(self._threads, self._find, source)
                opened.image = open_image(opened.file, self._settings)
            if opened.image is None:
                return None
            if opened.image.id_of(1) is None:
                return await self._prepare(opened.file, opened.image, name)
        return await self._prepare(opened.file, opened.image, name)

    def _find(self, source: bytes) -> SourceFile:
        return find_file(self._inputs, decode_name(source), meta=None, pages=None)

    async def _prepare(self, file: SourceFile, image: ImageFile, name: PageName) -> PageImage | None:
        try:
            payload = await image.prepare(name.page, self._converter, self._threads)
            if payload.id != name.id:
                return None
            if self._is_original and image.pages == 1:
                loop = asyncio.get_running_loop()
                original = await loop.run_in_executor(self._threads, _read_original, file, payload)
                if self._takes_pdf or not is_pdf(original.data[:HEAD_BYTES]):
                    return original
            if payload.prep is None:  # it was sent in tiles
                return None
        except PageError:
            return None
        return PageImage(image_of_body(payload.body), _suffix_of(payload.prep.format), _size_px(payload), payload.prep)


@contextmanager
def open_images(workspace: Path, images: Images | None) -> Generator[ImageReader | None]:
    """Open the images of the pages, if they are asked for."""
    if images is None or images == "none":
        yield None
        return
    with ImageReader(workspace, images) as reader:
        yield reader


def _read_original(file: SourceFile, payload: Payload) -> PageImage:
    assert file.path is not None
    read = read_content(os.fsencode(file.path), file.member, MAX_FILE_BYTES)
    # The name may have another format's suffix, or none, and a reader of TARs would not take it for an image then.
    image_format = format_of(read.content[:HEAD_BYTES])
    suffix = file.path.suffix.lower() if image_format is None else _suffix_of(image_format)
    return PageImage(read.content, suffix, _size_px(payload), payload.prep, is_original=True)


def _size_px(payload: Payload) -> Size:
    """Return (width, height) of the upright page; of one in tiles, where the last tile ends."""
    return payload.tiles[-1].box[2:] if payload.prep is None else upright_px(payload.prep, payload.pixels)


def _suffix_of(image_format: str) -> str:
    return _SUFFIXES.get(image_format, f".{image_format}")
