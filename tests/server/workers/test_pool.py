"""The pool of worker processes; the workers are real processes without an engine."""

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.config import ServeConfig
from pipeline.convert.command import module_command
from pipeline.engine.recognition import BusyError, EngineState, RecognitionError
from pipeline.errors import EngineError, TruncatedImageError, UsageError
from pipeline.server.workers.pool import Pool, PoolOptions, plan_pool
from tests.server.processes import is_running, wait_until
from tests.server.scripted_worker import HOG_BYTES

COMMAND = module_command("tests.server.scripted_worker", "--backend", "openvino", "--threads", "1")
ONE = PoolOptions(COMMAND, 1)


async def test_every_page_gets_its_own_result() -> None:
    """More pages than workers, all at once."""
    async with Pool(PoolOptions(COMMAND, 2)) as pool:
        assert repr(pool) == "<Pool 2 workers, 2 idle>"
        pages = [f"page {i}" for i in range(20)]
        answers = await asyncio.gather(*(pool.recognise(page.encode()) for page in pages))
        assert [answer.text for answer in answers] == pages


async def test_a_worker_that_dies_fails_its_own_page_and_no_other() -> None:
    async with Pool(ONE) as pool:
        (before,) = pool.worker_pids
        results = await asyncio.gather(
            *(pool.recognise(page) for page in (b"first", b"die", b"third", b"fourth")), return_exceptions=True
        )
        (after,) = pool.worker_pids
        assert isinstance(results[1], RecognitionError)
        assert [result.text for result in results if not isinstance(result, BaseException)] == [
            "first",
            "third",
            "fourth",
        ]
        assert after != before
        assert not is_running(before)


async def test_a_worker_that_dies_while_idle_is_replaced_without_failing_a_page() -> None:
    async with Pool(ONE) as pool, asyncio.timeout(30):
        (worker,) = pool._workers
        os.kill(worker.pid, signal.SIGKILL)
        await worker.wait()
        assert pool.state().workers == 0
        pool._idle.put_nowait(await pool._acquire_worker())
        assert pool.state() == EngineState(workers=1, waiting=0, restarts=1)
        assert (await pool.recognise(b"after")).text == "after"


async def test_a_page_beyond_the_timeout_fails_and_its_worker_is_replaced() -> None:
    async with Pool(replace(ONE, page_timeout_s=3.0)) as pool:
        (pid,) = pool.worker_pids
        with pytest.raises(RecognitionError, match="longer than 3 s"):
            await pool.recognise(b"hang")
        await asyncio.to_thread(wait_until, lambda: not is_running(pid))
        assert (await pool.recognise(b"next")).text == "next"


async def test_the_pool_reports_workers_waiting_pages_restarts_and_durations() -> None:
    took_s: list[float] = []
    async with Pool(ONE, record_page=took_s.append) as pool:
        assert pool.state() == EngineState(workers=1, waiting=0, restarts=0)
        pages = [asyncio.create_task(pool.recognise(page)) for page in (b"die", b"second", b"third")]
        await asyncio.sleep(0)
        assert pool.state() == EngineState(workers=1, waiting=2, restarts=0)
        await asyncio.gather(*pages, return_exceptions=True)
        assert pool.state() == EngineState(workers=1, waiting=0, restarts=1)
    assert len(took_s) == 2
    assert min(took_s) > 0


async def test_a_page_that_waits_too_long_for_a_worker_is_a_busy_error() -> None:
    """Load is not a failure; the caller may try again."""
    async with Pool(replace(ONE, page_timeout_s=1.0)) as pool:
        async with asyncio.timeout(30):
            worker = await pool._acquire_worker()
            with pytest.raises(BusyError, match="no recognition worker became free in time"):
                await pool.recognise(b"late")
        pool._idle.put_nowait(worker)
        assert pool.state().waiting == 0


async def test_a_pool_that_ends_waits_for_a_worker_that_is_being_replaced() -> None:
    async with Pool(ONE) as pool:
        (worker,) = pool._workers
        with pytest.raises(RecognitionError):
            await pool.recognise(b"die")
    assert not worker.is_alive


async def test_a_cancelled_caller_does_not_end_the_worker() -> None:
    async with Pool(ONE) as pool:
        pids = pool.worker_pids
        caller = asyncio.create_task(pool.recognise(b"the caller is cancelled"))
        await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert (await pool.recognise(b"next")).text == "next"
        assert pool.worker_pids == pids


async def test_an_undecodable_page_is_the_page_s_error() -> None:
    """It becomes a 400, while a failure of the engine becomes a 500."""
    async with Pool(ONE) as pool:
        with pytest.raises(TruncatedImageError, match="truncated or damaged"):
            await pool.recognise(b"unreadable")
        with pytest.raises(RecognitionError, match="ZeroDivisionError"):
            await pool.recognise(b"broken")


async def test_a_page_that_exceeds_the_memory_limit_fails_alone() -> None:
    async with Pool(PoolOptions([*COMMAND, "--memory-bytes", str(HOG_BYTES // 2)], 1)) as pool:
        pids = pool.worker_pids
        with pytest.raises(RecognitionError, match="MemoryError"):
            await pool.recognise(b"hog")
        assert (await pool.recognise(b"next")).text == "next"
        assert pool.worker_pids == pids


async def test_below_the_memory_limit_the_same_page_succeeds() -> None:
    """Negative control of the test above."""
    async with Pool(PoolOptions([*COMMAND, "--memory-bytes", str(8 * HOG_BYTES)], 1)) as pool:
        assert (await pool.recognise(b"hog")).text == "hog"


async def test_a_worker_whose_memory_grew_is_replaced_after_its_page() -> None:
    async with Pool(replace(ONE, recycle_bytes=150 * 1024**2)) as pool:
        (before,) = pool.worker_pids
        assert [(await pool.recognise(page)).text for page in (b"small", b"grow")] == ["small", "grow"]
        assert pool.worker_pids == [before]
        assert [(await pool.recognise(page)).text for page in (b"grow", b"next")] == ["grow", "next"]
        assert pool.worker_pids != [before]
        assert not is_running(before)


async def test_leaving_the_pool_ends_its_workers_in_the_middle_of_a_page() -> None:
    async with Pool(PoolOptions(COMMAND, 2)) as pool:
        pids = pool.worker_pids
        caller = asyncio.create_task(pool.recognise(b"hang"))
        await asyncio.sleep(0.1)
    assert not any(map(is_running, pids))
    with pytest.raises(asyncio.CancelledError):
        await caller


async def test_a_pool_whose_workers_do_not_start_raises_the_reason() -> None:
    pool = Pool(PoolOptions([*COMMAND, "--fail"], 2))
    with pytest.raises(EngineError, match="does not start"):
        async with pool:
            pass
    assert pool.worker_pids == []


async def test_a_pool_that_does_not_start_leaves_no_worker_that_is_still_ending(tmp_path: Path) -> None:
    """One worker's error cancels the start of the other, which at that moment waits for the end of its process."""
    with pytest.raises(EngineError, match="does not start"):
        async with Pool(PoolOptions([*COMMAND, "--fail-in-turn", str(tmp_path)], 2)):
            pass
    pids = [int(path.name) for path in tmp_path.iterdir() if path.name.isdigit()]
    assert len(pids) == 2
    assert not any(map(is_running, pids))


async def test_pages_fail_at_once_when_no_worker_can_be_replaced() -> None:
    options = PoolOptions(list(COMMAND), 1, restart_delays_s=(0.0, 0.05))
    command = options.command
    assert isinstance(command, list)
    async with Pool(options) as pool:
        command.append("--fail")
        with pytest.raises(RecognitionError):
            await pool.recognise(b"die")
        await wait_for_result(
            pool, "no recognition worker runs: a recognition worker does not start: the worker process exited"
        )
        assert (pool.state().workers, pool.state().is_failing) == (0, True)
        command.remove("--fail")
        await wait_for_result(pool, "ok")
        assert (pool.state().workers, pool.state().is_failing) == (1, False)


async def wait_for_result(pool: Pool, expected: str) -> None:
    """Send pages until one has this text or this error."""
    message: list[str] = []
    for _ in range(200):
        try:
            async with asyncio.timeout(0.2):
                message.append((await pool.recognise(b"ok")).text)
        except RecognitionError as exc:
            message.append(str(exc))
        except TimeoutError:
            message.append("waits")
        if message[-1] == expected:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(message)


async def test_a_setting_that_the_machine_cannot_fulfil_is_a_usage_error() -> None:
    """Such as a precision that the processor does not compute in; only the worker can ask the processor."""
    with pytest.raises(UsageError, match="no such processor"):
        async with Pool(PoolOptions([*COMMAND, "--wrong-setting"], 2)):
            pass


def test_a_precision_that_the_backend_lacks_is_refused_before_a_worker_starts() -> None:
    with pytest.raises(UsageError, match="onnxruntime computes in f32 only"):
        plan_pool(ServeConfig(backend="onnxruntime", precision="bf16"))


def test_the_pool_is_planned_from_the_configuration() -> None:
    options = plan_pool(ServeConfig(workers=3, engine="fast", backend="onnxruntime"))
    assert options.workers == 3
    assert list(options.command)[-8:-1] == [
        *("--engine", "fast"),
        *("--backend", "onnxruntime"),
        *("--precision", "f32"),
        "--threads",
    ]
