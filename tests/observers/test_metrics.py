"""What Prometheus reads of a run: each metric once, with its workspace, in a file that is always whole."""

import socket
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import anyio.to_thread
import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.batch.observers import Start
from pipeline.errors import StopError, UsageError, WorkspaceLockedError
from pipeline.observers.metrics import MetricsFile, MetricsPort, RunMetrics
from pipeline.workspace.run_file import RunFile, write_run_file
from tests.summaries import RUN_ID, make_snapshot, make_summary

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def read_series(text: str, workspace: Path) -> Series:
    """Return the values of all series; each must have the label `workspace`, which is left out."""
    found: Series = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation, family.name
        for sample in family.samples:
            labels = dict(sample.labels)
            assert labels.pop("workspace") == str(workspace)
            key = sample.name, tuple(sorted(labels.items()))
            assert key not in found, key
            found[key] = sample.value
    return found


def make_start(workspace: Path) -> Start:
    return Start(RUN_ID, workspace, datetime(2026, 11, 29, 2, tzinfo=UTC))


async def test_the_file_says_how_the_run_goes_and_how_it_ended(tmp_path: Path) -> None:
    workspace, path = tmp_path / "out", tmp_path / "pagemill.prom"
    file = MetricsFile(path, RunMetrics())
    file.open()
    await file.begin(make_start(workspace))
    await file.see(make_snapshot())
    live = read_series(path.read_text(), workspace)
    assert live["pagemill_run_active", ()] == 1
    assert live["pagemill_run_pages_total", (("state", "failed"),)] == 1
    assert live["pagemill_run_calls_total", ()] == 2
    assert live["pagemill_run_calls_sent_total", ()] == 3
    assert live["pagemill_run_calls_refused_total", ()] == 1
    assert live["pagemill_calls_left", ()] == 998
    assert live["pagemill_files_in_flight", ()] == 4
    assert live["pagemill_pause_seconds", ()] == 1.5
    assert ("pagemill_run_exit_code", ()) not in live

    await file.end(make_summary(exit_code=8))
    over = read_series(path.read_text(), workspace)
    assert over["pagemill_run_active", ()] == 0
    assert over["pagemill_run_exit_code", ()] == 8
    assert over["pagemill_run_start_timestamp_seconds", ()] == datetime(2026, 11, 29, 2, tzinfo=UTC).timestamp()
    assert over["pagemill_run_end_timestamp_seconds", ()] >= over["pagemill_run_start_timestamp_seconds", ()]
    assert over["pagemill_pages", (("state", "done"),)] == 12
    assert over["pagemill_pages", (("state", "pending"),)] == 7
    assert over["pagemill_pages_in_doubt", ()] == 3
    assert over["pagemill_files_in_flight", ()] == 0
    assert any(name == "pagemill_run_info" and dict(labels)["run_id"] == RUN_ID for name, labels in over)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["pagemill.prom"]


async def test_the_end_of_the_last_run_stays_while_the_next_one_goes_on(tmp_path: Path) -> None:
    """An alert on the exit code is not reset by the next night's beginning."""
    last = RunFile(
        workspace_id="a",
        version="0.2.0",
        service="vendor",
        totals={"done": 12},
        exit_code=7,
        started="2026-11-28T02:00:00.000000Z",
        finished="2026-11-28T02:10:00.000000Z",
    )
    write_run_file(tmp_path, last)
    file = MetricsFile(tmp_path / "pagemill.prom", RunMetrics())
    await file.begin(make_start(tmp_path))
    await file.see(make_snapshot())
    live = read_series((tmp_path / "pagemill.prom").read_text(), tmp_path)
    assert live["pagemill_run_active", ()] == 1
    assert (live["pagemill_run_exit_code", ()], live["pagemill_run_duration_seconds", ()]) == (7, 600)
    assert live["pagemill_pages", (("state", "done"),)] == 12


async def test_two_workspaces_in_one_directory_share_no_series_and_all_help_texts(tmp_path: Path) -> None:
    """The node exporter drops every file when two hold the same series, or explain a metric differently."""
    texts = []
    for name in ("a", "b"):
        file = MetricsFile(tmp_path / f"{name}.prom", RunMetrics())
        await file.begin(make_start(tmp_path / name))
        await file.end(make_summary())
        texts.append((tmp_path / f"{name}.prom").read_text())
    lines = [{line for line in text.splitlines() if not line.startswith("#")} for text in texts]
    helps = [[line for line in text.splitlines() if line.startswith("#")] for text in texts]
    assert helps[0] == helps[1]
    assert not {line.rpartition(" ")[0] for line in lines[0]} & {line.rpartition(" ")[0] for line in lines[1]}


async def test_a_run_that_ends_before_it_begins_is_in_the_file(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "pagemill.prom", RunMetrics())
    await file.begin(make_start(tmp_path / "out"))
    await file.end(UsageError("no key"))
    series = read_series((tmp_path / "pagemill.prom").read_text(), tmp_path / "out")
    assert (series["pagemill_run_exit_code", ()], series["pagemill_run_active", ()]) == (2, 0)


async def test_a_run_that_found_the_workspace_held_leaves_the_file_to_the_run_that_holds_it(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "pagemill.prom", RunMetrics())
    await file.begin(make_start(tmp_path / "out"))
    await file.end(WorkspaceLockedError("held"))
    assert not (tmp_path / "pagemill.prom").exists()


def test_a_directory_that_does_not_exist_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such directory"):
        MetricsFile(tmp_path / "missing" / "pagemill.prom", RunMetrics()).open()


async def test_the_port_serves_the_same_metrics_until_the_end(tmp_path: Path) -> None:
    metrics = RunMetrics()
    served = MetricsPort("127.0.0.1", 0, metrics)
    served.open()
    try:
        await served.begin(make_start(tmp_path))
        await served.see(make_snapshot())
        url = f"http://127.0.0.1:{served.port}/metrics"
        kind, text = await anyio.to_thread.run_sync(fetch, url)
        assert kind.startswith("text/plain")
        assert read_series(text, tmp_path)["pagemill_run_calls_total", ()] == 2
    finally:
        served.close()
    with socket.socket() as again:
        assert again.connect_ex(("127.0.0.1", served.port)) != 0


def fetch(url: str) -> tuple[str, str]:
    """Return the media type and the text of a URL."""
    with urllib.request.urlopen(url) as response:
        return response.headers["Content-Type"], response.read().decode()


def test_a_port_that_is_taken_is_an_error_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(StopError, match=f"metrics port 127.0.0.1:{port}: .*; does another run use it") as caught:
            MetricsPort("127.0.0.1", port, RunMetrics()).open()
    assert caught.value.exit_code == 2
