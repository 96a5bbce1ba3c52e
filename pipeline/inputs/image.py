"""Prepare the pages of image files: each becomes bytes that the API accepts.

A page that fits is sent unchanged and not decoded, in one thread hop: its header gives the format, the size and the
orientation, and its end mark shows that the file is complete. Any other file, and each page that may have to be
corrected, goes to a worker process (`conversion`): a thread that decodes it cannot be bounded in time or memory.
"""

import asyncio
import hashlib
import os
from concurrent.futures import Executor
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Final, Protocol

import msgspec
from PIL import Image

from pipeline.convert.command import module_command
from pipeline.convert.pool import ConversionPool, PoolOptions
from pipeline.convert.resources import read_machine
from pipeline.errors import ConversionError, PageError, UnreadableFileError, page_errors
from pipeline.inputs.archives.holding import release
from pipeline.inputs.content import CHANGED, MAX_FILE_BYTES, HeldContent, Place, has_changed, read_content
from pipeline.inputs.conversion_messages import (
    Convert,
    Converted,
    Counted,
    CountPages,
    Cut,
    NoCallNeeded,
    NotConverted,
    PrepareSettings,
    Result,
    Task,
    TextFound,
)
from pipeline.inputs.fit import MAX_PIXELS, fit
from pipeline.inputs.page_images import FORMATS, has_end_mark
from pipeline.inputs.worth import NotWorthACallError, require_size
from pipeline.members import Member
from pipeline.pixels import png
from pipeline.pixels.orientation import read_orientation, upright_size_px
from pipeline.records import PageId, Payload, Prep
from pipeline.skipped import Skipped
from pipeline.tiles import Tile
from pipeline.wire import MEDIA_TYPES, build_image_body, build_url_body, replace_surrogates

CONVERSION_TIMEOUT_S: Final = 60.0
"""For a page of 300 million pixels; it grows in proportion when the setting allows more. Measured at that size on two
busy cores: 1.5 s for a JPEG, 6 to 23 s for TIFF, PNG, GIF and BMP."""

_WORKER_BASE_BYTES: Final = 512 * 1024 * 1024
_WORKER_BYTES_PER_PIXEL: Final = 16
"""Measured at the peak: 2 to 5 for one channel, 9 to 11 for colour. WebP holds three canvases of 4 bytes per pixel, a
progressive JPEG its coefficients beside its pixels."""

_MAY_BE_SENT: Final = ("JPEG", "PNG", "WEBP")
"""Formats that are sent without decoding; a GIF may have several pages, which is counted in a worker."""


class Converter(Protocol):
    """What converts pages: a pool of worker processes."""

    async def run(self, task: Task, *, key: str) -> Result:
        """Return the result of a task; tasks of one key are about the same file."""
        ...


def open_converter(settings: PrepareSettings) -> ConversionPool[Result]:
    """Return the worker processes that convert pages, at most one per core; none runs before it is needed."""
    machine = read_machine()
    memory_bytes = _WORKER_BASE_BYTES + 2 * MAX_FILE_BYTES + _WORKER_BYTES_PER_PIXEL * settings.max_pixels
    command = module_command("pipeline.inputs.conversion_worker", "--memory-bytes", str(memory_bytes))
    timeout_s = CONVERSION_TIMEOUT_S * max(1.0, settings.max_pixels / MAX_PIXELS)
    return ConversionPool(PoolOptions(command, machine.cores, timeout_s), msgspec.msgpack.Decoder(Result))


class ImageFile:
    """An image file, read and hashed once, whose pages are prepared: the first alone, the others in any order."""

    def __init__(self, path: Path, settings: PrepareSettings, member: Member | None = None) -> None:
        self._path = path
        self._member = member
        self._settings = settings
        self._sha256 = ""
        self._place: Place | None = None
        """Where workers find the content, once it is known that its pages must be converted."""
        self._held: HeldContent | None = None
        """The content of an archive's member."""
        self.pages = 1
        """Number of pages in the file; 1 until it is known."""
        self.tiles: dict[int, int] = {}
        """Numbers of tiles of the long pages of a PDF, by page, once they were counted."""

    def __repr__(self) -> str:
        return f"<ImageFile {self._path.name}>"

    async def prepare(self, page: int, converter: Converter, threads: Executor) -> Payload:
        """Return a page as a payload. The first that is asked for must have ended before others begin.

        Args:
            page: 1-based.
            converter: Converts what does not fit.
            threads: Where the file is read. A read from a dead network mount never returns, so cancelling abandons it.

        Raises:
            PageError: the page cannot be read, is not an image, or cannot be made to fit. The message does not name
                the file.
        """
        loop = asyncio.get_running_loop()
        if self._place is not None:
            read: Payload | Convert = self._conversion(page)
        else:
            read = await loop.run_in_executor(threads, self.read, page)
            self._release_member()
        if isinstance(read, Payload):
            return read
        is_cut = False  # its tiles are prepared later
        try:
            result = await self._convert(read, converter, threads)
            is_cut = isinstance(result, Cut)
            return await loop.run_in_executor(threads, self.finish, page, result)
        except ConversionError:
            if page == 1 and self.pages == 1:  # it took its worker down; the others are prepared
                await self._count_pages(converter)
            raise
        finally:
            if self.pages == 1 and not is_cut:
                self.close()

    def close(self) -> None:
        """Free the content, when all pages are prepared or none is wanted any more."""
        self._place = None
        if self._held is not None:
            self._held.close()
            self._held = None

    async def prepare_tile(self, page: int, tile: Tile, converter: Converter, threads: Executor) -> Payload:
        """Return a tile of a page that `prepare` has found to be cut.

        Raises:
            PageError: it cannot be converted.
        """
        result = await self._convert(self._conversion(page, tile), converter, threads)
        payload = await asyncio.get_running_loop().run_in_executor(threads, self.finish, page, result)
        return replace(payload, tile=tile)

    async def count(self, converter: Converter, threads: Executor) -> None:
        """Learn the number of pages without decoding one; it stays 1 for a file that cannot be read.

        Args:
            converter: As for `prepare`.
            threads: As for `prepare`.
        """
        try:
            read = await asyncio.get_running_loop().run_in_executor(threads, self.read, 1)
        except PageError:  # `prepare` says why
            return
        if isinstance(read, Payload):
            self._sha256 = ""  # its content is read again when it is sent
        else:
            self._release_member()
            await self._count_pages(converter)

    async def _convert(self, task: Convert, converter: Converter, threads: Executor) -> Result:
        try:
            return await converter.run(task, key=self._sha256)
        except ConversionError as exc:  # a process that has a file mapped ends when the file is cut
            if await asyncio.get_running_loop().run_in_executor(threads, has_changed, task.place):
                raise UnreadableFileError(CHANGED) from exc
            raise

    def read(self, page: int) -> Payload | Convert:
        """Read the file; return its page when that fits, else the task that converts it.

        Raises:
            PageError: the file cannot be read.
        """
        read = read_content(os.fsencode(self._path), self._member, self._settings.limits.max_bytes)
        self._sha256 = read.sha256
        try:
            prep = _describe_fitting(read.content, self._settings) if read.content else None
        except NotWorthACallError as exc:
            return self._without_call(page, skipped=exc.skipped)
        if prep is not None and not (self._settings.skips_blank or self._settings.corrects):
            return self._payload(page, read.content, prep, (prep.width_px, prep.height_px))
        self._place = read.place
        if self._place is None:
            self._held = HeldContent(read.content)
            self._place = self._held.place
        return self._conversion(page)

    def finish(self, page: int, result: Result) -> Payload:
        """Return the payload of a page that went to a worker.

        Raises:
            PageError: the page cannot be converted.
        """
        match result:
            case Converted(image, prep, pages, source_px):
                self.pages = pages
                return self._payload(page, self._read_again() if image is None else image, prep, source_px)
            case Cut(tiles, pages, source_px):
                self.pages = pages
                pixels = self._pixels(source_px)
                return Payload(self._id(page), self._sha256, page, pages, b"", None, pixels=pixels, tiles=tiles)
            case TextFound(text, pages):
                self.pages = pages
                return self._without_call(page, text=text)
            case NoCallNeeded(skipped, pages):
                self.pages = pages
                return self._without_call(page, skipped=skipped)
            case NotConverted(name, message, pages):
                self.pages = max(self.pages, pages)
                raise next((each for each in page_errors() if each.name == name), ConversionError)(message)
            case _:
                raise ConversionError("the decoder sent an unexpected message")

    def _read_again(self) -> bytes:
        """Return the content of a file that is sent as it is after all; it is not mapped here, see `MappedFile`."""
        assert self._place is not None
        read = read_content(self._place.path, None, self._settings.limits.max_bytes)
        if read.sha256 != self._sha256:
            raise UnreadableFileError(CHANGED)
        return read.content

    async def _count_pages(self, converter: Converter) -> None:
        """Count the pages of a file in a worker; the number stays as it is when they cannot be counted."""
        try:
            counted = await converter.run(self._count(), key=self._sha256)
        except ConversionError:
            return
        if isinstance(counted, Counted):
            self.pages, self.tiles = counted.pages, counted.tiles

    def _release_member(self) -> None:
        """Free what is held of an archive's member, unless its pages are read once more, to be compared."""
        if not self._settings.records_size:
            release(self._member)  # what is converted is held here from now on

    def _conversion(self, page: int, tile: Tile | None = None) -> Convert:
        assert self._place is not None
        return Convert(self._place, page, self._settings, tile)

    def _count(self) -> CountPages:
        assert self._place is not None
        return CountPages(self._place, self._settings)

    def id_of(self, page: int) -> PageId | None:
        """Return the identity of a page; None before the file was read."""
        return self._id(page) if self._sha256 else None

    def _id(self, page: int) -> PageId:
        return PageId(f"sha256:{self._sha256}#{page}")

    def _without_call(self, page: int, *, text: str | None = None, skipped: Skipped | None = None) -> Payload:
        return Payload(self._id(page), self._sha256, page, self.pages, b"", None, text, skipped)

    def _payload(self, page: int, image: bytes, prep: Prep, source_px: tuple[int, int] | None) -> Payload:
        body = build_image_body(image, MEDIA_TYPES[prep.format], replace_surrogates(self._path.name))
        return Payload(self._id(page), self._sha256, page, self.pages, body, prep, pixels=self._pixels(source_px))

    def _pixels(self, source_px: tuple[int, int] | None) -> str | None:
        """Return the value of `Payload.pixels` of a page that was not compared yet."""
        is_recorded = self._settings.records_size and source_px is not None
        return f"{source_px[0]}x{source_px[1]}" if is_recorded and source_px is not None else None


def prepare_url(url: str) -> Payload:
    """Return the payload of a page that the service fetches; its URL is its identity."""
    digest = hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()
    name = url.split("?", 1)[0].rsplit("/", 1)[-1]
    return Payload(PageId(f"url:{digest}#1"), None, 1, 1, build_url_body(url, name), None)


def _describe_fitting(content: bytes, settings: PrepareSettings) -> Prep | None:
    """Return the description of a file that is sent as it is; None for any other, which a worker decides about.

    Raises:
        NotWorthACallError: it is smaller than asked for.
    """
    if len(content) > settings.limits.max_bytes or not has_end_mark(content):
        return None
    head = png.header(content) if content.startswith(png.SIGNATURE) else content
    try:
        image = Image.open(BytesIO(head), formats=_MAY_BE_SENT)
        require_size(image.size, settings)
        orientation = read_orientation(image)
        needed = fit(upright_size_px(image.size, orientation), settings.limits, settings.max_pixels)
    except NotWorthACallError:
        raise
    except Exception:  # noqa: BLE001 - Pillow raises exceptions of any type for damaged headers; the worker reports it
        return None
    if not needed.untouched or (orientation != 1 and settings.orient):
        return None
    return Prep(FORMATS[image.format or ""], *image.size, bytes=len(content))
