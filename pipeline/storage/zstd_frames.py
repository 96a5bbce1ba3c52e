"""Files in zstd's seekable format: independent frames, and a table of their sizes in a skippable frame at the end.

Any zstd program reads such a file from its beginning. Without a table that fits, as in a file that a copy has cut, the
frames are found from the first on by the lengths in their headers.

Source: facebook/zstd, contrib/seekable_format/zstd_seekable_compression_format.md, version 0.1.0.
"""

import os
import struct
from array import array
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, BinaryIO, Final

from pipeline.errors import UsageError

if TYPE_CHECKING:
    import zstandard

FRAME_BYTES: Final = 1 << 20
"""Of lines in a frame, before compression: one line of a larger frame takes longer to read."""
_MAX_FRAME_BYTES: Final = 64 << 20
"""A larger frame is another program's, and is not decompressed as a whole."""
_LEVEL: Final = 3
_BLOCK_BYTES: Final = 16 * 1024
_MAGIC: Final = 0xFD2FB528
_SKIPPABLE_MAGIC: Final = range(0x184D2A50, 0x184D2A60)
_TABLE_MAGIC: Final = 0x184D2A5E
_FOOTER_MAGIC: Final = 0x8F92EAB1
_FOOTER: Final = struct.Struct("<IBI")
_HEADER: Final = struct.Struct("<II")
_LONGEST_HEADER_BYTES: Final = 18
_HAS_CHECKSUMS: Final = 0x80
_RLE_BLOCK: Final = 1
_TORN_BYTES: Final = 256
"""Taken as the size of a torn frame whose header does not say it."""


class DamagedFrameError(ValueError):
    """A frame cannot be decompressed."""


class ForeignFrameError(ValueError):
    """A frame does not say its size, or is too large: another program has compressed the file."""


def require_zstd(reason: str = "compressed records") -> ModuleType:
    """Return the optional package for zstd.

    Args:
        reason: The setting or the file that needs it.

    Raises:
        UsageError: it is not installed.
    """
    try:
        return import_module("zstandard")
    except ImportError as exc:
        raise UsageError(f"{reason}: needs the extra zstd: pip install 'pagemill[zstd]'") from exc


class FrameTable:
    """The places of a file's frames.

    Attributes:
        begins: Offsets in bytes of the frames in the file, and of the byte after the last one.
        starts: Offsets of their contents, and of the byte after the last one.
        is_seekable: The file has a table that fits.
    """

    def __init__(self, *, is_seekable: bool) -> None:
        self.begins, self.starts = array("Q", [0]), array("Q", [0])
        self.is_seekable = is_seekable

    def __repr__(self) -> str:
        return f"<FrameTable {len(self)} frames, {self.size_bytes} bytes>"

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def size_bytes(self) -> int:
        """Size of the contents."""
        return self.starts[-1]

    def add(self, compressed_bytes: int, content_bytes: int) -> None:
        """Add a frame after the last one."""
        self.begins.append(self.begins[-1] + compressed_bytes)
        self.starts.append(self.starts[-1] + content_bytes)

    def encode(self) -> bytes:
        """Return the skippable frame that holds the table."""
        sizes = [size for number in range(len(self)) for size in self._sizes(number)]
        entries = struct.pack(f"<{len(sizes)}I", *sizes) + _FOOTER.pack(len(self), 0, _FOOTER_MAGIC)
        return _HEADER.pack(_TABLE_MAGIC, len(entries)) + entries

    def _sizes(self, number: int) -> tuple[int, int]:
        return (
            self.begins[number + 1] - self.begins[number],
            self.starts[number + 1] - self.starts[number],
        )


def read_table(descriptor: int) -> FrameTable:
    """Return the places of an open file's frames; a torn end counts as a frame, which cannot be decompressed.

    Raises:
        ForeignFrameError: another program has compressed the file.
        OSError: the file cannot be read.
    """
    size_bytes = os.fstat(descriptor).st_size
    table = _read_footer(descriptor, size_bytes)
    return table if table is not None else _walk(descriptor, size_bytes)


def _read_footer(descriptor: int, size_bytes: int) -> FrameTable | None:
    """Return the table at the end of a file; None when there is none that fits."""
    footer = os.pread(descriptor, _FOOTER.size, max(0, size_bytes - _FOOTER.size))
    if len(footer) < _FOOTER.size:
        return None
    frames, flags, magic = _FOOTER.unpack(footer)
    fields = 3 if flags & _HAS_CHECKSUMS else 2
    length = frames * fields * 4 + _FOOTER.size
    begin = size_bytes - length - _HEADER.size
    if magic != _FOOTER_MAGIC or begin < 0:
        return None
    header, entries = (os.pread(descriptor, *where) for where in ((_HEADER.size, begin), (length, begin + 8)))
    if len(entries) < length or _HEADER.unpack(header) != (_TABLE_MAGIC, length):
        return None
    sizes = struct.unpack_from(f"<{frames * fields}I", entries)
    table = FrameTable(is_seekable=True)
    for place in range(0, len(sizes), fields):
        table.add(sizes[place], sizes[place + 1])
    is_ours = all(size <= _MAX_FRAME_BYTES for size in sizes[1::fields])
    return table if table.begins[-1] == begin and is_ours else None


def _walk(descriptor: int, size_bytes: int) -> FrameTable:
    """Return the frames found from the beginning of the file on."""
    zstandard = require_zstd()
    table, place = FrameTable(is_seekable=False), 0
    while place < size_bytes:
        head = os.pread(descriptor, _LONGEST_HEADER_BYTES, place)
        magic, length = _HEADER.unpack(head[: _HEADER.size].ljust(_HEADER.size, b"\0"))
        if magic in _SKIPPABLE_MAGIC:
            place += _HEADER.size + length
            table.begins[-1] = min(place, size_bytes)
            continue
        content_bytes, end = _TORN_BYTES, None
        if magic == _MAGIC:
            try:
                content_bytes = zstandard.frame_content_size(head)
                parameters, header_bytes = zstandard.get_frame_parameters(head), zstandard.frame_header_size(head)
            except zstandard.ZstdError:
                pass
            else:
                if not 0 <= content_bytes <= _MAX_FRAME_BYTES:
                    raise ForeignFrameError
                end = _end_of_blocks(descriptor, place + header_bytes)
                end = None if end is None else end + 4 * parameters.has_checksum
        if end is None or end > size_bytes:
            table.add(size_bytes - place, max(1, content_bytes))
            break
        table.add(end - place, content_bytes)
        place = end
    return table


def _end_of_blocks(descriptor: int, place: int) -> int | None:
    """Return where a frame's blocks end; None when the file ends before."""
    is_last = False
    while not is_last:
        head = os.pread(descriptor, 3, place)
        if len(head) < 3:
            return None
        block = int.from_bytes(head, "little")
        is_last, kind, length = bool(block & 1), block >> 1 & 3, block >> 3
        place += 3 + (1 if kind == _RLE_BLOCK else length)
    return place


class FrameReader:
    """Decompresses frames, by one thread at a time."""

    def __init__(self) -> None:
        self._zstd: zstandard.ZstdDecompressor | None = None

    def __repr__(self) -> str:
        return "<FrameReader>"

    def read(self, descriptor: int, table: FrameTable, number: int) -> bytes:
        """Return the content of a frame, of the size that the table says.

        Raises:
            DamagedFrameError: it cannot be decompressed.
            OSError: the file cannot be read.
        """
        begin, end = table.begins[number], table.begins[number + 1]
        content_bytes = table.starts[number + 1] - table.starts[number]
        return self.decompress(os.pread(descriptor, end - begin, begin), content_bytes)

    def decompress(self, frame: bytes, content_bytes: int) -> bytes:
        """Return a frame's content.

        Raises:
            DamagedFrameError: it cannot be decompressed, or has another size.
        """
        zstandard = require_zstd()
        if self._zstd is None:
            self._zstd = zstandard.ZstdDecompressor()
        try:
            if zstandard.frame_content_size(frame) != content_bytes:  # before memory is taken for it
                raise DamagedFrameError
            content: bytes = self._zstd.decompress(frame)
        except zstandard.ZstdError as exc:
            raise DamagedFrameError from exc
        if len(content) != content_bytes:
            raise DamagedFrameError
        return content


class FrameWriter:
    """Writes a file in the seekable format.

    Args:
        file: Empty; opened for writing.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._zstd: zstandard.ZstdCompressor = require_zstd().ZstdCompressor(
            level=_LEVEL, write_checksum=True, write_content_size=True
        )
        self._reader = FrameReader()
        self.table = FrameTable(is_seekable=True)

    def __repr__(self) -> str:
        return f"<FrameWriter {self.table!r}>"

    def write(self, content: bytes) -> None:
        """Write a frame, once it has been decompressed again.

        Raises:
            DamagedFrameError: that gives another content, as on a machine with damaged memory.
            OSError: the file cannot be written.
        """
        frame = self._zstd.compress(content)
        if self._reader.decompress(frame, len(content)) != content:
            raise DamagedFrameError
        self._file.write(frame)
        self.table.add(len(frame), len(content))

    def copy(self, descriptor: int, table: FrameTable) -> None:
        """Write all frames of an open file as they are."""
        for number in range(len(table)):
            begin, end = table.begins[number], table.begins[number + 1]
            self._file.write(os.pread(descriptor, end - begin, begin))
            self.table.add(end - begin, table.starts[number + 1] - table.starts[number])

    def finish(self) -> None:
        """Write the table."""
        self._file.write(self.table.encode())


def read_blocks(file: BinaryIO) -> Iterator[bytes]:
    """Yield the whole lines of a file in blocks of about a frame; the last line may lack its newline."""
    while block := file.read(FRAME_BYTES):
        yield block + file.readline()


def decompress_blocks(file: BinaryIO) -> Iterator[bytes]:
    """Yield the content of a zstd file of any kind, in blocks.

    Raises:
        DamagedFrameError: the file is damaged, or ends within a frame.
    """
    zstandard = require_zstd()
    frame = None
    while block := file.read(_BLOCK_BYTES):
        while block:
            frame = frame if frame is not None else zstandard.ZstdDecompressor().decompressobj()
            try:
                yield frame.decompress(block)
            except zstandard.ZstdError as exc:
                raise DamagedFrameError from exc
            block = frame.unused_data
            frame = None if frame.eof else frame
    if frame is not None:
        raise DamagedFrameError
