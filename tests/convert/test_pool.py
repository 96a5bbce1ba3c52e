"""The pool of conversion workers; the workers are real processes without a decoder."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from pipeline.convert.command import child_environ, module_command
from pipeline.convert.frames import encode_frame
from pipeline.convert.pool import ConversionPool, PoolOptions
from pipeline.errors import ConversionError, ConverterStartError
from tests.convert.scripted_worker import Answer, Message, Task
from tests.server.processes import is_running, wait_until

COMMAND = module_command("tests.convert.scripted_worker")
ONE = PoolOptions(COMMAND, workers=1, task_timeout_s=60.0)
TWO = replace(ONE, workers=2)


class Pool(ConversionPool[Message]):
    """A pool whose tasks are actions."""

    def __init__(self, options: PoolOptions) -> None:
        super().__init__(options, msgspec.msgpack.Decoder(Message))

    async def do(self, action: str, key: str = "") -> str:
        """Return the text of the answer: the id of the worker's process."""
        answer = await self.run(Task(action), key=key)
        assert isinstance(answer, Answer)
        return answer.text


@asynccontextmanager
async def busy_pool(action: str, options: PoolOptions = ONE) -> AsyncIterator[tuple[Pool, asyncio.Task[str], int]]:
    """Yield a pool, a task of this action that its only worker has begun, and the id of the worker."""
    async with Pool(options) as pool:
        await pool.do("pid")
        task = asyncio.create_task(pool.do(action))
        await asyncio.sleep(0.2)
        (pid,) = pool.worker_pids
        yield pool, task, pid
        if not task.done():
            task.cancel()
            await asyncio.wait([task])


async def wait_for(holds: Callable[[], bool]) -> None:
    """Return when the condition holds, which has ten seconds."""
    await asyncio.to_thread(wait_until, holds)


async def test_no_worker_runs_before_it_is_needed() -> None:
    async with Pool(TWO) as pool:
        assert repr(pool) == "<ConversionPool 0 busy, 0 idle, 2 at most>"
        pid = await pool.do("pid")
        assert pool.worker_pids == [int(pid)]
    assert not is_running(int(pid))


async def test_tasks_beyond_the_workers_wait() -> None:
    async with Pool(TWO) as pool:
        pids = await asyncio.gather(*(pool.do("sleep") for _ in range(6)))
        assert sorted(set(map(int, pids))) == pool.worker_pids
        assert len(pool.worker_pids) == 2


async def test_tasks_of_one_key_go_to_the_worker_that_had_it_last() -> None:
    async with Pool(TWO) as pool:
        first = dict(zip("ab", await asyncio.gather(pool.do("sleep", "a"), pool.do("sleep", "b")), strict=True))
        assert first["a"] != first["b"]
        assert [await pool.do("pid", key) for key in "abba"] == [first[key] for key in "abba"]


@pytest.mark.parametrize(
    ("action", "message"),
    [
        pytest.param("die", "the decoder was killed (SIGKILL); the machine may have run out of memory", id="sigkill"),
        pytest.param("crash", "the decoder crashed (SIGSEGV)", id="sigsegv"),
        pytest.param("exit", "the decoder exited with 3", id="exit"),
    ],
)
async def test_a_crash_costs_its_own_task_only(action: str, message: str) -> None:
    async with Pool(ONE) as pool:
        results = await asyncio.gather(*(pool.do(do) for do in ("pid", action, "pid", "pid")), return_exceptions=True)
        before, crashed, after, last = results
        assert isinstance(crashed, ConversionError)
        assert str(crashed) == message
        assert before != after == last


async def test_a_worker_killed_from_outside_costs_its_task_only() -> None:
    async with busy_pool("hang") as (pool, task, pid):
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(ConversionError, match="killed"):
            await task
        assert int(await pool.do("pid")) != pid


async def test_an_idle_worker_that_dies_costs_no_task() -> None:
    async with Pool(ONE) as pool:
        pid = int(await pool.do("pid"))
        os.kill(pid, signal.SIGKILL)
        await wait_for(lambda: pool.worker_pids == [])
        assert int(await pool.do("pid")) != pid


async def test_a_task_beyond_its_time_fails_and_its_worker_is_killed() -> None:
    async with busy_pool("hang", replace(ONE, task_timeout_s=1.5)) as (pool, task, pid):
        with pytest.raises(ConversionError, match=r"took longer than 1\.5 s to decode"):
            await task
        await wait_for(lambda: not is_running(pid))
        assert int(await pool.do("pid")) != pid


async def test_a_stopped_worker_is_killed_after_its_time() -> None:
    async with busy_pool("sleep", replace(ONE, task_timeout_s=1.5)) as (_, task, pid):
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(ConversionError, match="took longer"):
            await task
        await wait_for(lambda: not is_running(pid))


async def test_a_pause_of_the_whole_run_does_not_count_as_time_of_a_task() -> None:
    """As after SIGSTOP and SIGCONT, or when a container is paused."""
    async with busy_pool("sleep", replace(ONE, task_timeout_s=2.0)) as (_, task, pid):
        time.sleep(3.0)  # noqa: ASYNC251 - nothing of this process runs meanwhile
        assert int(await task) == pid


async def test_a_cancelled_task_kills_its_worker_at_once() -> None:
    async with busy_pool("hang") as (pool, task, pid):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await wait_for(lambda: not is_running(pid))
        assert pool.worker_pids == []
        assert int(await pool.do("pid")) != pid


async def test_leaving_the_pool_kills_its_workers_in_the_middle_of_a_task() -> None:
    began_s = time.monotonic()
    async with Pool(TWO) as pool:
        tasks = [asyncio.create_task(pool.do("hang")) for _ in range(2)]
        await wait_for(lambda: len(pool.worker_pids) == 2)
        pids = pool.worker_pids
    assert not any(map(is_running, pids))
    assert time.monotonic() - began_s < 10
    for task in tasks:
        with pytest.raises(ConversionError):
            await task


async def test_a_worker_is_replaced_after_its_share_of_tasks() -> None:
    async with Pool(replace(ONE, recycle_tasks=2)) as pool:
        pids = [await pool.do("pid") for _ in range(4)]
        assert pids[0] == pids[1] != pids[2] == pids[3]


async def test_a_worker_whose_memory_grew_is_replaced() -> None:
    async with Pool(replace(ONE, recycle_bytes=150 * 1024**2)) as pool:
        pids = [await pool.do(action) for action in ("pid", "grow", "grow", "grow", "pid")]
        assert pids[0] == pids[1]
        assert pids[-1] != pids[0]


async def test_output_of_native_libraries_does_not_corrupt_the_messages() -> None:
    async with Pool(ONE) as pool:
        assert int(await pool.do("noise")) == pool.worker_pids[0]


async def test_no_key_reaches_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PAGEMILL_OPERATOR_KEY", "PAGEMILL_API_KEY", "LLMOCR_API_KEY", "UNRELATED"):
        monkeypatch.setenv(name, "value")
    async with Pool(ONE) as pool:
        names = (await pool.do("environment")).splitlines()
    assert "UNRELATED" in names
    assert not [name for name in names if "KEY" in name]


@pytest.mark.parametrize(
    "command",
    [
        pytest.param([*COMMAND, "--fail"], id="exits-at-once"),
        pytest.param([str(Path("/nowhere/python"))], id="does-not-exist"),
    ],
)
async def test_without_any_worker_the_run_is_to_end(command: list[str]) -> None:
    """Otherwise every page would fail for a reason that has nothing to do with it."""
    async with Pool(replace(ONE, command=command)) as pool:
        for _ in range(2):
            with pytest.raises(ConverterStartError, match="conversion worker"):
                await pool.do("pid")


async def test_tasks_go_on_with_the_workers_that_could_be_started() -> None:
    command = list(COMMAND)
    async with Pool(replace(TWO, command=command)) as pool:
        first = asyncio.create_task(pool.do("sleep"))
        await wait_for(lambda: len(pool._busy) == 1)
        command.append("--fail")
        pids = await asyncio.gather(first, *(pool.do("pid") for _ in range(3)))
        assert len(set(pids)) == 1


def test_the_end_of_stdin_ends_a_worker_in_the_middle_of_a_task() -> None:
    """Also when its parent is killed: the kernel closes the pipe."""
    done = subprocess.run(
        COMMAND, input=encode_frame(Task("hang")), capture_output=True, timeout=30, env=child_environ(os.environ),
        check=False,
    )  # fmt: skip
    assert done.returncode == 0
