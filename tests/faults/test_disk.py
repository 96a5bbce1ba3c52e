"""A disk that fills up during a real run: every billed text is on disk, and no page is paid for again."""

import errno
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path

import anyio
import orjson
import pytest
from aiohttp import web

from pipeline.workspace.paths import BALLAST
from pipeline.workspace.run_file import read_run_file
from tests.fakes import Call, FakeOcr, accept
from tests.faults.accounts import list_faults
from tests.faults.scene import JOBS, Scene, answer_after
from tests.faults.tracing import SystemCall, inject, read_log, trace

DISK_BYTES = 16 << 20
TEXT_CHARACTERS = 20_000
FILL_AT_CALL = 20


@pytest.fixture
def scene(scene: Scene) -> Scene:
    """The common scene with a lower latency, because these runs are many."""
    scene.fake.script = answer_after(0.01)
    return scene


class Disk:
    """A disk that can be filled up.

    Args:
        directory: Its mount point.
        real: False when the directory is on the machine's disk and strace injects the error instead.
    """

    def __init__(self, directory: Path, *, real: bool) -> None:
        self.directory = directory
        self.real = real
        self._filler = directory / "filler"

    def fill(self) -> None:
        """Fill the disk completely."""
        if not self.real:
            return
        with self._filler.open("ab", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))

    def empty(self) -> None:
        """Free the space that `fill` took."""
        self._filler.unlink(missing_ok=True)

    def prefix(self, scene: Scene) -> list[str]:
        """Return the command line that, put before a command, logs its writes and, if needed, injects ENOSPC."""
        if self.real:
            return trace(scene.log, ["write"], files=[scene.out / "results.jsonl"])
        return inject(scene.log, scene.out / "results.jsonl", "write", errno.ENOSPC, 3)


@pytest.fixture
def disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Generator[Disk]:
    """A tmpfs of 16 MiB, or, where no file system can be mounted, a directory with injected errors."""
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
        sys.stderr.write("no file system can be mounted here: strace injects ENOSPC instead\n")
    yield Disk(directory, real=False)


class FillingScript:
    """A server script that fills the disk when, from call number 20 on, `in_flight` calls are in flight.

    Attributes:
        calls_when_full: Number of calls received when the disk was full.
    """

    def __init__(self, disk: Disk, fake: FakeOcr, *, in_flight: int) -> None:
        self._disk = disk
        self._fake = fake
        self._in_flight = in_flight
        self._full = anyio.Event()
        self.calls_when_full = 0

    async def __call__(self, call: Call) -> web.StreamResponse:
        """Answer with a long text; calls in flight while the disk fills are answered once it is full."""
        await anyio.sleep(0.01)
        if call.number >= FILL_AT_CALL and not self._full.is_set():
            if self._fake.in_flight >= self._in_flight:
                self._disk.fill()
                self.calls_when_full = len(self._fake.calls)
                self._full.set()
            await self._full.wait()
        answer = orjson.loads(accept(call).text or "")
        return web.json_response({**answer, "content": "页" * TEXT_CHARACTERS + answer["content"]})


class TestFullDisk:
    @pytest.mark.parametrize(
        ("ledger_too", "in_flight"),
        [
            pytest.param(False, JOBS, id="workspace-all-in-flight"),
            pytest.param(False, 1, id="workspace-at-any-time", marks=pytest.mark.deep),
            pytest.param(True, JOBS, id="and-ledger-all-in-flight"),
            pytest.param(True, 1, id="and-ledger-at-any-time", marks=pytest.mark.deep),
        ],
    )
    async def test_replies_to_calls_in_flight_are_recorded_and_no_more_is_sent(
        self, scene: Scene, disk: Disk, *, ledger_too: bool, in_flight: int
    ) -> None:
        script = fill_during_run(scene, disk, ledger_too=ledger_too, in_flight=in_flight)
        code, stderr = await scene.run_and_read(disk.prefix(scene))
        scene.check_billed_texts_are_recorded()
        if in_flight == JOBS and disk.real:
            check_nothing_sent_since(scene, script)
        assert (code, "disk full" in stderr or "ledger" in stderr) == (1, True), stderr
        ended = read_run_file(scene.out)
        assert ended is not None
        assert ended.exit_code == 1
        assert not (scene.out / BALLAST).exists()
        disk.empty()
        assert list_faults(scene.out) == []
        await scene.check_next_run_finishes(unsent=JOBS if ledger_too else 0)

    async def test_one_line_names_the_full_disk_and_the_next_step(self, scene: Scene, disk: Disk) -> None:
        """A line that the disk took in part was completed on the ballast's space."""
        fill_during_run(scene, disk)
        _, stderr = await scene.run_and_read(disk.prefix(scene))
        [message] = [line for line in stderr.splitlines() if "disk full" in line]
        assert f"stopped: {scene.out}: disk full (No space left on device); make room and run again" in message
        writes = [call for call in read_log(scene.log) if call.name == "write"]
        assert -1 in {call.result for call in writes}
        if disk.real:
            assert any(0 < (call.result or 0) < requested_bytes(call) for call in writes)
        assert list(scene.out.glob("*.rescued-*")) == []

    async def test_without_the_ballast_billed_texts_are_lost(self, scene: Scene, disk: Disk) -> None:
        """Negative control."""
        fill_during_run(scene, disk)
        await scene.run_and_read(disk.prefix(scene), sabotage="no-ballast")
        with pytest.raises(AssertionError, match="billed and not in"):
            scene.check_billed_texts_are_recorded()

    async def test_a_run_that_ignores_the_full_disk_goes_on_sending(self, scene: Scene, disk: Disk) -> None:
        """Negative control."""
        script = fill_during_run(scene, disk)
        await scene.run_and_read(disk.prefix(scene), sabotage="ignore-full-disk")
        with pytest.raises(AssertionError, match="sent after the disk was full"):
            check_nothing_sent_since(scene, script)

    async def test_on_a_full_disk_no_run_begins(self, scene: Scene, disk: Disk) -> None:
        scene.out = disk.directory / "out"
        disk.fill()
        prefix = [] if disk.real else inject(scene.log, scene.out / BALLAST, "fallocate", errno.ENOSPC, 1)
        code, stderr = await scene.run_and_read(prefix)
        assert (code, scene.fake.calls) == (1, [])
        assert "disk full, 4 MiB are needed; nothing was sent" in stderr
        disk.empty()
        await scene.check_next_run_finishes()


def fill_during_run(scene: Scene, disk: Disk, *, ledger_too: bool = False, in_flight: int = JOBS) -> FillingScript:
    """Move the workspace to a disk that the server fills during the run, and return the server's script."""
    scene.out = disk.directory / "out"
    if ledger_too:
        scene.ledgers = disk.directory / "ledger"
    scene.fake.script = script = FillingScript(disk, scene.fake, in_flight=in_flight)
    return script


def check_nothing_sent_since(scene: Scene, script: FillingScript) -> None:
    """Fail if a call was received after the disk was full."""
    late = len(scene.fake.calls) - script.calls_when_full
    assert late == 0, f"{late} calls sent after the disk was full"


def requested_bytes(call: SystemCall) -> int:
    """Return the number of bytes that a write was asked to write."""
    return int(call.arguments.rpartition(", ")[2])
