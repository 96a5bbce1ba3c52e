"""Finds the archive and the member that a path through an archive names, such as `scans/box.zip/letters/001.jpg`."""

import os
import stat
from pathlib import Path

from pipeline.errors import MissingFileError, PageError, UnreadableFileError
from pipeline.inputs.archives.catalogue import open_catalogue
from pipeline.inputs.archives.entries import NotAnArchiveError
from pipeline.inputs.archives.reading import read_member_head
from pipeline.members import Member
from pipeline.records import SourceFile
from pipeline.storage.files import read_head


def split_path(path: str) -> tuple[str, str] | None:
    """Return the regular file on the way of a path, and the rest behind it; None when there is none.

    Args:
        path: Absolute and normalised.

    Raises:
        OSError: a part of the path cannot be examined.
    """
    inner: list[str] = []
    for place in (Path(path), *Path(path).parents):
        try:
            mode = place.stat().st_mode
        except NotADirectoryError:
            inner.append(place.name)
            continue
        except FileNotFoundError:
            return None
        return (str(place), "/".join(reversed(inner))) if stat.S_ISREG(mode) else None
    return None


def find_member(path: str) -> Member | PageError:
    """Return the member that a path names, or why there is none.

    Raises:
        NoDescriptorsError: the process has no file descriptor left.
    """
    try:
        found = split_path(path)
        if found is None:
            return MissingFileError("no such file")
        archive, inner = found
        catalogue = open_catalogue(archive)
    except NotAnArchiveError:
        return MissingFileError("no such file")
    except OSError as exc:
        return UnreadableFileError(exc.strerror or str(exc))
    member = catalogue.find(inner)
    if member is None and catalogue.fault is not None:
        return UnreadableFileError(f"its archive cannot be read to its end: {catalogue.fault}")
    return member or MissingFileError("no such file in its archive")


def is_archive(path: str) -> bool:
    """Return whether the content of a file is that of an archive, be it damaged."""
    try:
        open_catalogue(path)
    except (NotAnArchiveError, OSError):
        return False
    return True


def has_members_below(path: str) -> bool:
    """Return whether a path names a folder within an archive."""
    try:
        found = split_path(path)
        return found is not None and any(True for _ in open_catalogue(found[0]).below(found[1]))
    except (NotAnArchiveError, OSError):
        return False


def head_of(file: SourceFile, size: int) -> bytes:
    """Return the first bytes of a file that is on disk or in an archive.

    Raises:
        NoDescriptorsError: the process has no file descriptor left.
        OSError: it cannot be read.
    """
    if file.member is None:
        return read_head(Path(os.fspath(file.path or "")), size)
    try:
        return read_member_head(file.member, size)
    except PageError as exc:
        raise OSError(str(exc)) from exc
