"""The workspace directory: who holds it, which service filled it, what the last run left."""

import errno
import fcntl
import os
from pathlib import Path

import pytest

from pipeline.errors import UsageError, WorkspaceLockedError
from pipeline.workspace.run_file import (
    RUN,
    RunFile,
    claim_service,
    hold_workspace,
    read_run_file,
    require_workspace,
    write_run_file,
)

RUN_FILE = RunFile(
    workspace="abc",
    version="1",
    service="vendor",
    ledger="/state/ledger.sqlite3",
    settings={"run": {"jobs": 8}},
    totals={"done": 3},
    finished="2026-01-31T12:00:00.000000Z",
    exit_code=8,
)


def test_a_workspace_is_made_when_it_is_missing(tmp_path: Path) -> None:
    """Its parents, too."""
    with hold_workspace(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").is_dir()


def test_one_run_holds_a_workspace_at_a_time(tmp_path: Path) -> None:
    """The second gets the error of exit code 11 at once; after the first it may go."""
    with hold_workspace(tmp_path):
        with pytest.raises(WorkspaceLockedError, match="another run") as raised, hold_workspace(tmp_path):
            pass
        assert raised.value.exit_code == 11
        with hold_workspace(tmp_path / "other"):
            pass
    with hold_workspace(tmp_path):
        pass


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK], ids=errno.errorcode.get)
def test_a_filesystem_without_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """A mere file in place of a lock would outlive a crash; filelock makes one by itself where flock is missing."""

    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(UsageError, match="its filesystem has no locks"), hold_workspace(tmp_path):
        pass


def test_a_workspace_that_cannot_be_made_is_a_usage_error(tmp_path: Path) -> None:
    """A file in its place is named in an error of ours."""
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file"), hold_workspace(tmp_path / "file"):
        pass


def test_the_run_file_reads_back_as_it_was_written(tmp_path: Path) -> None:
    """A new workspace has none; what is written replaces the one before, and leaves nothing else behind."""
    assert read_run_file(tmp_path) is None
    for run_file in (RunFile(workspace="a", version="1", service="vendor"), RUN_FILE):
        write_run_file(tmp_path, run_file)
        assert read_run_file(tmp_path) == run_file
    assert require_workspace(tmp_path) == RUN_FILE
    assert [path.name for path in tmp_path.iterdir()] == [RUN]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b'{"workspace": "a"', id="cut"),
        pytest.param(b'{"workspace": "a"}', id="fields-missing"),
        pytest.param(b'{"workspace": 1, "version": "1", "service": "vendor"}', id="wrong-type"),
        pytest.param(b"\xff", id="not-utf8"),
    ],
)
def test_a_damaged_run_file_stops_the_run(tmp_path: Path, content: bytes) -> None:
    """It is not taken for a new workspace: another service might fill it."""
    (tmp_path / RUN).write_bytes(content)
    with pytest.raises(UsageError, match=r"run\.json"):
        read_run_file(tmp_path)


@pytest.mark.parametrize("name", [pytest.param("empty", id="empty"), pytest.param("missing", id="missing")])
def test_a_directory_without_a_run_file_is_no_workspace(tmp_path: Path, name: str) -> None:
    """Commands that only look make nothing."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="not a workspace"):
        require_workspace(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_a_workspace_keeps_its_id_and_service(tmp_path: Path) -> None:
    """The same service goes on under the same id; new workspaces have ids of their own."""
    assert claim_service(RUN_FILE, "vendor", switch=False, workspace=tmp_path) == "abc"
    fresh = {claim_service(None, "vendor", switch=False, workspace=tmp_path) for _ in range(3)}
    assert len(fresh) == 3


def test_another_service_must_be_asked_for(tmp_path: Path) -> None:
    """A cron job that lost its key does not fill a paid workspace; `--switch-service` does, under the same id."""
    with pytest.raises(UsageError, match="--switch-service"):
        claim_service(RUN_FILE, "embedded", switch=False, workspace=tmp_path)
    assert claim_service(RUN_FILE, "embedded", switch=True, workspace=tmp_path) == "abc"
