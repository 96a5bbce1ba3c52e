"""The workspace's lock: one run at a time; readers share it and keep runs out."""

import errno
import fcntl
import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from pipeline.errors import UsageError, WorkspaceLockedError
from pipeline.workspace.lock import lock_workspace, share_workspace


def test_a_missing_workspace_is_created_with_its_parents(tmp_path: Path) -> None:
    with lock_workspace(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").is_dir()


def test_one_run_holds_a_workspace_at_a_time(tmp_path: Path) -> None:
    with lock_workspace(tmp_path):
        with pytest.raises(WorkspaceLockedError, match="another run") as raised, lock_workspace(tmp_path):
            pass
        assert raised.value.exit_code == 11
        with lock_workspace(tmp_path / "other"):
            pass
    with lock_workspace(tmp_path):
        pass


def test_readers_share_the_lock_and_keep_runs_out(tmp_path: Path) -> None:
    with lock_workspace(tmp_path), pytest.raises(WorkspaceLockedError, match="a run holds"), share_workspace(tmp_path):
        pass
    with ExitStack() as readers:
        for _ in range(2):
            readers.enter_context(share_workspace(tmp_path))
        with pytest.raises(WorkspaceLockedError, match="verify reads it"), lock_workspace(tmp_path):
            pass
    with lock_workspace(tmp_path):
        pass


@pytest.mark.parametrize("name", [pytest.param("out", id="no-lock-file"), pytest.param("missing", id="no-directory")])
def test_a_reader_creates_no_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "out").mkdir()
    with share_workspace(tmp_path / name):
        assert list(tmp_path.rglob("*")) == [tmp_path / "out"]


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK], ids=errno.errorcode.get)
def test_a_filesystem_without_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Where flock is missing, filelock would create a mere file, which outlives a crash."""

    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(UsageError, match="its filesystem has no locks"), lock_workspace(tmp_path):
        pass


def test_a_workspace_that_cannot_be_created_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file"), lock_workspace(tmp_path / "file"):
        pass
