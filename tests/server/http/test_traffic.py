"""Requests under way."""

import asyncio

import pytest
from aiohttp import web

from pipeline.server.http.load import RETRY_AFTER_S
from pipeline.server.http.requests import RequestError
from pipeline.server.http.traffic import Traffic


async def test_the_end_waits_for_what_is_under_way() -> None:
    """For the last of it."""
    traffic = Traffic()
    with traffic.request():
        with traffic.request():
            end = asyncio.create_task(traffic.end(60))
            await asyncio.sleep(0)
            assert repr(traffic) == "<Traffic 2 under way, ending>"
        await asyncio.sleep(0)
        assert not end.done()
    async with asyncio.timeout(5):
        await end


async def test_the_end_does_not_wait_forever() -> None:
    """What takes longer is left."""
    traffic = Traffic()
    with traffic.request():
        async with asyncio.timeout(5):
            await traffic.end(0.01)


async def test_work_within_the_limit_ends_with_the_server() -> None:
    """By a refusal that says when to come back; work that begins later has no time left."""
    traffic = Traffic()

    async def work() -> None:
        with pytest.raises(RequestError, match="the server is stopping") as refused:
            async with traffic.limit():
                await asyncio.Event().wait()
        assert (refused.value.status, refused.value.retry_after_s) == (429, RETRY_AFTER_S)

    async with asyncio.timeout(5):
        with traffic.request():
            early = asyncio.create_task(work())
            await asyncio.sleep(0)
            await traffic.end(0.01)
        await early
        await work()


async def test_a_deadline_of_the_work_itself_is_its_own() -> None:
    """Only the server's end is told as such."""
    traffic = Traffic()
    with pytest.raises(TimeoutError):
        async with traffic.limit(), asyncio.timeout(0.01):
            await asyncio.Event().wait()


async def test_connections_end_with_their_answers() -> None:
    """From the moment on when the end has come, and not before."""
    traffic = Traffic()
    before, after = web.Response(), web.Response()
    traffic.close_behind(before)
    await traffic.end(1)
    traffic.close_behind(after)
    assert (before.keep_alive, after.keep_alive) == (None, False)
