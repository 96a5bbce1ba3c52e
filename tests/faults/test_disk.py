"""Disks that fill up or fail under a real run: what was billed is on disk or waits there, and is never paid again."""

import errno
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import orjson
import pytest
from aiohttp import web

from pipeline.verify.audit import audit
from pipeline.workspace.paths import BALLAST
from pipeline.workspace.repair import find_rescues
from pipeline.workspace.run_file import read_run_file, require_workspace
from tests.fakes import Call, FakeOcr, accept, serve_fake
from tests.faults.accounts import check_nothing_vanished, count_used, note
from tests.faults.scene import JOBS, PAGES, Scene, answer_after
from tests.faults.tracing import SystemCall, read_log, trace
from tests.pages import write_pages
from tests.runs import wait_for_end

DISK_BYTES = 16 << 20
TEXT_CHARACTERS = 20_000
FILL_AT_CALL = 20


@asynccontextmanager
async def open_scene(scans: Path, directory: Path) -> AsyncGenerator[Scene]:
    """Yield a scene of fifty pages and a server that takes its time."""
    write_pages(scans, PAGES)
    async with serve_fake(answer_after(0.01)) as fake:
        yield Scene(fake, scans, directory)


async def run_badly(scene: Scene, prefix: Sequence[str] = (), *, sabotage: str | None = None) -> tuple[int, str]:
    """Run to the end; return the exit code and what was said."""
    async with scene.start(prefix, sabotage=sabotage) as process:
        return await wait_for_end(process)


def inject(log: Path, file: Path, call: str, code: int, nth: int) -> list[str]:
    """Return what lets a thread's n-th such call on a file fail, and logs what is written to it."""
    error = errno.errorcode[code]
    return [
        *trace(log, ["write", "fdatasync", "fsync", "fallocate"], files=[file]),
        "-e",
        f"inject={call}:error={error}:when={nth}",
    ]


def list_rescued(workspace: Path) -> set[str]:
    """Return the sha256 of all pages whose lines are in rescue files."""
    lines = [line for path in find_rescues(workspace) for line in path.read_bytes().splitlines()]
    return {orjson.loads(line)["sha256"] for line in lines}


def list_faults(workspace: Path) -> list[str]:
    """Return what `verify` says."""
    return list(audit(workspace, require_workspace(workspace)))


async def check_resumes(scene: Scene, *, unsent: int = 0) -> None:
    """Fail unless the next run comes to its end without a second bill for anything, and all accounts add up.

    Args:
        scene: After a run that ended badly.
        unsent: So many reservations without a call may count as spent: a full disk did not take them back.
    """
    assert await scene.run() == 0
    scene.check_finished()
    assert scene.repeated == 0, f"{scene.repeated} calls repeated"
    assert set(scene.fake.billed.values()) == {1}
    assert PAGES <= count_used(scene.ledgers) <= PAGES + unsent
    assert find_rescues(scene.out) == []


class Disk:
    """A disk that can be filled up.

    Args:
        directory: On it.
        real: False when it is the machine's disk, and strace must say that it is full.
    """

    def __init__(self, directory: Path, *, real: bool) -> None:
        self.directory = directory
        self.real = real
        self._filler = directory / "filler"

    def fill(self) -> None:
        """Take all that is left."""
        if not self.real:
            return
        with self._filler.open("ab", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))

    def empty(self) -> None:
        """Give it back."""
        self._filler.unlink(missing_ok=True)

    def prefix(self, scene: Scene) -> list[str]:
        """Return what stands before a command that will find the disk full; its writes are logged."""
        if self.real:
            return trace(scene.log, ["write"], files=[scene.out / "results.jsonl"])
        return inject(scene.log, scene.out / "results.jsonl", "write", errno.ENOSPC, 3)


@pytest.fixture
def disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Generator[Disk]:
    """A disk of 16 MiB, or, where nothing can be mounted, an injected error that says so."""
    directory = tmp_path / "disk"
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "pagemill-test", str(directory)]
    with suppress(FileNotFoundError):
        if os.geteuid() == 0 and subprocess.run(mount, check=False, capture_output=True).returncode == 0:
            try:
                yield Disk(directory, real=True)
            finally:
                subprocess.run(["umount", "--lazy", str(directory)], check=True)
            return
    with capsys.disabled():
        sys.stderr.write("no file system can be mounted here: strace tells the command that the disk is full\n")
    yield Disk(directory, real=False)


class Filling:
    """Fills the disk when call number 20 is on the wire, and all others that may be."""

    def __init__(self, disk: Disk, *, in_flight: int) -> None:
        self._disk = disk
        self._in_flight = in_flight
        self.fake: FakeOcr | None = None
        self._full = anyio.Event()
        self.calls_when_full = 0

    async def __call__(self, call: Call) -> web.StreamResponse:
        """Answer with a long text; the calls on the wire at the critical moment have theirs when the disk is full."""
        assert self.fake is not None
        await anyio.sleep(0.01)
        if call.number >= FILL_AT_CALL and not self._full.is_set():
            if self.fake.in_flight >= self._in_flight:
                self._disk.fill()
                self.calls_when_full = len(self.fake.calls)
                self._full.set()
            await self._full.wait()
        answer = orjson.loads(accept(call).text or "")
        return web.json_response({**answer, "content": "页" * TEXT_CHARACTERS + answer["content"]})


class TestFullDisk:
    """A disk that fills up in mid-run."""

    @pytest.mark.parametrize(
        ("ledger_too", "in_flight"),
        [
            pytest.param(False, JOBS, id="workspace-all-in-flight"),
            pytest.param(False, 1, id="workspace-at-any-time", marks=pytest.mark.deep),
            pytest.param(True, JOBS, id="and-ledger-all-in-flight"),
            pytest.param(True, 1, id="and-ledger-at-any-time", marks=pytest.mark.deep),
        ],
    )
    async def test_what_is_in_flight_lands_and_nothing_more_is_sent(
        self, scans: Path, tmp_path: Path, disk: Disk, *, ledger_too: bool, in_flight: int
    ) -> None:
        """All that was billed stands in results.jsonl, the run says why it ended, and the next one finishes it."""
        async with open_full_scene(scans, tmp_path, disk, ledger_too=ledger_too, in_flight=in_flight) as (
            scene,
            script,
        ):
            code, said = await run_badly(scene, disk.prefix(scene))
            check_all_landed(scene)
            if in_flight == JOBS and disk.real:
                check_nothing_sent_since(scene, script)
            assert (code, "disk full" in said or "ledger" in said) == (1, True), said
            ended = read_run_file(scene.out)
            assert ended is not None
            assert ended.exit_code == 1
            assert not (scene.out / BALLAST).exists()
            disk.empty()
            assert list_faults(scene.out) == []
            await check_resumes(scene, unsent=JOBS if ledger_too else 0)

    async def test_it_is_told_in_one_line_that_says_what_to_do(self, scans: Path, tmp_path: Path, disk: Disk) -> None:
        """The summary names the place; a line that the disk took by half was completed, not broken."""
        async with open_full_scene(scans, tmp_path, disk) as (scene, _):
            _, said = await run_badly(scene, disk.prefix(scene))
            [message] = [line for line in said.splitlines() if "disk full" in line]
            assert f"stopped: {scene.out}: disk full (No space left on device); make room and run again" in message
            writes = [call for call in read_log(scene.log) if call.name == "write"]
            assert -1 in {call.result for call in writes}
            if disk.real:
                assert any(0 < (call.result or 0) < asked_bytes(call) for call in writes)
            assert list(scene.out.glob("*.rescued-*")) == []

    async def test_without_a_reserve_billed_texts_are_lost(self, scans: Path, tmp_path: Path, disk: Disk) -> None:
        """Negative control: the same check fails when the reserve gives nothing back."""
        async with open_full_scene(scans, tmp_path, disk) as (scene, _):
            await run_badly(scene, disk.prefix(scene), sabotage="no-reserve")
            with pytest.raises(AssertionError, match="billed and not in"):
                check_all_landed(scene)

    async def test_a_run_that_is_not_told_goes_on_sending(self, scans: Path, tmp_path: Path, disk: Disk) -> None:
        """Negative control: the same check fails when the reserve gives way in silence."""
        async with open_full_scene(scans, tmp_path, disk) as (scene, script):
            await run_badly(scene, disk.prefix(scene), sabotage="go-on-when-full")
            with pytest.raises(AssertionError, match="sent after the disk was full"):
                check_nothing_sent_since(scene, script)

    async def test_on_a_full_disk_no_run_begins(self, scans: Path, tmp_path: Path, disk: Disk) -> None:
        """Exit 1, the reason, and no call."""
        async with open_scene(scans, tmp_path) as scene:
            scene.out = disk.directory / "out"
            disk.fill()
            prefix = [] if disk.real else inject(scene.log, scene.out / BALLAST, "fallocate", errno.ENOSPC, 1)
            code, said = await run_badly(scene, prefix)
            assert (code, scene.fake.calls) == (1, [])
            assert "disk full, 4 MiB are needed; nothing was sent" in said
            disk.empty()
            await check_resumes(scene)


@asynccontextmanager
async def open_full_scene(
    scans: Path, directory: Path, disk: Disk, *, ledger_too: bool = False, in_flight: int = JOBS
) -> AsyncGenerator[tuple[Scene, Filling]]:
    """Yield a scene on a disk that will be full."""
    async with open_scene(scans, directory) as scene:
        scene.out = disk.directory / "out"
        if ledger_too:
            scene.ledgers = disk.directory / "ledger"
        script = Filling(disk, in_flight=in_flight)
        script.fake = scene.fake
        scene.fake.script = script
        yield scene, script


def check_all_landed(scene: Scene) -> None:
    """Fail unless each text that was billed stands in results.jsonl."""
    missing = scene.fake.billed.keys() - note(scene.out, scene.fake.calls).contents
    assert not missing, f"{len(missing)} texts billed and not in results.jsonl"


def check_nothing_sent_since(scene: Scene, script: Filling) -> None:
    """Fail when a call came after those that were on the wire when the disk was full."""
    late = len(scene.fake.calls) - script.calls_when_full
    assert late == 0, f"{late} calls sent after the disk was full"


def asked_bytes(call: SystemCall) -> int:
    """Return how much a write was to write."""
    return int(call.arguments.rpartition(", ")[2])


class TestFailingSync:
    """EIO: the kernel may have dropped what was written, and reports that once."""

    @pytest.mark.parametrize("nth", [9, pytest.param(1, marks=pytest.mark.deep)])
    async def test_what_the_kernel_dropped_stands_in_another_file(self, scans: Path, tmp_path: Path, nth: int) -> None:
        """The run ends with 1 and names both files; the next one has every text that was billed."""
        async with open_scene(scans, tmp_path) as scene:
            code, said = await run_badly(scene, failing_sync(scene, nth))
            recorded = note(scene.out, scene.fake.calls).contents | list_rescued(scene.out)
            assert scene.fake.billed.keys() <= recorded
            [rescued] = find_rescues(scene.out)
            assert code == 1
            assert (
                f"{scene.out / 'results.jsonl'}: Input/output error; this line and later ones are saved in {rescued}"
                in said
            )
            assert any(fault.startswith(rescued.name) for fault in list_faults(scene.out))
            drop_unsynced(scene)
            await check_resumes(scene)

    @pytest.mark.parametrize("nth", [3, pytest.param(1, marks=pytest.mark.deep)])
    async def test_a_failed_write_is_no_different(self, scans: Path, tmp_path: Path, nth: int) -> None:
        """EIO on write: the line stands in another file, and so do those that were in flight."""
        async with open_scene(scans, tmp_path) as scene:
            prefix = inject(scene.log, scene.out / "results.jsonl", "write", errno.EIO, nth)
            code, said = await run_badly(scene, prefix)
            assert (code, "Input/output error" in said) == (1, True)
            await check_resumes(scene)

    async def test_a_descriptor_that_is_trusted_again_loses_pages(self, scans: Path, tmp_path: Path) -> None:
        """Negative control: a run that goes on with the descriptor has recorded what the kernel dropped."""
        async with open_scene(scans, tmp_path) as scene:
            await run_badly(scene, failing_sync(scene, 2), sabotage="trust-failed-descriptor")
            noted = note(scene.out, scene.fake.calls)
            drop_unsynced(scene)
            with pytest.raises(AssertionError, match="vanished"):
                check_nothing_vanished(noted, scene.out)

    async def test_without_a_rescue_pages_are_paid_again(self, scans: Path, tmp_path: Path) -> None:
        """Negative control: the same check fails when what is in memory goes nowhere."""
        async with open_scene(scans, tmp_path) as scene:
            await run_badly(scene, failing_sync(scene, 2), sabotage="no-rescue")
            drop_unsynced(scene)
            with pytest.raises(AssertionError, match="calls repeated"):
                await check_resumes(scene)


def failing_sync(scene: Scene, nth: int) -> list[str]:
    """Return what lets one sync of results.jsonl fail."""
    return inject(scene.log, scene.out / "results.jsonl", "fdatasync", errno.EIO, nth)


def drop_unsynced(scene: Scene) -> None:
    """Put zeros where the kernel dropped what a failed sync did not bring to disk; later syncs did not bring it either.

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
    """The index and run.json are derived: a disk that fails there costs no page and no call."""

    async def test_the_runs_end_is_its_own_though_run_json_cannot_be_written(self, scans: Path, tmp_path: Path) -> None:
        """Exit 0 and the summary, with one line for the file that failed."""
        async with open_scene(scans, tmp_path) as scene:
            code, said = await run_badly(scene, inject(scene.log, scene.out / ".run.json.new", "fsync", errno.EIO, 2))
            assert code == 0
            assert len([line for line in said.splitlines() if "run.json: Input/output error" in line]) == 1
            assert f"{PAGES} done" in said
            await check_resumes(scene)

    async def test_nothing_is_sent_when_run_json_cannot_be_written_at_first(self, scans: Path, tmp_path: Path) -> None:
        """A workspace that takes no settings takes no texts."""
        async with open_scene(scans, tmp_path) as scene:
            code, said = await run_badly(scene, inject(scene.log, scene.out / ".run.json.new", "fsync", errno.EIO, 1))
            assert (code, scene.fake.calls) == (1, [])
            assert "run.json: Input/output error" in said
            await check_resumes(scene)

    @pytest.mark.parametrize("nth", [1, pytest.param(20, marks=pytest.mark.deep)])
    async def test_an_index_that_cannot_be_synced_costs_no_call(self, scans: Path, tmp_path: Path, nth: int) -> None:
        """Whichever sync of it fails, while it is made or later; the negative control is in `test_cache_database`."""
        async with open_scene(scans, tmp_path) as scene:
            await run_badly(scene, failing_index(scene, nth), sabotage="commit-often")
            check_all_landed(scene)
            await check_resumes(scene)


def failing_index(scene: Scene, nth: int) -> list[str]:
    """Return what lets a sync of the index or its journal fail."""
    index = scene.out / "index.sqlite3"
    line = trace(scene.log, ["fdatasync", "fsync"], files=[index, index.with_name("index.sqlite3-journal")])
    return [*line, "-e", f"inject=fdatasync,fsync:error=EIO:when={nth}"]
