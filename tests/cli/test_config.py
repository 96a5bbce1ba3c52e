"""Whether ledgers can be kept where the configuration says."""

from pathlib import Path

import pytest

from pipeline.cli.config import _check_ledgers
from pipeline.errors import UsageError


def test_a_directory_that_can_be_made_is_good(tmp_path: Path) -> None:
    _check_ledgers(tmp_path / "not" / "yet" / "made")
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_written_is_named(as_nobody: Path) -> None:
    (as_nobody / "closed").mkdir(0o500)
    with pytest.raises(UsageError, match=r"closed/ledger: .*/closed cannot be written"):
        _check_ledgers(as_nobody / "closed" / "ledger")


def test_a_directory_that_cannot_be_entered_is_named(as_nobody: Path) -> None:
    (as_nobody / "closed").mkdir(0o000)
    with pytest.raises(UsageError, match="Permission denied"):
        _check_ledgers(as_nobody / "closed" / "a" / "ledger")


def test_a_network_filesystem_is_named(network_mount: Path) -> None:
    """Its locks cannot be trusted; a run would refuse it."""
    with pytest.raises(UsageError, match=r"on a network filesystem \(nfs4\)"):
        _check_ledgers(network_mount / "ledger")
