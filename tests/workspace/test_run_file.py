"""run.json: the workspace's id and service, and what the last run wrote at its end."""

from pathlib import Path

import orjson
import pytest

from pipeline.errors import UsageError
from pipeline.workspace.paths import RUN
from pipeline.workspace.run_file import (
    LearnedLimit,
    RunFile,
    claim_service,
    read_run_file,
    require_workspace,
    write_run_file,
)

RUN_FILE = RunFile(
    workspace_id="abc",
    version="1",
    service="vendor",
    ledger="/state/ledger.sqlite3",
    settings={"run": {"jobs": 8}},
    totals={"done": 3},
    finished="2026-01-31T12:00:00.000000Z",
    exit_code=8,
    refused=12,
    learned=LearnedLimit(rate_per_s=1.0, windows=((60, 60.0),)),
)


def test_a_new_workspace_has_no_run_file(tmp_path: Path) -> None:
    assert read_run_file(tmp_path) is None


def test_the_run_file_reads_back_as_it_was_written(tmp_path: Path) -> None:
    for run_file in (RunFile(workspace_id="a", version="1", service="vendor"), RUN_FILE):
        write_run_file(tmp_path, run_file)
        assert read_run_file(tmp_path) == run_file
    assert require_workspace(tmp_path) == RUN_FILE
    assert [path.name for path in tmp_path.iterdir()] == [RUN]


def test_the_names_in_run_json_are_those_of_earlier_releases(tmp_path: Path) -> None:
    write_run_file(tmp_path, RUN_FILE)
    assert list(orjson.loads((tmp_path / RUN).read_bytes())) == [
        "workspace", "version", "service", "root", "ledger", "ledgers", "settings", "totals", "finished", "exit_code",
        "pending_is_at_least", "ignored", "stalled_runs", "again", "started", "place", "copied_from", "metered",
        "calls", "sent", "refused", "learned", "run_id", "reason", "files", "shard", "shard_job", "merged",
        "is_merging", "resealed",
    ]  # fmt: skip


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
    """Taken for a new workspace, it could be filled by another service."""
    (tmp_path / RUN).write_bytes(content)
    with pytest.raises(UsageError, match=r"run\.json"):
        read_run_file(tmp_path)


@pytest.mark.parametrize("name", [pytest.param("empty", id="empty"), pytest.param("missing", id="missing")])
def test_a_directory_without_a_run_file_is_no_workspace(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="not a workspace"):
        require_workspace(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_a_workspace_keeps_its_id_and_service(tmp_path: Path) -> None:
    assert claim_service(RUN_FILE, "vendor", switch=False, workspace=tmp_path) == "abc"


def test_each_new_workspace_has_an_id_of_its_own(tmp_path: Path) -> None:
    assert len({claim_service(None, "vendor", switch=False, workspace=tmp_path) for _ in range(3)}) == 3


def test_another_service_needs_the_switch_and_keeps_the_id(tmp_path: Path) -> None:
    """A cron job that lost its key must not fill a paid workspace with the embedded engine's texts."""
    with pytest.raises(UsageError, match="--switch-service"):
        claim_service(RUN_FILE, "embedded", switch=False, workspace=tmp_path)
    assert claim_service(RUN_FILE, "embedded", switch=True, workspace=tmp_path) == "abc"
