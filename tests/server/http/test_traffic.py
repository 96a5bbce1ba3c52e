"""Requests under way."""

import asyncio

from aiohttp import web

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


async def test_connections_end_with_their_answers() -> None:
    """From the moment on when the end has come, and not before."""
    traffic = Traffic()
    before, after = web.Response(), web.Response()
    traffic.close_behind(before)
    await traffic.end(1)
    traffic.close_behind(after)
    assert (before.keep_alive, after.keep_alive) == (None, False)
