"""Which files of pages have changed since they were read.

A file whose size and time are those that the index has is not opened; any other is hashed, since a copy or a touch
changes the time alone.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Final

from pipeline.errors import EmptyFileError, MissingFileError, PageError, UnfittableImageError, UnreadableFileError
from pipeline.inputs.archives.catalogue import open_catalogue
from pipeline.inputs.archives.entries import NotAnArchiveError
from pipeline.inputs.content import CHANGED, read_content
from pipeline.inputs.entries import find_file
from pipeline.inputs.selection import Inputs
from pipeline.members import COMPRESSED_TAR, Member
from pipeline.records import FileStat, SourceFile
from pipeline.workspace.source_names import decode_name

_CONTENT: Final = "sha256:"
_MOST_KEPT: Final = 4096
"""Hashes that are kept; the pages of a file, and passes over few files, hash it once."""


class Changes:
    """Compares files with the contents that were read.

    Args:
        root: The input root, to which source names are relative; None when it is not known.
        stat_of: Returns a file's size and time when its pages were read, such as `Inventory.stat_of`; None for unknown.
    """

    def __init__(self, root: str | None, stat_of: Callable[[SourceFile], FileStat | None]) -> None:
        self._inputs, self._stat_of = Inputs(Path(root or "/"), ()), stat_of
        self._hash = lru_cache(_MOST_KEPT)(_hash)

    def __repr__(self) -> str:
        return f"<Changes below {self._inputs.root}>"

    def find(self, source: bytes) -> SourceFile:
        """Return the file of a page as it is now; one that is gone, or that cannot be read, has a `problem`.

        Args:
            source: The bytes of the source's name.
        """
        name = decode_name(source)
        try:
            return find_file(self._inputs, name, meta=None, pages=None)
        except ValueError:  # a name with a NUL byte
            return SourceFile(name, None, problem=MissingFileError("no such file"))

    def has_changed(self, file: SourceFile, page_id: str | None) -> bool:
        """Return whether a file has another content than the one that was read; blocks while it is hashed.

        Args:
            file: From `find`.
            page_id: Of a page of the content that was read. One that names no content, such as a URL's, cannot differ.

        Raises:
            PageError: the file cannot be read.
        """
        if file.path is None or file.stat is None or content_hash(page_id) is None:
            return False
        if file.stat == self._stat_of(file):
            return False
        try:
            return not is_content(page_id, self._hash(os.fsencode(file.path), file.stat, file.member))
        except (EmptyFileError, UnfittableImageError):  # no page has such a content
            return True


def content_hash(page_id: str | None) -> str | None:
    """Return the SHA-256, in hex, of the file's content that an id names; None for one that names none."""
    if page_id is None or not page_id.startswith(_CONTENT):
        return None
    return page_id.removeprefix(_CONTENT).partition("#")[0]


def is_content(page_id: str | None, sha256: str) -> bool:
    """Return whether bytes of this SHA-256 are what an id names; an id that names no content is not contradicted."""
    return content_hash(page_id) in {None, sha256}


def _hash(path: bytes, stat: FileStat, member: Member | None) -> str:
    if member is not None and member.method == COMPRESSED_TAR:
        found = _hash_all(member.archive, member.archive_bytes, member.archive_mtime_ns).get(member)
        if not isinstance(found, str):
            raise found or UnreadableFileError(CHANGED)
        return found
    return read_content(path, member, 0).sha256


@lru_cache(1)
def _hash_all(archive: bytes, size_bytes: int, mtime_ns: int) -> Mapping[Member, str | PageError]:
    """Return the hashes of a compressed TAR's members, in one pass: in the order of names each could take one."""
    hashes: dict[Member, str | PageError] = {}
    with suppress(OSError, NotAnArchiveError):  # it was replaced just now
        for _, member, _ in open_catalogue(os.fsdecode(archive)).below(""):
            try:
                hashes[member] = read_content(archive, member, 0).sha256
            except PageError as exc:
                hashes[member] = exc
    return hashes
