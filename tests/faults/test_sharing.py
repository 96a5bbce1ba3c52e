"""Several processes with one key, and two runs on one workspace."""

import os
import shutil
import signal
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from aiohttp import web
from anyio.abc import Process

from pipeline.ledger.places import ledger_path
from tests.benchmarks.one_key import Plan, find_faults, play
from tests.fakes import Call, FakeOcr, accept, serve_fake
from tests.faults.accounts import check_every_page_once, check_nothing_vanished, count_used, note
from tests.faults.tracing import STRACE
from tests.pages import write_pages
from tests.runs import COMMAND, KEY, SABOTAGE, read_until, results, run_command, start_command, wait_for_end

PAGES = 12
STOPPED = b"stopped by SIGSTOP"
IMPATIENT = (*SABOTAGE, "short-busy-timeout")


def arguments(directory: Path, fake: FakeOcr, out: str = "out", *more: str) -> list[str]:
    """Return the arguments of a run over the pages of a directory, with the ledger beside its workspace."""
    ledger = str(directory / "ledger")
    return [
        "run",
        str(directory / "scans"),
        "-o",
        str(directory / out),
        "--api-url",
        fake.url,
        "--ledger",
        ledger,
        *more,
    ]


class Held:
    """A script that holds the calls from a number on until they are released."""

    def __init__(self, from_call: int) -> None:
        self._from_call = from_call
        self.reached = anyio.Event()
        self.release = anyio.Event()

    async def __call__(self, call: Call) -> web.Response:
        """Answer once the call is not held."""
        if call.number >= self._from_call:
            self.reached.set()
            await self.release.wait()
        return accept(call)


def stopping_at(*calls: str, path: Path, when: int = 1) -> list[str]:
    """Return the command under strace, which stops it after its n-th such system call on a file."""
    names = ",".join(calls)
    inject = f"inject={names}:signal=SIGSTOP:when={when}"
    return [*STRACE, "-e", f"trace={names}", "-P", str(path), "-e", inject, *COMMAND]


async def go_on(process: Process) -> int:
    """Continue a stopped command to its end and return its exit code; each of its threads may be stopped once."""
    assert process.stderr is not None
    os.killpg(process.pid, signal.SIGCONT)
    async for said in process.stderr:
        if STOPPED in said:
            os.killpg(process.pid, signal.SIGCONT)
    return await process.wait()


class TestOneKey:
    """Several processes share a key and its quota."""

    async def test_the_quota_is_kept_and_used_though_processes_are_killed(self, tmp_path: Path) -> None:
        """A slice of `tests.benchmarks.one_key`: only the calls in flight at a kill are lost to the quota."""
        plan = Plan(seed=1, processes=4, pages=61, quota=60, kills=3)
        assert find_faults(plan, await play(plan, tmp_path)) == []

    @pytest.mark.parametrize(
        "sabotage",
        [
            pytest.param("reserve-nothing", id="nothing-is-reserved"),
            pytest.param("void-the-lost", id="lost-calls-are-voided"),
        ],
    )
    async def test_without_the_guarantee_the_quota_is_exceeded(self, tmp_path: Path, sabotage: str) -> None:
        """Negative control: the same check finds more calls than the quota allows."""
        plan = Plan(
            seed=1,
            processes=2,
            pages=20,
            quota=24,
            kills=2,
            latency_s=0.2,
            command=(*SABOTAGE, f"{sabotage},check-no-texts"),
        )
        assert [fault for fault in find_faults(plan, await play(plan, tmp_path)) if "were allowed" in fault]

    async def test_two_workspaces_of_the_same_pages_share_the_quota(self, scans: Path, tmp_path: Path) -> None:
        """Each pays for its own pages, together up to the quota."""
        write_pages(scans, PAGES)
        codes: list[int] = []

        async with serve_fake() as fake:

            async def run(out: str) -> None:
                done = await run_command(*arguments(tmp_path, fake, out, "--quota", str(PAGES + 4)))
                codes.append(done.returncode)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(run, "one")
                tasks.start_soon(run, "two")
        assert len(fake.calls) == PAGES + 4 == count_used(tmp_path / "ledger")
        assert sorted(codes) in ([0, 8], [8, 8])
        assert len(results(tmp_path / "one")) + len(results(tmp_path / "two")) == PAGES + 4

    async def test_max_calls_limits_each_process_and_the_quota_limits_all(self, scans: Path, tmp_path: Path) -> None:
        """Two runs of `--max-calls 4` make seven calls of a quota of 7."""
        write_pages(scans, PAGES)
        async with serve_fake() as fake, anyio.create_task_group() as tasks:
            for out in ("one", "two"):
                tasks.start_soon(run_command, *arguments(tmp_path, fake, out, "--quota", "7", "--max-calls", "4"))
        each = sorted(len(results(tmp_path / out)) for out in ("one", "two"))
        assert each == [3, 4]
        assert len(fake.calls) == 7


class TestStoppedOwner:
    """A process is stopped while it holds the ledger's lock."""

    async def test_no_other_process_calls_while_the_ledger_is_locked(self, scans: Path, tmp_path: Path) -> None:
        """The others end with a message after the busy timeout, and their paid texts stay; later runs finish all."""
        write_pages(scans, PAGES)
        held = Held(2)
        ledger = ledger_path(tmp_path / "ledger", KEY, "127.0.0.1")
        journal = ledger.with_name(f"{ledger.name}-journal")
        async with serve_fake(held) as fake:
            with anyio.fail_after(60):
                async with start_command(*arguments(tmp_path, fake, "waits", "-j", "1"), command=IMPATIENT) as waiting:
                    await held.reached.wait()
                    stop = stopping_at("fsync", "fdatasync", path=journal)
                    async with start_command(*arguments(tmp_path, fake, "stops"), command=stop) as stopped:
                        await read_until(stopped, STOPPED)
                        held.release.set()
                        code, said = await wait_for_end(waiting)
                        assert (code, "locked" in said) == (1, True), said
                        late = await run_command(*arguments(tmp_path, fake, "late"), command=IMPATIENT)
                        assert (late.returncode, b"locked" in late.stderr) == (1, True), late.stderr
                        assert len(fake.calls) == len(results(tmp_path / "waits")) == 2
                        assert await go_on(stopped) == 0
            for out in ("waits", "late"):
                assert (await run_command(*arguments(tmp_path, fake, out))).returncode == 0
        for out in ("waits", "stops", "late"):
            check_every_page_once(tmp_path / out, PAGES)
        assert count_used(tmp_path / "ledger") == len(fake.calls) == 3 * PAGES


@asynccontextmanager
async def first_run(moment: str, tmp_path: Path, fake: FakeOcr, held: Held) -> AsyncGenerator[Process]:
    """Yield a run that has reached this moment and stays there."""
    out = tmp_path / "out"
    command: Sequence[str] = COMMAND
    if moment == "start-up":
        command = stopping_at("openat", path=out / "index.sqlite3")
    elif moment == "end":
        command = stopping_at("rename", "renameat", "renameat2", path=out / ".run.json.new", when=3)
    async with start_command(*arguments(tmp_path, fake), command=command) as process:
        if moment in {"start-up", "end"}:
            await read_until(process, STOPPED)
        else:
            await held.reached.wait()
        if moment == "drain":
            process.send_signal(signal.SIGINT)
            await read_until(process, b"SIGINT")
        yield process


class TestOneWorkspace:
    """Two runs on one workspace."""

    @pytest.mark.parametrize(
        ("moment", "exit_code"),
        [
            pytest.param("start-up", 0, id="start-up"),
            pytest.param("mid-run", 0, id="mid-run"),
            pytest.param("drain", 130, id="drain"),
            pytest.param("end", 0, id="end"),
        ],
    )
    async def test_a_second_run_exits_with_11_at_every_moment_of_the_first(
        self, scans: Path, tmp_path: Path, moment: str, exit_code: int
    ) -> None:
        """Exit 11 at once, also under another name of the directory; the first run is not affected."""
        write_pages(scans, PAGES)
        (tmp_path / "link").symlink_to(tmp_path / "out")
        held = Held(3 if moment in {"mid-run", "drain"} else PAGES + 1)
        async with serve_fake(held) as fake:
            with anyio.fail_after(60):
                async with first_run(moment, tmp_path, fake, held) as first:
                    calls = len(fake.calls)
                    second = await run_command(*arguments(tmp_path, fake, "link" if moment == "end" else "out"))
                    assert (second.returncode, b"another run holds" in second.stderr) == (11, True)
                    assert calls == (PAGES if moment == "end" else 0) or moment in {"mid-run", "drain"}
                    held.release.set()
                    assert await go_on(first) == exit_code
            if exit_code != 0:
                assert (await run_command(*arguments(tmp_path, fake))).returncode == 0
        check_every_page_once(tmp_path / "out", PAGES)
        assert set(fake.billed.values()) == {1}

    async def test_status_and_verify_during_a_run_do_no_harm(self, scans: Path, tmp_path: Path) -> None:
        """`status` counts; `verify`, which needs a workspace at rest, exits with 11."""
        write_pages(scans, PAGES)
        held = Held(3)
        async with serve_fake(held) as fake, start_command(*arguments(tmp_path, fake)) as first:
            await held.reached.wait()
            status = await run_command("status", tmp_path / "out")
            verify = await run_command("verify", tmp_path / "out")
            held.release.set()
            assert (await wait_for_end(first))[0] == 0
        assert (status.returncode, verify.returncode) == (0, 11)
        assert set(fake.billed.values()) == {1}

    async def test_of_runs_that_start_together_one_gets_the_workspace(self, scans: Path, tmp_path: Path) -> None:
        write_pages(scans, PAGES)
        held, codes = Held(1), list[int]()

        async def run(fake: FakeOcr) -> None:
            codes.append((await run_command(*arguments(tmp_path, fake))).returncode)
            if len(codes) == 2:
                held.release.set()

        async with serve_fake(held) as fake, anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(run, fake)
        assert codes == [11, 11, 0]
        assert set(fake.billed.values()) == {1}

    async def test_after_a_kill_the_next_run_may_start_at_once(self, scans: Path, tmp_path: Path) -> None:
        """The lock ends with the process; its file, which stays, has no meaning."""
        write_pages(scans, PAGES)
        held = Held(3)
        async with serve_fake(held) as fake, start_command(*arguments(tmp_path, fake)) as first:
            await held.reached.wait()
            first.kill()
            await first.wait()
            held.release.set()
            assert (tmp_path / "out" / ".lock").exists()
            assert (await run_command(*arguments(tmp_path, fake))).returncode == 0
        check_every_page_once(tmp_path / "out", PAGES)

    async def test_a_workspace_that_is_copied_during_a_run_is_whole(self, scans: Path, tmp_path: Path) -> None:
        """The copy and the original continue separately: each keeps its records, and they share the quota."""
        write_pages(scans, PAGES)
        held = Held(5)
        async with serve_fake(held) as fake, start_command(*arguments(tmp_path, fake)) as first:
            await held.reached.wait()
            shutil.copytree(tmp_path / "out", tmp_path / "copy")
            there = note(tmp_path / "copy", fake.calls)
            held.release.set()
            assert (await run_command(*arguments(tmp_path, fake, "copy"))).returncode == 0
            assert (await wait_for_end(first))[0] == 0
        assert there.lines
        check_nothing_vanished(there, tmp_path / "copy")
        for out in ("out", "copy"):
            check_every_page_once(tmp_path / out, PAGES)
            verified = await run_command("verify", tmp_path / out)
            assert (verified.returncode, verified.stdout) == (0, b"")
        assert sum(fake.billed.values()) == count_used(tmp_path / "ledger") <= 2 * PAGES - len(there.lines)

    async def test_without_the_lock_pages_are_paid_twice(self, scans: Path, tmp_path: Path) -> None:
        """Negative control: a second run without the lock sends the page that the first has in flight."""
        write_pages(scans, PAGES)
        held = Held(1)
        async with serve_fake(held) as fake, start_command(*arguments(tmp_path, fake, "out", "-j", "1")):
            await held.reached.wait()
            held.reached = anyio.Event()
            command = (*SABOTAGE, "lock-nothing")
            async with start_command(*arguments(tmp_path, fake, "out", "-j", "1"), command=command):
                with anyio.fail_after(60):
                    await held.reached.wait()
        assert Counter(call.filename for call in fake.calls) == {"page-0000.png": 2}
