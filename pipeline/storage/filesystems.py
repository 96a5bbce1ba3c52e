"""Filesystems: whether a path is on a network filesystem, and directories whose entries survive a power loss."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_MOUNTINFO: Final = Path("/proc/self/mountinfo")
NETWORK_FILESYSTEMS: Final = frozenset(
    {
        "9p",
        "acfs",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "davfs",
        "fuse.beegfs",
        "fuse.ceph",
        "fuse.cephfs",
        "fuse.curlftpfs",
        "fuse.davfs",
        "fuse.davfs2",
        "fuse.gcsfuse",
        "fuse.glusterfs",
        "fuse.goofys",
        "fuse.juicefs",
        "fuse.moosefs",
        "fuse.rclone",
        "fuse.s3fs",
        "fuse.seaweedfs",
        "fuse.sshfs",
        "fuse.vmhgfs-fuse",
        "gfs2",
        "glusterfs",
        "gpfs",
        "juicefs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "orangefs",
        "panfs",
        "prl_fs",
        "pvfs2",
        "smb2",
        "smb3",
        "smbfs",
        "vboxsf",
        "wekafs",
    }
)
"""Filesystems that several machines may write to, so that a lock may not exclude all writers."""
_ESCAPE: Final = re.compile(r"\\([0-7]{3})")


def find_network_filesystem(path: Path) -> str | None:
    """Return the type of the network filesystem that a path is on; None for a local or an unknown filesystem.

    The locks of an SQLite file can be trusted on a local filesystem only.

    Args:
        path: May name a file that does not exist yet.
    """
    try:
        mountinfo = _MOUNTINFO.read_text("utf-8", "surrogateescape")
    except OSError:
        return None  # only Linux has this file
    found = find_filesystem(mountinfo, str(path.resolve()))
    return found if found in NETWORK_FILESYSTEMS else None


def current_directory() -> Path | None:
    """Return the absolute current directory; None when it was deleted, or lies below one that may not be entered."""
    try:
        return Path.cwd()
    except OSError:
        return None


def sync_directory(directory: Path) -> None:
    """Make the entries of a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(directory: Path, *, mode: int = 0o777) -> None:
    """Create a directory and its missing parents durably.

    Args:
        directory: May exist. Missing parents get the default permissions.
        mode: The directory's permissions, less the umask.
    """
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    directory.mkdir(mode, parents=True, exist_ok=True)
    for path in missing:
        sync_directory(path.parent)


@dataclass(frozen=True, slots=True)
class _Mount:
    """A line of mountinfo."""

    id: str
    parent: str
    point: str
    type: str


def find_filesystem(mountinfo: str, path: str) -> str | None:
    """Return the type of the filesystem that a path is on; None when mountinfo does not cover the path.

    Args:
        mountinfo: The text of /proc/self/mountinfo, decoded with surrogate escapes.
        path: Absolute, without symbolic links.
    """
    mounts = [mount for line in mountinfo.split("\n") if (mount := _parse(line)) is not None]
    known = {mount.id for mount in mounts}
    reachable = [mount for mount in mounts if mount.parent not in known or mount.parent == mount.id]
    found: _Mount | None = None
    for _ in mounts:  # follow the path from mount to mount, as the kernel does, so that hidden mounts are skipped
        entered = [mount for mount in reversed(reachable) if _covers(mount.point, path)]
        if not entered:
            break
        found = min(entered, key=lambda mount: len(mount.point))
        reachable = [mount for mount in mounts if mount.parent == found.id and mount.id != found.id]
    return None if found is None else found.type


def _parse(line: str) -> _Mount | None:
    """Return the mount of a line; None when the line has another format."""
    head, separator, tail = line.partition(" - ")
    fields = head.split(" ")
    if not separator or len(fields) < 6:
        return None
    return _Mount(fields[0], fields[1], _unescape(fields[4]), tail.split(" ")[0])


def _unescape(name: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), name)


def _covers(point: str, path: str) -> bool:
    return point in {"/", path} or path.startswith(f"{point}/")
