"""What listing an archive yields: files, and entries that are none."""

import re
from functools import lru_cache
from typing import Final, NamedTuple

ENCRYPTED: Final = "encrypted in its archive; decrypt the archive, or unpack it"
SPARSE: Final = "a sparse file of a TAR; unpack the archive"
REFUSALS: Final = ("", ENCRYPTED, SPARSE)
"""Why a member is not read; the position is stored."""


_SPECIAL: Final = re.compile(rb"\0|(?:\A|/)\.{0,2}(?:/|\Z)")
"""NUL, or a part of a path that is empty, `.` or `..`."""


class ArchiveError(Exception):
    """The archive cannot be listed, or not to its end; the message is the reason."""


class NotAnArchiveError(Exception):
    """The file is no ZIP and no TAR."""


class Entry(NamedTuple):
    """An entry of an archive.

    Attributes:
        name: As bytes, as in the archive.
        kind: The kind under which an entry that is no file is ignored; "" for a directory, None for a file.
        offset: As in `Member`, as the others are.
        packed_bytes: As in `Member`.
        size_bytes: As in `Member`.
        method: As in `Member`.
        crc: As in `Member`.
        refusal: As in `Member`.
        content_kind: What its first bytes told: "page", or the kind under which it is ignored; empty when unread.
    """

    name: bytes
    kind: str | None
    offset: int
    packed_bytes: int
    size_bytes: int
    method: int
    crc: int = 0
    refusal: str = ""
    content_kind: str = ""


def normalise(name: bytes) -> bytes | None:
    """Return the path of an entry below its archive; None for a name that no file below a folder can have.

    A leading `./` and empty parts go, as `tar -C folder .` writes them. Absolute names, `..`, NUL and an empty name are
    refused.
    """
    if _SPECIAL.search(name) is None:
        return name
    if name.startswith(b"/") or b"\0" in name:
        return None
    parts = [part for part in name.split(b"/") if part not in {b"", b"."}]
    return b"/".join(parts) if parts and b".." not in parts else None


def sort_key(name: bytes) -> bytes:
    """Return a key in whose byte order names come as a directory's walk yields them: files before subdirectories.

    Args:
        name: Normalised, so it has no NUL.
    """
    folder, _, last = name.rpartition(b"/")
    return _folder_key(folder) + last


@lru_cache(maxsize=64)
def _folder_key(folder: bytes) -> bytes:
    return b"".join(b"\1%b\0" % part for part in folder.split(b"/") if part) + b"\0"
