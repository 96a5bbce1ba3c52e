"""Disks of this machine, and of others."""

from pathlib import Path

import pytest

from pipeline.storage import filesystems
from pipeline.storage.filesystems import find_network_filesystem


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
