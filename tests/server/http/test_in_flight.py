"""Requests in flight, and their end at a shutdown."""

import asyncio

import pytest
from aiohttp import web

from pipeline.server.http.admission import RETRY_AFTER_S
from pipeline.server.http.in_flight import InFlightRequests
from pipeline.server.http.requests import RequestError


async def test_a_shutdown_waits_for_the_last_request() -> None:
    in_flight = InFlightRequests()
    with in_flight.track():
        with in_flight.track():
            shutdown = asyncio.create_task(in_flight.shut_down(60))
            await asyncio.sleep(0)
            assert repr(in_flight) == "<InFlightRequests 2, shutting down>"
        await asyncio.sleep(0)
        assert not shutdown.done()
    async with asyncio.timeout(5):
        await shutdown


async def test_a_shutdown_ends_at_its_timeout() -> None:
    in_flight = InFlightRequests()
    with in_flight.track():
        async with asyncio.timeout(5):
            await in_flight.shut_down(0.01)


async def test_work_that_outlasts_the_shutdown_ends_with_429_and_retry_after() -> None:
    """Work that begins after the timeout gets no time at all."""
    in_flight = InFlightRequests()

    async def work() -> None:
        with pytest.raises(RequestError, match="the server is stopping") as caught:
            async with in_flight.until_shutdown():
                await asyncio.Event().wait()
        assert (caught.value.status, caught.value.retry_after_s) == (429, RETRY_AFTER_S)

    async with asyncio.timeout(5):
        with in_flight.track():
            early = asyncio.create_task(work())
            await asyncio.sleep(0)
            await in_flight.shut_down(0.01)
        await early
        await work()


async def test_a_timeout_inside_the_work_stays_a_timeout_error() -> None:
    in_flight = InFlightRequests()
    with pytest.raises(TimeoutError):
        async with in_flight.until_shutdown(), asyncio.timeout(0.01):
            await asyncio.Event().wait()


async def test_responses_close_their_connections_from_the_shutdown_on() -> None:
    in_flight = InFlightRequests()
    before, after = web.Response(), web.Response()
    in_flight.close_connection_after(before)
    await in_flight.shut_down(1)
    in_flight.close_connection_after(after)
    assert (before.keep_alive, after.keep_alive) == (None, False)
