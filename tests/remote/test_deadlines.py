"""Deadlines: they expire on time, and only after what has arrived is read."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.remote.deadlines import Deadline, deadline
from tests.virtual_time import on_virtual_time, run_virtual


@pytest.mark.parametrize("timeout_s", [0.01, 0.3, 1.0, 60.0])
def test_a_deadline_expires_on_time(timeout_s: float) -> None:
    async def main() -> None:
        clock = asyncio.get_running_loop()
        with pytest.raises(TimeoutError):
            async with deadline(timeout_s):
                await asyncio.Event().wait()
        assert clock.time() == pytest.approx(timeout_s)

    run_virtual(main())


@on_virtual_time
async def test_work_that_ends_in_time_is_not_touched() -> None:
    async with deadline(1.0):
        await asyncio.sleep(0.9)
    await asyncio.sleep(10)


@on_virtual_time
async def test_a_cancellation_from_outside_passes_through() -> None:
    async def work() -> None:
        async with deadline(10.0):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@on_virtual_time
async def test_a_deadline_that_begins_anew_counts_from_then() -> None:
    loop, expired = asyncio.get_running_loop(), list[float]()
    watch = Deadline(loop, lambda: expired.append(loop.time()))
    watch.start(1.0)
    await asyncio.sleep(0.7)
    watch.start(1.0)
    await asyncio.sleep(5)
    assert expired == [pytest.approx(1.7)]


@on_virtual_time
async def test_a_stopped_deadline_does_not_expire() -> None:
    loop, expired = asyncio.get_running_loop(), list[float]()
    watch = Deadline(loop, lambda: expired.append(loop.time()))
    watch.start(1.0)
    assert repr(watch) == "<Deadline 1.0 s, running>"
    watch.stop()
    await asyncio.sleep(5)
    assert (expired, repr(watch)) == ([], "<Deadline 1.0 s, stopped>")


@given(st.floats(1.1, 1e5), st.floats(0.0, 1.0))
def test_a_process_that_did_not_run_gets_the_whole_time_again(stopped_s: float, after: float) -> None:
    """The clock goes on while nothing runs, as during SIGSTOP."""

    async def main() -> None:
        loop, expired = asyncio.get_running_loop(), list[float]()
        watch = Deadline(loop, lambda: expired.append(loop.time()))
        watch.start(10.0)
        await asyncio.sleep(9.7 * after)
        stopped_at_s = loop.time()
        loop._now_s += 10.0 + stopped_s  # type: ignore[attr-defined]
        resumed_s = loop.time()
        await asyncio.sleep(1e6)
        assert resumed_s - stopped_at_s > 10.0
        assert expired == [pytest.approx(resumed_s + 10.0)]

    run_virtual(main())


async def read_after_a_stop(limit: Callable[[float], AbstractAsyncContextManager[object]]) -> bytes:
    """Return what a connection holds when the event loop has stopped until the data and the deadline were due."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"x")
        time.sleep(2.0)  # noqa: ASYNC251 - the process does not run
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        try:
            async with limit(0.5):
                writer.write(b"?")
                return await reader.read()
        finally:
            writer.close()


async def test_what_has_arrived_while_the_process_was_stopped_is_read() -> None:
    assert await read_after_a_stop(deadline) == b"x"


async def test_asyncios_own_timeout_gives_up_what_has_arrived() -> None:
    """Negative control."""
    with pytest.raises(TimeoutError):
        await read_after_a_stop(asyncio.timeout)
