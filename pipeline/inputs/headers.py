"""Read of an image file what its header says: format, pages, and whether a page must be converted or is sure to fail.

Nothing is decoded, and of a large file a few kB are read; the frames of a GIF are found by skipping from block to
block. A member of an archive is read whole. Where only decoding would tell, a page counts as one that needs a call.
"""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO, FileIO
from pathlib import Path
from typing import Final, cast, overload

from PIL import Image

from pipeline.errors import EmptyFileError, NotAnImageError, PageError, UnreadableFileError, UnsupportedImageError
from pipeline.inputs.archives.reading import read_member
from pipeline.inputs.content import MAX_FILE_BYTES
from pipeline.inputs.conversion_messages import PrepareSettings
from pipeline.inputs.fit import fit
from pipeline.inputs.kinds import HEAD_BYTES, UNREADABLE, ignored_kind, is_image, is_pdf, suffix_of
from pipeline.inputs.page_images import FORMATS, has_end_mark
from pipeline.inputs.tiling import count_tiles
from pipeline.inputs.worth import find_smaller
from pipeline.pixels import gif, tiff
from pipeline.pixels.orientation import ORIENTATION_TAG, read_orientation, upright_size_px
from pipeline.records import SourceFile
from pipeline.storage.files import require_descriptor
from pipeline.wire import MEDIA_TYPES

_TAIL_BYTES: Final = 16
"""The longest end mark of a format, a PNG's, has 12 bytes."""
_BLOCK_BYTES: Final = 16 * 1024
_SIZE_TAGS: Final = (256, 257)
_NAMES: Final = {".jpe": "jpeg", ".jfif": "jpeg", ".jpg": "jpeg", ".tif": "tiff", ".dib": "bmp"}
_OPENED: Final = tuple(name for name in FORMATS if name not in {"MPO", "TIFF"})


@dataclass(frozen=True, slots=True)
class Header:
    """What the header of a file says.

    Attributes:
        format: Such as "jpeg", "tiff" or "pdf"; the suffix, or "unknown", where the header is damaged.
        pages: Number of pages.
        failing: Pages that are sure to fail before a call, by class; the others may fail, too.
        conversions: Pages that must be decoded, and encoded again unless no correction of them is needed.
        smaller: Numbers of the pages that are too small to be sent, 1-based.
        ignored: The kind under which the file is ignored; None for a page.
        is_counted: False for a PDF, whose pages only its reader can count.
        tiles: Number of tiles of each page that is cut, by the page's number.
    """

    format: str
    pages: int = 1
    failing: Mapping[str, int] = field(default_factory=dict)
    conversions: int = 0
    smaller: frozenset[int] = frozenset()
    ignored: str | None = None
    is_counted: bool = True
    tiles: Mapping[int, int] = field(default_factory=dict)


def format_of_name(name: str) -> str:
    """Return the format that a file's suffix names; "unknown" without a suffix."""
    suffix = suffix_of(name)
    return _NAMES.get(suffix, suffix.removeprefix(".") or "unknown")


def read_header(file: SourceFile, settings: PrepareSettings) -> Header:
    """Return what the header of a file says; blocks, so it belongs into a thread.

    Args:
        file: With a path.
        settings: What fits.

    Raises:
        NoDescriptorsError: the process has no file descriptor left.
    """
    assert file.path is not None
    try:
        if file.member is not None:
            content = read_member(file.member, MAX_FILE_BYTES)
            return _describe(file, content, BytesIO(content), settings)
        with FileIO(os.open(file.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)) as raw:
            return _describe(file, _View(raw), file.path, settings)
    except PageError as exc:
        return _failing(format_of_name(file.name), type(exc))
    except OSError as exc:
        require_descriptor(exc)
        if file.undecided:
            return Header(UNREADABLE, ignored=UNREADABLE)
        return _failing(format_of_name(file.name), UnreadableFileError)


def _describe(file: SourceFile, view: "_View | bytes", image: Path | BytesIO, settings: PrepareSettings) -> Header:
    head = view[:HEAD_BYTES]
    if file.undecided and (kind := ignored_kind(file.name, head)) is not None:
        return Header(kind, ignored=kind)
    if is_pdf(head):
        return Header("pdf", conversions=1, is_counted=False)
    if not is_image(head):
        return _failing(format_of_name(file.name), NotAnImageError if head else EmptyFileError)
    if head.startswith(tiff.PREFIXES):
        return _describe_tiff(view, settings)
    image_format, failing, fits, tiles = _open(image, settings)
    if image_format is None:
        return Header(format_of_name(file.name), conversions=1)
    pages = max(1, gif.count_frames(cast("bytes", view))) if image_format == "gif" else 1
    smaller = frozenset(range(1, pages + 1)) if fits is None else frozenset()
    is_sent = fits and image_format in MEDIA_TYPES and pages == 1 and len(view) <= settings.limits.max_bytes
    is_sent = is_sent and not settings.corrects
    conversions = 0 if smaller or (is_sent and _has_end_mark(view, head)) else pages
    cut = dict.fromkeys(range(1, pages + 1), tiles) if tiles > 1 else {}
    return Header(image_format, pages, failing, conversions, smaller, tiles=cut)


def _open(file: Path | BytesIO, settings: PrepareSettings) -> tuple[str | None, Counter[str], bool | None, int]:
    """Return of an image its format, None for a damaged header; the classes it fails with; if it fits; its tiles.

    The third is None for an image that is too small to be sent.
    """
    failing: Counter[str] = Counter()
    try:
        with Image.open(file, formats=_OPENED) as image:
            image_format = FORMATS[image.format or ""]
            if find_smaller(image.size, settings) is not None:
                return image_format, failing, None, 1
            orientation = read_orientation(image) if settings.orient else 1
            size_px = upright_size_px(image.size, orientation)
            if (tiles := count_tiles(size_px, settings.limits, settings.max_pixels)) > 1:
                return image_format, failing, False, tiles
            needed = fit(size_px, settings.limits, settings.max_pixels)
    except PageError as exc:
        return image_format, Counter([exc.name]), False, 1
    except Exception as exc:  # noqa: BLE001 - Pillow raises exceptions of any type for damaged headers
        if isinstance(exc, OSError):
            require_descriptor(exc)
        return None, failing, False, 1
    return image_format, failing, needed.untouched and orientation == 1, 1


def _describe_tiff(view: "_View | bytes", settings: PrepareSettings) -> Header:
    data = cast("bytes", view)
    offsets = tiff.directory_offsets(data)
    failing: Counter[str] = Counter()
    smaller: set[int] = set()
    cut: dict[int, int] = {}
    for number, offset in enumerate(offsets, 1):
        try:
            tiles = _count_tiff_tiles(data, offset, settings)
        except PageError as exc:
            failing[exc.name] += 1
            continue
        if tiles == 0:
            smaller.add(number)
        elif tiles > 1:
            cut[number] = tiles
    pages = max(1, len(offsets))
    return Header("tiff", pages, failing, pages - failing.total() - len(smaller), frozenset(smaller), tiles=cut)


def _count_tiff_tiles(data: bytes, offset: int, settings: PrepareSettings) -> int:
    """Return the number of tiles of a page, 1 for one that is not cut, 0 for one that is too small to be sent.

    Raises:
        PageError: the page is sure to fail.
    """
    tags = tiff.read_directory(data, offset)
    if (compression := tiff.unsupported_compression(tags)) is not None:
        raise UnsupportedImageError(compression)
    width, height = (tags.get(tag, (0,))[0] for tag in _SIZE_TAGS)
    if min(width, height) < 1:
        return 1
    if find_smaller((width, height), settings) is not None:
        return 0
    size_px = upright_size_px((width, height), tags.get(ORIENTATION_TAG, (1,))[0])
    tiles = count_tiles(size_px, settings.limits, settings.max_pixels)
    if tiles == 1:
        fit(size_px, settings.limits, settings.max_pixels)
    return tiles


def _has_end_mark(view: "_View | bytes", head: bytes) -> bool:
    if head.startswith(b"RIFF"):
        return len(view) >= 8 + int.from_bytes(head[4:8], "little")
    return has_end_mark(head[:_TAIL_BYTES] + view[max(0, len(view) - _TAIL_BYTES) :])


def _failing(image_format: str, error: type[PageError]) -> Header:
    return Header(image_format, failing={error.name: 1})


class _View:
    """The bytes of a file, read block by block where they are asked for; like `bytes` for the readers of headers."""

    def __init__(self, raw: FileIO) -> None:
        self._fd = raw.fileno()
        self._size = os.fstat(self._fd).st_size
        self._start, self._block = 0, b""

    def __repr__(self) -> str:
        return f"<_View of {self._size} bytes>"

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, at: int) -> int: ...
    @overload
    def __getitem__(self, at: slice) -> bytes: ...
    def __getitem__(self, at: int | slice) -> int | bytes:
        if isinstance(at, int):
            return self._read(at, 1)[0]
        start, stop, _ = at.indices(self._size)
        return self._read(start, stop - start) if stop > start else b""

    def _read(self, start: int, size: int) -> bytes:
        offset = start - self._start
        if offset < 0 or offset + size > len(self._block):
            self._block = os.pread(self._fd, max(size, _BLOCK_BYTES), start)
            self._start, offset = start, 0
        return self._block[offset : offset + size].ljust(size, b"\0")  # a file may shrink while it is read
