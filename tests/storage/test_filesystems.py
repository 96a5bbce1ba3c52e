"""Disks of this machine, and of others."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.storage import filesystems
from pipeline.storage.filesystems import NETWORK_FILESYSTEMS, find_filesystem, find_network_filesystem


def test_what_lies_beneath_a_network_mount_is_found(network_mount: Path) -> None:
    """Whether it is there or not."""
    assert find_network_filesystem(network_mount) == "nfs4"
    assert find_network_filesystem(network_mount / "state" / "l.sqlite3") == "nfs4"


def test_a_link_does_not_hide_it(network_mount: Path, tmp_path: Path) -> None:
    """The filesystem on which the file really lies counts."""
    (tmp_path / "near").symlink_to(network_mount)
    assert find_network_filesystem(tmp_path / "near" / "l.sqlite3") == "nfs4"


def test_a_disk_of_this_machine_is_none(network_mount: Path, tmp_path: Path) -> None:
    """What only lies beside the mount is no concern of it."""
    assert find_network_filesystem(tmp_path / "l.sqlite3") is None
    assert find_network_filesystem(tmp_path / f"{network_mount.name}-not" / "l.sqlite3") is None


def test_without_a_list_of_mounts_nothing_is_found(network_mount: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other systems than Linux have no such list."""
    monkeypatch.setattr(filesystems, "_MOUNTINFO", network_mount / "none")
    assert find_network_filesystem(network_mount / "l.sqlite3") is None


def test_this_machines_own_list_is_read(tmp_path: Path) -> None:
    """The real list names a local filesystem for the tests' directory."""
    assert find_network_filesystem(tmp_path) is None


# From a machine of the kind that people have, with a home directory from a server.
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
    """Names are unescaped, optional fields passed over, whatever the order of the lines."""
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
def test_a_hidden_mount_is_not_asked(lines: list[str], found: str | None) -> None:
    """A path leads from mount to mount as it does in the kernel."""
    assert find_filesystem("\n".join(lines), "/a/b/ledger") == found


@given(st.text(st.characters(codec="utf-8")), st.text())
def test_no_list_is_too_strange(mountinfo: str, path: str) -> None:
    """Whatever stands there, an answer comes."""
    assert find_filesystem(mountinfo, f"/{path}") is None or " - " in mountinfo


@given(
    st.lists(st.tuples(*[st.integers(0, 4)] * 2, st.sampled_from(["/", "/a", "/a/b"])), max_size=8),
    st.sampled_from(["/a/b/c", "/x"]),
)
def test_no_tree_of_mounts_is_without_an_end(tree: list[tuple[int, int, str]], path: str) -> None:
    """Not even one that no kernel has, where a mount is its own grandchild."""
    lines = [f"{number} {parent} 0:1 / {point} rw - ext4 a rw" for number, parent, point in tree]
    assert find_filesystem("\n".join(lines), path) in {"ext4", None}


@pytest.mark.parametrize("name", ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p", "lustre", "ceph"])
def test_what_machines_share_is_known(name: str) -> None:
    """Where others write too, a lock may not keep them out."""
    assert name in NETWORK_FILESYSTEMS


@pytest.mark.parametrize("name", ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "zfs", "f2fs", "apfs", "fuseblk"])
def test_what_one_machine_has_is_not(name: str) -> None:
    """Containers and memory included."""
    assert name not in NETWORK_FILESYSTEMS
