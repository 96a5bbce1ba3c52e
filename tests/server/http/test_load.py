"""Bounds on what is under way."""

import asyncio

import pytest
from aiohttp import web

from pipeline.server.http.load import RETRY_AFTER_S, Load, LoadStatistics, Traffic
from pipeline.server.http.requests import RequestError


def test_a_place_is_free_again_when_its_block_ends() -> None:
    """However it ends."""
    load = Load(1)
    with pytest.raises(ZeroDivisionError), load.place():
        raise ZeroDivisionError
    with load.place():
        assert load.statistics() == LoadStatistics(places=1, body_bytes=0, shed=0)
    assert load.statistics() == LoadStatistics(places=0, body_bytes=0, shed=0)


def test_the_place_too_many_is_refused_with_the_time_to_come_back() -> None:
    """429 with Retry-After, and the refusal is counted."""
    load = Load(2)
    with load.place():
        load.check()
        with load.place():
            with pytest.raises(RequestError, match="the server is busy") as caught:
                load.check()
            with pytest.raises(RequestError), load.place():
                pass
    assert (caught.value.status, caught.value.retry_after_s) == (429, RETRY_AFTER_S)
    assert load.statistics() == LoadStatistics(places=0, body_bytes=0, shed=2)


def test_bodies_share_one_bound() -> None:
    """The one whose bytes are too many goes, the other stays; both are off the account in the end."""
    load = Load(bodies_max_bytes=10)
    with load.body() as hold:
        hold(6)
        with load.body() as hold_more:
            hold_more(4)
            with pytest.raises(RequestError, match="busy"):
                hold_more(1)
        assert load.statistics().body_bytes == 6
        hold(4)
        assert repr(load) == "<Load 0 of 16 places, 10 body bytes>"
    assert load.statistics() == LoadStatistics(places=0, body_bytes=0, shed=1)


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
