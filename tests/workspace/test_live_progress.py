"""progress.json: written while a run goes on, whole at any moment, and not believed when it is old."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import msgspec
import pytest

from pipeline.batch.observers import publish
from pipeline.workspace.live_progress import (
    LiveProgress,
    read_live_progress,
    remove_live_progress,
    write_live_progress,
)
from tests.summaries import RUN_ID, make_snapshot
from tests.virtual_time import on_virtual_time

NOW = datetime(2026, 11, 29, 2, tzinfo=UTC)
PROGRESS = LiveProgress(
    run_id=RUN_ID,
    updated="2026-11-29T02:00:00.000000Z",
    elapsed_s=10.0,
    pages={"done": 20},
    in_flight=4,
    calls=20,
    calls_left=None,
    sent=20,
    refused=0,
    paused_s=0.0,
)


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    write_live_progress(tmp_path, PROGRESS)
    assert read_live_progress(tmp_path, NOW) == PROGRESS
    assert PROGRESS.pages_per_s == 2.0
    remove_live_progress(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("seconds", [-70, 70, 86_400])
def test_an_old_file_is_that_of_a_run_that_was_killed(tmp_path: Path, seconds: int) -> None:
    """As is one from the future: the clock was set back."""
    write_live_progress(tmp_path, PROGRESS)
    assert read_live_progress(tmp_path, NOW + timedelta(seconds=seconds)) is None


@pytest.mark.parametrize(
    "content", [b"", b"{", b"{}", msgspec.json.encode(msgspec.structs.replace(PROGRESS, updated="soon"))]
)
def test_a_file_that_a_crash_left_behind_is_none(tmp_path: Path, content: bytes) -> None:
    """It is not synced, so a power loss may leave anything."""
    (tmp_path / "progress.json").write_bytes(content)
    assert read_live_progress(tmp_path, NOW) is None


def test_a_disk_that_does_not_take_it_stops_nothing(tmp_path: Path) -> None:
    write_live_progress(tmp_path / "missing", PROGRESS)
    remove_live_progress(tmp_path / "missing")


@on_virtual_time
async def test_a_run_writes_it_at_once_and_removes_it_at_its_end(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    workspace = tmp_path_factory.mktemp("out")
    with anyio.move_on_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(publish, workspace, RUN_ID, make_snapshot)
            await anyio.sleep(1)
            found = read_live_progress(workspace)
            assert found is not None
            assert (found.run_id, found.calls, found.pages) == (RUN_ID, 2, {"done": 2, "failed": 1})
            await anyio.sleep_forever()
    assert list(workspace.iterdir()) == []
