"""Does a file lie on a disk of this machine? Asked before a database is trusted to its locks."""

from pathlib import Path
from typing import Final

from pipeline.rules.mounts import NETWORK_FILESYSTEMS, find_filesystem

_MOUNTINFO: Final = Path("/proc/self/mountinfo")


def find_network_filesystem(path: Path) -> str | None:
    """Return the type of the network filesystem that a path lies on; None for a disk of this machine, or unknown.

    Args:
        path: It need not be there yet.
    """
    try:
        mountinfo = _MOUNTINFO.read_text("utf-8", "surrogateescape")
    except OSError:
        return None  # only Linux has this list
    found = find_filesystem(mountinfo, str(path.resolve()))
    return found if found in NETWORK_FILESYSTEMS else None
