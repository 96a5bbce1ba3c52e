"""Holds a member of a compressed TAR in memory while its pages are prepared.

Such members are read in the order of the walk, one after the other, because any other order takes a pass each. What was
read is held in an anonymous file of the kernel (memfd), so that worker processes read it by a path, as they read files.
"""

import asyncio
import os
from concurrent.futures import Executor, Future
from dataclasses import replace
from itertools import count
from typing import Final

from pipeline.errors import PageError
from pipeline.inputs.archives.reading import read_member
from pipeline.inputs.content import HeldContent
from pipeline.members import COMPRESSED_TAR, TAR, Member
from pipeline.records import SourceFile

_HAS_MEMFD: Final = hasattr(os, "memfd_create")
"""Elsewhere than on Linux, a worker process reads the archive itself, with a pass for each page that it converts."""


def must_hold(file: SourceFile) -> bool:
    """Return whether a file must be read in the order of the walk."""
    return streamed_archive(file) is not None and _HAS_MEMFD


def streamed_archive(file: SourceFile) -> bytes | None:
    """Return the compressed TAR that a file is a member of; None for any other file."""
    member = file.member
    return member.archive if member is not None and member.method == COMPRESSED_TAR else None


def place_in_archive(file: SourceFile) -> int:
    """Return where a member is in its archive; 0 for a file on disk."""
    return file.member.offset if file.member is not None else 0


async def hold(file: SourceFile, max_bytes: int, threads: Executor) -> SourceFile:
    """Read a member in a thread; return the file with its new place, or with its problem.

    A read that hangs on a dead network mount is abandoned; one that ends later is released.

    Raises:
        NoDescriptorsError: the process has no file descriptor left.
    """
    reading = threads.submit(_hold, file, max_bytes)
    try:
        return await asyncio.wrap_future(reading)
    except asyncio.CancelledError:
        reading.add_done_callback(_release_late)
        raise


def release(member: Member | None) -> None:
    """Free what is held of a member; a second call, and one for a member that is not held, do nothing."""
    if member is not None and (held := _held.pop(member, None)) is not None:
        held.close()


_held: Final[dict[Member, HeldContent]] = {}
"""By place. Descriptors recur, so the place has a number of its own in `crc`, which a TAR does not use."""
_numbers: Final = count(1)


def _release_late(reading: Future[SourceFile]) -> None:
    if not reading.cancelled() and reading.exception() is None:
        release(reading.result().member)


def _hold(file: SourceFile, max_bytes: int) -> SourceFile:
    assert file.member is not None
    try:
        content = read_member(file.member, max_bytes)
        held = HeldContent(content)
    except PageError as exc:
        return replace(file, problem=exc)
    size, place = len(content), held.place
    member = Member(place.path, size, place.stamp.mtime_ns, 0, size, size, TAR, next(_numbers))
    _held[member] = held
    return replace(file, member=member)
