"""A disk that fails during a real run: every billed text is on disk, and no page is paid for again."""

import errno
from pathlib import Path

import orjson
import pytest

from pipeline.workspace.repair import find_rescues
from tests.faults.accounts import check_nothing_vanished, list_faults, note
from tests.faults.scene import PAGES, Scene, answer_after
from tests.faults.tracing import inject, read_log, trace


@pytest.fixture
def scene(scene: Scene) -> Scene:
    """The common scene with a lower latency, because these runs are many."""
    scene.fake.script = answer_after(0.01)
    return scene


def list_rescued(workspace: Path) -> set[str]:
    """Return the sha256 of all pages whose lines are in a rescue file."""
    lines = [line for path in find_rescues(workspace) for line in path.read_bytes().splitlines()]
    return {orjson.loads(line)["sha256"] for line in lines}


class TestFailingSync:
    """EIO: the kernel may have dropped written data, and reports that only once."""

    @pytest.mark.parametrize("nth", [9, pytest.param(1, marks=pytest.mark.deep)])
    async def test_dropped_lines_are_in_a_rescue_file(self, scene: Scene, nth: int) -> None:
        code, stderr = await scene.run_and_read(failing_sync(scene, nth))
        recorded = note(scene.out, scene.fake.calls).contents | list_rescued(scene.out)
        assert scene.fake.billed.keys() <= recorded
        [rescued] = find_rescues(scene.out)
        assert code == 1
        message = f"results.jsonl: Input/output error; this line and later ones are saved in {rescued}"
        assert message in stderr
        assert any(fault.startswith(rescued.name) for fault in list_faults(scene.out))
        drop_unsynced(scene)
        await scene.check_next_run_finishes()

    @pytest.mark.parametrize("nth", [3, pytest.param(1, marks=pytest.mark.deep)])
    async def test_lines_of_a_failed_write_are_in_a_rescue_file_too(self, scene: Scene, nth: int) -> None:
        code, stderr = await scene.run_and_read(inject(scene.log, scene.out / "results.jsonl", "write", errno.EIO, nth))
        assert (code, "Input/output error" in stderr) == (1, True)
        await scene.check_next_run_finishes()

    async def test_a_run_that_trusts_the_failed_descriptor_loses_pages(self, scene: Scene) -> None:
        """Negative control: pages count as recorded whose lines the kernel dropped."""
        await scene.run_and_read(failing_sync(scene, 2), sabotage="trust-failed-descriptor")
        noted = note(scene.out, scene.fake.calls)
        drop_unsynced(scene)
        with pytest.raises(AssertionError, match="vanished"):
            check_nothing_vanished(noted, scene.out)

    async def test_without_a_rescue_file_pages_are_paid_again(self, scene: Scene) -> None:
        """Negative control."""
        await scene.run_and_read(failing_sync(scene, 2), sabotage="no-rescue")
        drop_unsynced(scene)
        with pytest.raises(AssertionError, match="calls repeated"):
            await scene.check_next_run_finishes()


def failing_sync(scene: Scene, nth: int) -> list[str]:
    """Return the command line that makes one sync of results.jsonl fail."""
    return inject(scene.log, scene.out / "results.jsonl", "fdatasync", errno.EIO, nth)


def drop_unsynced(scene: Scene) -> None:
    """Overwrite with zeros the data of failed syncs: the kernel drops it, and later syncs do not write it either.

    Source: R. Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020.
    """
    written = synced = 0
    dropped: list[tuple[int, int]] = []
    for call in sorted(read_log(scene.log), key=lambda call: call.ended or call.begun):
        if call.name == "write" and (call.result or 0) > 0:
            written += call.result or 0
        elif call.name == "fdatasync":
            if call.result != 0:
                dropped.append((synced, written))
            synced = written
    assert dropped
    with (scene.out / "results.jsonl").open("rb+") as file:
        for start, end in dropped:
            file.seek(start)
            file.write(bytes(end - start))


class TestOtherFiles:
    """A disk that fails at the index or at run.json, which can be made again, costs no page and no call."""

    async def test_a_run_ends_normally_although_its_end_cannot_be_written_to_run_json(self, scene: Scene) -> None:
        prefix = inject(scene.log, scene.out / ".run.json.new", "fsync", errno.EIO, 2)
        code, stderr = await scene.run_and_read(prefix)
        assert code == 0
        assert len([line for line in stderr.splitlines() if "run.json: Input/output error" in line]) == 1
        assert f"{PAGES} done" in stderr
        await scene.check_next_run_finishes()

    async def test_nothing_is_sent_when_run_json_cannot_be_written_at_first(self, scene: Scene) -> None:
        prefix = inject(scene.log, scene.out / ".run.json.new", "fsync", errno.EIO, 1)
        code, stderr = await scene.run_and_read(prefix)
        assert (code, scene.fake.calls) == (1, [])
        assert "run.json: Input/output error" in stderr
        await scene.check_next_run_finishes()

    @pytest.mark.parametrize("nth", [1, pytest.param(20, marks=pytest.mark.deep)])
    async def test_an_index_that_cannot_be_synced_costs_no_call(self, scene: Scene, nth: int) -> None:
        """The first sync, while the index is made, or a later one; `test_cache_database` has the negative control."""
        await scene.run_and_read(failing_index(scene, nth), sabotage="commit-often")
        scene.check_billed_texts_are_recorded()
        await scene.check_next_run_finishes()


def failing_index(scene: Scene, nth: int) -> list[str]:
    """Return the command line that makes a sync of the index or its journal fail."""
    index = scene.out / "index.sqlite3"
    line = trace(scene.log, ["fdatasync", "fsync"], files=[index, index.with_name("index.sqlite3-journal")])
    return [*line, "-e", f"inject=fdatasync,fsync:error=EIO:when={nth}"]
