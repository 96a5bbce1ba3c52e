"""The pool of worker processes; the workers are real processes without an engine."""

import asyncio
import os
import signal
from dataclasses import replace

import pytest

from pipeline.config import ServeConfig
from pipeline.convert.processes import module_command
from pipeline.engine.recognition import BusyError, EngineState, RecognitionError
from pipeline.errors import EngineError, TruncatedImageError
from pipeline.server.workers.pool import Pool, PoolOptions, plan_pool
from tests.server.processes import is_running, wait_until
from tests.server.scripted_worker import HOG_BYTES

COMMAND = module_command("tests.server.scripted_worker", "--backend", "openvino", "--threads", "1")
ONE = PoolOptions(COMMAND, 1)


async def test_every_page_gets_its_own_answer() -> None:
    """More pages than workers, all at once."""
    async with Pool(PoolOptions(COMMAND, 2)) as pool:
        assert repr(pool) == "<Pool 2 workers, 2 idle>"
        pages = [f"page {i}" for i in range(20)]
        answers = await asyncio.gather(*(pool.recognise(page.encode()) for page in pages))
        assert [answer.text for answer in answers] == pages


async def test_a_worker_that_dies_fails_its_own_page_and_no_other() -> None:
    """The pages behind it wait for the new worker."""
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


async def test_a_worker_that_died_while_idle_is_replaced_before_a_page_comes() -> None:
    """Who asks how the pool is hears of it, and no page pays for it."""
    async with Pool(ONE) as pool, asyncio.timeout(30):
        (worker,) = pool._workers
        os.kill(worker.pid, signal.SIGKILL)
        await worker.wait()
        assert pool.state().workers == 0
        pool._idle.put_nowait(await pool._take_idle())
        assert pool.state() == EngineState(workers=1, waiting=0, restarts=1)
        assert (await pool.recognise(b"after")).text == "after"


async def test_a_page_that_takes_too_long_costs_one_error() -> None:
    """The worker is killed and replaced."""
    async with Pool(replace(ONE, page_deadline_s=3.0)) as pool:
        (pid,) = pool.worker_pids
        with pytest.raises(RecognitionError, match="longer than 3 s"):
            await pool.recognise(b"hang")
        await asyncio.to_thread(wait_until, lambda: not is_running(pid))
        assert (await pool.recognise(b"next")).text == "next"


async def test_the_pool_tells_how_it_is() -> None:
    """Workers, pages that wait for one, and workers that were replaced; how long answered pages took."""
    took_s: list[float] = []
    async with Pool(ONE, page_took=took_s.append) as pool:
        assert pool.state() == EngineState(workers=1, waiting=0, restarts=0)
        pages = [asyncio.create_task(pool.recognise(page)) for page in (b"die", b"second", b"third")]
        await asyncio.sleep(0)
        assert pool.state() == EngineState(workers=1, waiting=2, restarts=0)
        await asyncio.gather(*pages, return_exceptions=True)
        assert pool.state() == EngineState(workers=1, waiting=0, restarts=1)
    assert len(took_s) == 2
    assert min(took_s) > 0


async def test_a_page_that_waits_too_long_for_a_worker_is_told_so() -> None:
    """Load, not failure: the caller may come again."""
    async with Pool(replace(ONE, page_deadline_s=1.0)) as pool:
        async with asyncio.timeout(30):
            worker = await pool._take_idle()
            with pytest.raises(BusyError, match="no recognition worker became free in time"):
                await pool.recognise(b"late")
        pool._idle.put_nowait(worker)
        assert pool.state().waiting == 0


async def test_a_pool_that_ends_waits_for_a_worker_that_is_being_replaced() -> None:
    """Its process is gone for good, though its place was being filled."""
    async with Pool(ONE) as pool:
        (worker,) = pool._workers
        with pytest.raises(RecognitionError):
            await pool.recognise(b"die")
    assert not worker.is_alive


async def test_a_caller_that_leaves_does_not_cost_the_worker() -> None:
    """The page is finished, and the worker goes on."""
    async with Pool(ONE) as pool:
        pids = pool.worker_pids
        caller = asyncio.create_task(pool.recognise(b"nobody waits for this"))
        await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert (await pool.recognise(b"next")).text == "next"
        assert pool.worker_pids == pids


async def test_an_undecodable_page_is_the_page_s_error() -> None:
    """It becomes a 400, not a 500."""
    async with Pool(ONE) as pool:
        with pytest.raises(TruncatedImageError, match="truncated or damaged"):
            await pool.recognise(b"unreadable")
        with pytest.raises(RecognitionError, match="ZeroDivisionError"):
            await pool.recognise(b"broken")


async def test_a_page_that_takes_all_memory_costs_one_error() -> None:
    """The worker's allocation fails at its limit; the worker, and the machine, live on."""
    async with Pool(PoolOptions([*COMMAND, "--memory-bytes", str(HOG_BYTES // 2)], 1)) as pool:
        pids = pool.worker_pids
        with pytest.raises(RecognitionError, match="MemoryError"):
            await pool.recognise(b"hog")
        assert (await pool.recognise(b"next")).text == "next"
        assert pool.worker_pids == pids


async def test_without_a_limit_the_hog_gets_its_memory() -> None:
    """The negative control."""
    async with Pool(PoolOptions([*COMMAND, "--memory-bytes", str(8 * HOG_BYTES)], 1)) as pool:
        assert (await pool.recognise(b"hog")).text == "hog"


async def test_a_worker_whose_memory_grew_is_replaced_after_its_page() -> None:
    """The page that did it is answered all the same, and the one behind it by another worker."""
    async with Pool(replace(ONE, recycle_bytes=150 * 1024**2)) as pool:
        (before,) = pool.worker_pids
        assert [(await pool.recognise(page)).text for page in (b"small", b"grow")] == ["small", "grow"]
        assert pool.worker_pids == [before]
        assert [(await pool.recognise(page)).text for page in (b"grow", b"next")] == ["grow", "next"]
        assert pool.worker_pids != [before]
        assert not is_running(before)


async def test_the_pool_s_end_is_its_workers_end_even_in_the_middle_of_a_page() -> None:
    """No process is left."""
    async with Pool(PoolOptions(COMMAND, 2)) as pool:
        pids = pool.worker_pids
        caller = asyncio.create_task(pool.recognise(b"hang"))
        await asyncio.sleep(0.1)
    assert not any(map(is_running, pids))
    with pytest.raises(asyncio.CancelledError):
        await caller


async def test_a_pool_whose_workers_do_not_start_says_why() -> None:
    """And leaves none behind."""
    pool = Pool(PoolOptions([*COMMAND, "--fail"], 2))
    with pytest.raises(EngineError, match="does not start"):
        async with pool:
            pass
    assert pool.worker_pids == []


async def test_pages_fail_at_once_when_no_worker_can_be_replaced() -> None:
    """Nobody waits for an engine that is gone for good, until it is back."""
    options = PoolOptions(list(COMMAND), 1, restart_delays_s=(0.0, 0.05))
    command = options.command
    assert isinstance(command, list)
    async with Pool(options) as pool:
        command.append("--fail")
        with pytest.raises(RecognitionError):
            await pool.recognise(b"die")
        await wait_for_outcome(
            pool, "no recognition worker runs: a recognition worker does not start: the worker is gone"
        )
        assert (pool.state().workers, pool.state().is_failing) == (0, True)
        command.remove("--fail")
        await wait_for_outcome(pool, "ok")
        assert (pool.state().workers, pool.state().is_failing) == (1, False)


async def wait_for_outcome(pool: Pool, expected: str) -> None:
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


def test_the_configuration_plans_the_pool() -> None:
    """Workers, models and runtime come from the settings."""
    options = plan_pool(ServeConfig(workers=3, engine="fast", backend="onnxruntime"))
    assert options.workers == 3
    assert list(options.command)[-6:-1] == ["--engine", "fast", "--backend", "onnxruntime", "--threads"]
