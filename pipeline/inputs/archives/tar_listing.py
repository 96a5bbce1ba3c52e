"""Lists a TAR, plain or compressed, from its headers; `tarfile` parses them, so GNU and PAX long names are read.

`tarfile` trusts a header: it reads as much as one announces, and ends silently where one is damaged. So it reads from a
source that bounds the headers of a member, and the end mark is checked.
"""

import os
import tarfile
from collections.abc import Iterator
from typing import Any, Final

from pipeline.inputs.archives.entries import SPARSE, ArchiveError, Entry
from pipeline.inputs.archives.streams import HEADER_MAX_BYTES, HeaderSource, PlainSource, Stream
from pipeline.inputs.kinds import HEAD_BYTES, SPECIAL_FILE, SYMLINK, NameClass, class_of_name, ignored_kind
from pipeline.members import COMPRESSED_TAR, TAR

HARD_LINK: Final = "hard link"
PAGE: Final = "page"

_BLOCK_BYTES: Final = 512
_MOST_GLOBAL_FIELDS: Final = 100
_LARGEST_BYTES: Final = 1 << 62


def is_tar(head: bytes) -> bool:
    """Return whether the first block of a file is a header of a TAR: its checksum is right."""
    try:
        tarfile.TarInfo.frombuf(head[:_BLOCK_BYTES], "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return False
    return True


def is_compressed_tar(fd: int) -> bool:
    """Return whether a compressed file holds a TAR."""
    try:
        return is_tar(Stream(fd).read(_BLOCK_BYTES))
    except (ArchiveError, OSError):
        return False


def list_tar(fd: int) -> Iterator[Entry]:
    """Yield the entries of a plain TAR; raises as `list_zip`."""
    yield from _list(PlainSource(fd), None)


def list_compressed_tar(fd: int) -> Iterator[Entry]:
    """Yield the entries of a compressed TAR; raises as `list_zip`.

    The first bytes of a file whose name does not decide are read on the way: reading them later would take a pass.
    """
    stream = Stream(fd)
    yield from _list(stream, stream)


def _list(source: HeaderSource, stream: Stream | None) -> Iterator[Entry]:
    previous = -1
    try:
        archive = tarfile.TarFile(fileobj=_as_file(source), encoding="utf-8", errors="surrogateescape")
        while (info := archive.next()) is not None:
            if archive.offset <= previous or not 0 <= info.size < _LARGEST_BYTES:
                raise ArchiveError("its headers are damaged")  # noqa: TRY301 - beside what `tarfile` raises
            if len(archive.pax_headers) > _MOST_GLOBAL_FIELDS:
                raise ArchiveError(f"more than {_MOST_GLOBAL_FIELDS} global fields")  # noqa: TRY301 - the same
            previous = archive.offset
            archive.members.clear()  # type: ignore[attr-defined]
            source.header_left_bytes = HEADER_MAX_BYTES
            yield _entry(info, stream)
        source.header_left_bytes = HEADER_MAX_BYTES
        _check_end(source, archive.offset)
    except (ArchiveError, OSError):
        raise
    except Exception as exc:  # `tarfile` raises exceptions of many types for damaged headers
        raise ArchiveError(f"damaged or cut off: {' '.join(str(exc).split())[:120]}") from exc


def _as_file(source: HeaderSource) -> Any:  # noqa: ANN401 - `tarfile` asks for a file, and uses three methods of it
    return source


def _check_end(source: HeaderSource, offset: int) -> None:
    source.seek(offset)
    block = source.read(_BLOCK_BYTES)
    if not block:
        raise ArchiveError("no end mark: cut off")
    if block.strip(b"\0"):
        raise ArchiveError(f"damaged or cut off at byte {offset}")


def _entry(info: tarfile.TarInfo, stream: Stream | None) -> Entry:
    name = info.name.encode("utf-8", "surrogateescape")
    kind = None
    if not info.isreg():
        kind = "" if info.isdir() else SYMLINK if info.issym() else HARD_LINK if info.islnk() else SPECIAL_FILE
    method = TAR if stream is None else COMPRESSED_TAR
    refusal = SPARSE if info.issparse() else ""
    content_kind = ""
    if stream is not None and kind is None and class_of_name(os.fsdecode(name)) is NameClass.UNDECIDED:
        head = stream.read_data(min(HEAD_BYTES, info.size))
        content_kind = ignored_kind(os.fsdecode(name), head) or PAGE
    return Entry(name, kind, info.offset_data, info.size, info.size, method, 0, refusal, content_kind)
