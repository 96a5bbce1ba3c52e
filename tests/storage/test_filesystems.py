"""Network filesystems and local ones."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.storage import filesystems
from pipeline.storage.filesystems import NETWORK_FILESYSTEMS, find_filesystem, find_network_filesystem


def test_a_path_below_a_network_mount_is_on_the_network(network_mount: Path) -> None:
    """The path need not exist."""
    assert find_network_filesystem(network_mount) == "nfs4"
    assert find_network_filesystem(network_mount / "state" / "l.sqlite3") == "nfs4"


def test_a_symbolic_link_to_a_network_mount_is_followed(network_mount: Path, tmp_path: Path) -> None:
    (tmp_path / "near").symlink_to(network_mount)
    assert find_network_filesystem(tmp_path / "near" / "l.sqlite3") == "nfs4"


def test_a_path_beside_a_network_mount_is_local(network_mount: Path, tmp_path: Path) -> None:
    """A mount point's name may be a prefix of another directory's."""
    assert find_network_filesystem(tmp_path / "l.sqlite3") is None
    assert find_network_filesystem(tmp_path / f"{network_mount.name}-not" / "l.sqlite3") is None


def test_without_mountinfo_every_path_counts_as_local(network_mount: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only Linux has /proc/self/mountinfo."""
    monkeypatch.setattr(filesystems, "_MOUNTINFO", network_mount / "none")
    assert find_network_filesystem(network_mount / "l.sqlite3") is None


def test_the_tests_directory_is_local(tmp_path: Path) -> None:
    assert find_network_filesystem(tmp_path) is None


# A common machine whose home directories are on a server.
MACHINE = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
25 24 0:23 / /dev/shm rw,relatime - tmpfs tmpfs rw,size=24684096k
24 27 0:6 / /dev rw,relatime - devtmpfs devtmpfs rw,mode=755
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
41 27 0:40 / /home rw,relatime shared:20 - autofs systemd-1 rw,fd=29
42 41 0:52 / /home rw,relatime shared:21 master:3 propagate_from:2 - nfs4 server:/home rw,vers=4.2
50 42 0:60 / /home/me/local\\040disk rw - xfs /dev/vdb rw
51 27 0:61 / /mnt/tab\\011and\\134slash rw - fuse.sshfs me@host: rw
"""


@pytest.mark.parametrize(
    ("path", "found"),
    [
        pytest.param("/var/lib/pagemill", "ext4", id="root"),
        pytest.param("/", "ext4", id="root-itself"),
        pytest.param("/home/me/.local/state", "nfs4", id="home-from-a-server"),
        pytest.param("/home", "nfs4", id="a-mount-point-itself"),
        pytest.param("/homework", "ext4", id="only-the-same-beginning"),
        pytest.param("/home/me/local disk/ledger", "xfs", id="a-disk-below-it-with-a-space"),
        pytest.param("/mnt/tab\tand\\slash/x", "fuse.sshfs", id="tab-and-backslash"),
        pytest.param("/dev/shm/x", "tmpfs", id="listed-before-its-parent"),
    ],
)
def test_the_longest_mount_point_decides(path: str, found: str) -> None:
    """Names are unescaped and optional fields skipped, in any order of the lines."""
    assert find_filesystem(MACHINE, path) == found
    assert find_filesystem("\n".join(reversed(MACHINE.splitlines())), path) == found


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        pytest.param(["1 0 0:1 / / rw - ext4 a rw", "2 1 0:2 / /a rw - nfs b rw"], "nfs", id="a-mount"),
        pytest.param(
            ["1 0 0:1 / / rw - ext4 a rw", "2 1 0:2 / /a rw - nfs b rw", "3 2 0:3 / /a rw - tmpfs c rw"],
            "tmpfs",
            id="mounted-over-it",
        ),
        pytest.param(
            ["1 0 0:1 / / rw - ext4 a rw", "2 1 0:2 / /a/b rw - nfs b rw", "3 1 0:3 / /a rw - xfs c rw"],
            "xfs",
            id="a-later-mount-above-hides-it",
        ),
        pytest.param(
            ["1 0 0:1 / / rw - ext4 a rw", "2 1 0:2 / /a rw - xfs c rw", "3 2 0:3 / /a/b rw - nfs b rw"],
            "nfs",
            id="a-later-mount-below-does-not",
        ),
        pytest.param(["5 4 0:2 / /a rw - cifs b rw"], "cifs", id="no-root-in-the-list"),
        pytest.param(["1 1 0:1 / / rw - rootfs a rw"], "rootfs", id="its-own-parent"),
        pytest.param(["5 4 0:2 / /x rw - cifs b rw"], None, id="not-in-the-list"),
        pytest.param(["garbage", "", "1 0 0:1 / /"], None, id="no-list-at-all"),
    ],
)
def test_a_mount_that_a_later_one_hides_is_skipped(lines: list[str], found: str | None) -> None:
    """The path is followed from mount to mount, as in the kernel."""
    assert find_filesystem("\n".join(lines), "/a/b/ledger") == found


@given(st.text(st.characters(codec="utf-8")), st.text())
def test_any_text_is_parsed_as_mountinfo_without_an_error(mountinfo: str, path: str) -> None:
    assert find_filesystem(mountinfo, f"/{path}") is None or " - " in mountinfo


@given(
    st.lists(st.tuples(*[st.integers(0, 4)] * 2, st.sampled_from(["/", "/a", "/a/b"])), max_size=8),
    st.sampled_from(["/a/b/c", "/x"]),
)
def test_a_cycle_of_mounts_does_not_hang(mounts: list[tuple[int, int, str]], path: str) -> None:
    """Not even when a mount is its own grandchild."""
    lines = [f"{number} {parent} 0:1 / {point} rw - ext4 a rw" for number, parent, point in mounts]
    assert find_filesystem("\n".join(lines), path) in {"ext4", None}


@pytest.mark.parametrize("name", ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p", "lustre", "ceph"])
def test_filesystems_shared_by_machines_are_network_filesystems(name: str) -> None:
    assert name in NETWORK_FILESYSTEMS


@pytest.mark.parametrize("name", ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "zfs", "f2fs", "apfs", "fuseblk"])
def test_local_filesystems_are_not(name: str) -> None:
    assert name not in NETWORK_FILESYSTEMS
