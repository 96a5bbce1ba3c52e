"""Where files lie: on a disk of this machine or not, in directories whose names survive a power loss."""

import os
from pathlib import Path
from typing import Final

from pipeline.storage.mounts import NETWORK_FILESYSTEMS, find_filesystem

_MOUNTINFO: Final = Path("/proc/self/mountinfo")


def find_network_filesystem(path: Path) -> str | None:
    """Return the type of the network filesystem that a path lies on; None for a disk of this machine, or unknown.

    Asked before a database is trusted to its locks.

    Args:
        path: It need not be there yet.
    """
    try:
        mountinfo = _MOUNTINFO.read_text("utf-8", "surrogateescape")
    except OSError:
        return None  # only Linux has this list
    found = find_filesystem(mountinfo, str(path.resolve()))
    return found if found in NETWORK_FILESYSTEMS else None


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(directory: Path, *, mode: int = 0o777) -> None:
    """Make a directory that is missing, and those above it, with names that survive a power loss.

    Args:
        directory: Of those above it, the missing ones get the usual permissions.
        mode: Its permissions, less the umask.
    """
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    directory.mkdir(mode, parents=True, exist_ok=True)
    for path in missing:
        sync_directory(path.parent)
