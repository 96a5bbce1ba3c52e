"""The members of one archive, packed into some seventy bytes each, in the order of a directory's walk."""

import os
import stat
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from struct import Struct
from typing import Final

from pipeline.inputs.archives.entries import (
    REFUSALS,
    ArchiveError,
    Entry,
    NotAnArchiveError,
    normalise,
    sort_key,
)
from pipeline.inputs.archives.streams import is_compressed
from pipeline.inputs.archives.tar_listing import is_compressed_tar, is_tar, list_compressed_tar, list_tar
from pipeline.inputs.archives.zip_listing import list_zip
from pipeline.members import COMPRESSED_TAR, Member
from pipeline.storage.files import require_descriptor

MAX_MEMBERS: Final = 5_000_000
"""An archive of more is refused: its catalogue would take more than half a gigabyte."""

_LAST_OFFSET: Final = (1 << 63) - 1
"""Of a file; beyond it lies nothing that could be read."""

UNSAFE_NAME: Final = "unsafe name"
REPEATED_NAME: Final = "repeated name"
MOST_NAMED: Final = 20
"""Members that are refused by name in messages; the others are counted."""

_RECORD: Final = Struct("<QQQIiBHH")
"""Offset, packed size, size, CRC-32, method, number of the refusal, lengths of the content's kind and of the name."""


class Catalogue:
    """The members of an archive as it was when it was listed.

    Args:
        path: Of the archive, as bytes.
        status: Of the archive.
        entries: Its entries; they may raise `ArchiveError`, which ends them.
    """

    def __init__(self, path: bytes, status: os.stat_result, entries: Iterable[Entry]) -> None:
        self._path = path
        self.version = (status.st_size, status.st_mtime_ns)
        self._records = bytearray()
        self._order = array("Q")
        """Positions in `_records`, in the order of the walk."""
        self._is_sorted = True
        self.is_streamed = False
        """True for a compressed TAR, whose members come in the order of the archive."""
        self.ignored: Counter[str] = Counter()
        """Entries that are no files, and names that are refused, by kind."""
        self.refused: list[tuple[str, str]] = []
        """Names that are refused, with the reason, up to some number of a kind."""
        self.fault: str | None = None
        """Why the listing is incomplete; None when it is complete."""
        try:
            self._fill(entries)
        except ArchiveError as exc:
            self.fault = str(exc)
        self._sort()

    def __repr__(self) -> str:
        return f"<Catalogue of {os.fsdecode(self._path)}, {len(self._order)} members>"

    def __len__(self) -> int:
        return len(self._order)

    def below(self, folder: str) -> Iterator[tuple[str, Member, str]]:
        """Yield name, place and content's kind of each member below a folder, in the order of a walk.

        That is by name, files before subdirectories; the members of a compressed TAR come in the order of the archive.

        Args:
            folder: Its path within the archive; empty for all members.
        """
        begin = folder and f"{folder}/"
        order = sorted(self._order) if self.is_streamed else self._order
        for position in order:
            if not begin or self._records.startswith(os.fsencode(begin), self._name_start(position)):
                yield self._member(position)

    def find(self, name: str) -> Member | None:
        """Return the member of a name; None when there is none."""
        wanted = os.fsencode(name)
        at = bisect_left(self._order, sort_key(wanted), key=lambda position: sort_key(self._name(position)))
        if at < len(self._order) and self._name(self._order[at]) == wanted:
            return self._member(self._order[at])[1]
        return None

    def _refuse(self, name: bytes, kind: str, reason: str) -> None:
        self.ignored[kind] += 1
        if self.ignored[kind] <= MOST_NAMED:
            self.refused.append((os.fsdecode(name), reason))

    def _fill(self, entries: Iterable[Entry]) -> None:
        last_key = b""
        for entry in entries:
            if entry.kind is not None:
                self.ignored.update([entry.kind] if entry.kind else [])
            elif (name := normalise(entry.name)) is None or len(name) > 0xFFFF:
                self._refuse(entry.name, UNSAFE_NAME, "an absolute name, or one with .. or NUL")
            elif len(self._order) == MAX_MEMBERS:
                raise ArchiveError(f"it has more than {MAX_MEMBERS:,} members; split it, or unpack it")
            else:
                self._add(entry, name)
                key = sort_key(name)
                self._is_sorted = self._is_sorted and last_key < key
                last_key = key

    def _add(self, entry: Entry, name: bytes) -> None:
        _, _, offset, packed, size, method, crc, refusal, content_kind = entry
        if not all(0 <= place <= _LAST_OFFSET for place in (offset, packed, size)):
            raise ArchiveError("damaged: a member of impossible size or place")
        self._order.append(len(self._records))
        self.is_streamed = self.is_streamed or method == COMPRESSED_TAR
        kind, number = content_kind.encode(), REFUSALS.index(refusal)
        self._records += _RECORD.pack(offset, packed, size, crc, method, number, len(kind), len(name)) + kind + name

    def _sort(self) -> None:
        """Order the members by name; of several with one name, the last counts, as in an unpacked archive."""
        if self._is_sorted:
            return
        ordered = sorted(self._order, key=lambda position: sort_key(self._name(position)))
        self._order = array("Q", ordered[:1])
        for position in ordered[1:]:
            if (name := self._name(position)) == self._name(self._order[-1]):
                self._order[-1] = position
                self._refuse(name, REPEATED_NAME, "a later member has the same name")
            else:
                self._order.append(position)

    def _name_start(self, position: int) -> int:
        return position + _RECORD.size + int(_RECORD.unpack_from(self._records, position)[-2])

    def _name(self, position: int) -> bytes:
        *_, kind_bytes, name_bytes = _RECORD.unpack_from(self._records, position)
        start = position + _RECORD.size + kind_bytes
        return bytes(self._records[start : start + name_bytes])

    def _member(self, position: int) -> tuple[str, Member, str]:
        offset, packed, size, crc, method, refusal, kind_bytes, _ = _RECORD.unpack_from(self._records, position)
        start = position + _RECORD.size
        kind = self._records[start : start + kind_bytes].decode()
        member = Member(self._path, *self.version, offset, packed, size, method, crc, REFUSALS[refusal])
        return os.fsdecode(self._name(position)), member, kind


class _Cache:
    """The catalogues that were used last."""

    _MOST: Final = 4

    def __init__(self) -> None:
        self._kept: dict[bytes, Catalogue] = {}

    def get(self, path: bytes, status: os.stat_result) -> Catalogue | None:
        found = self._kept.get(path)
        return found if found is not None and found.version == (status.st_size, status.st_mtime_ns) else None

    def add(self, path: bytes, catalogue: Catalogue) -> None:
        kept = {key: value for key, value in list(self._kept.items()) if key != path}
        self._kept = dict([*kept.items(), (path, catalogue)][-self._MOST :])


_cache: Final = _Cache()


def open_catalogue(path: str) -> Catalogue:
    """Return the members of an archive; those of the archives that were listed last are kept while these are unchanged.

    Raises:
        NotAnArchiveError: the content is neither that of a ZIP nor that of a TAR.
        NoDescriptorsError: the process has no file descriptor left.
        OSError: the file cannot be read.
    """
    name = os.fsencode(path)
    status = os.stat(name)  # noqa: PTH116 - the path of a file's name that is not UTF-8, as bytes
    if (known := _cache.get(name, status)) is not None:
        return known
    if not stat.S_ISREG(status.st_mode):
        raise NotAnArchiveError
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as exc:
        require_descriptor(exc)
        raise
    try:
        status = os.fstat(fd)
        catalogue = Catalogue(name, status, _find_lister(fd)(fd))
    finally:
        os.close(fd)
    _cache.add(name, catalogue)
    return catalogue


def _find_lister(fd: int) -> Callable[[int], Iterator[Entry]]:
    head = os.pread(fd, 512, 0)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return list_zip
    if is_compressed(head) and is_compressed_tar(fd):
        return list_compressed_tar
    if is_tar(head):
        return list_tar
    raise NotAnArchiveError
