"""The virtual clock jumps to the next timer when nothing else can happen, and only then."""

import asyncio
import threading
import time

import anyio
import anyio.to_thread
import pytest

from tests.virtual_time import on_virtual_time, run_virtual

REAL_LIMIT_S = 5.0


@on_virtual_time
async def test_two_sleeps_of_hours_end_in_order_in_no_real_time() -> None:
    begun_s = time.monotonic()
    ended: list[tuple[int, float]] = []

    async def sleep(hours: int) -> None:
        await anyio.sleep(hours * 3600)
        ended.append((hours, anyio.current_time()))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sleep, 2)
        tasks.start_soon(sleep, 1)
    assert ended == [(1, 3600.0), (2, 7200.0)]
    assert time.monotonic() - begun_s < REAL_LIMIT_S


@pytest.mark.parametrize(
    "run_in_thread",
    [
        pytest.param(anyio.to_thread.run_sync, id="anyio"),
        pytest.param(lambda work: asyncio.get_running_loop().run_in_executor(None, work), id="executor"),
    ],
)
def test_the_clock_does_not_advance_while_a_thread_works(run_in_thread: object) -> None:
    begun, may_end = threading.Event(), threading.Event()
    order: list[str] = []

    def work() -> None:
        begun.set()
        may_end.wait(REAL_LIMIT_S)
        order.append("thread")

    def release() -> None:
        begun.wait(REAL_LIMIT_S)
        may_end.set()

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_sleep_then, 3600, lambda: order.append("timer"))
            threading.Thread(target=release).start()
            await run_in_thread(work)  # type: ignore[operator]
            assert anyio.current_time() == 0

    run_virtual(main())
    assert order == ["thread", "timer"]


@on_virtual_time
async def test_data_on_a_socket_is_read_before_a_timer_fires() -> None:
    received: list[bytes] = []
    done = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.readline())
        writer.close()
        done.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"page\n")
        async with asyncio.timeout(0.001):
            await done.wait()
        writer.close()
        await writer.wait_closed()
    assert received == [b"page\n"]


@on_virtual_time
async def test_a_timeout_cancels_at_its_deadline_in_virtual_time() -> None:
    with anyio.move_on_after(10) as scope:
        await anyio.sleep(3600)
    assert scope.cancelled_caught
    assert anyio.current_time() == 10


def test_a_deadlock_fails_instead_of_hanging(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.virtual_time._STUCK_S", 0.01)
    with pytest.raises(RuntimeError, match="stuck"):
        run_virtual(anyio.Event().wait())


async def _sleep_then(wait_s: float, act: object) -> None:
    await anyio.sleep(wait_s)
    act()  # type: ignore[operator]
