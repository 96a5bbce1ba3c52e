"""The HTTP client when no valid reply comes: which calls were certainly not sent, and which may have been billed."""

import pytest

from pipeline.remote.outcome import Fault, Outcome
from pipeline.remote.timeouts import Timeouts
from pipeline.wire import REPLY_MAX_BYTES, BodyKind, WireReply
from tests.clients import closed_port, full_queue, post
from tests.faults.raw_server import (
    response,
    serve_bytes,
)

OK = b'{"id":"doc-1","content":"text","timestamp":1}'
ACCEPTED = Outcome(200, reply=WireReply("doc-1", "text", 1))
TOO_LONG = f"a reply of more than {REPLY_MAX_BYTES} bytes"


class TestNotSent:
    """Calls that cannot have been billed."""

    async def test_a_refused_connection(self) -> None:
        with closed_port() as url:
            outcome = await post(url)
        assert outcome.fault is Fault.NOT_SENT
        assert outcome.detail.startswith("cannot connect")

    async def test_a_host_that_does_not_resolve(self) -> None:
        """A name that is longer than DNS allows fails without a network."""
        outcome = await post(f"http://{'.'.join(['a'] * 200)}")
        assert outcome == Outcome(fault=Fault.NOT_SENT, detail="the host name does not resolve")

    async def test_a_connect_timeout(self) -> None:
        with full_queue() as url:
            outcome = await post(url, timeouts=Timeouts(connect_s=0.2))
        assert outcome == Outcome(fault=Fault.NOT_SENT, detail="timeout while connecting")


class TestLost:
    """Calls that may have been billed."""

    @pytest.mark.parametrize(
        "raw",
        [
            pytest.param(b"", id="before-the-head"),
            pytest.param(b"HTTP/1.1 200 OK\r\nContent-", id="within-the-head"),
            pytest.param(response(OK)[:-5], id="within-the-body"),
        ],
    )
    @pytest.mark.parametrize(
        "timeouts", [pytest.param(Timeouts(read_s=0.1), id="read"), pytest.param(Timeouts(total_s=0.1), id="total")]
    )
    async def test_a_reply_timeout(self, raw: bytes, timeouts: Timeouts) -> None:
        """The service may still be working on the page, and bill it."""
        async with serve_bytes(raw, ending="hang") as server:
            outcome = await post(server.url, timeouts=timeouts)
        assert outcome == Outcome(fault=Fault.LOST, detail="timeout while waiting for the reply")

    @pytest.mark.parametrize("ending", ["close", "reset", "hang"])
    @pytest.mark.parametrize("status", [400, 401, 403, 413, 429, 500])
    async def test_an_error_whose_body_breaks_off_keeps_its_status(self, status: int, ending: str) -> None:
        """Otherwise a rejected key would be retried as a lost call, and a 429 would lose its Retry-After."""
        raw = response(b'{"statusText":"no"}', f"{status} No", "Retry-After: 7")[:-3]
        async with serve_bytes(raw, ending=ending) as server:
            outcome = await post(server.url, timeouts=Timeouts(read_s=0.1))
        assert outcome == Outcome(status, retry_after_s=7.0, body=BodyKind.JSON)
