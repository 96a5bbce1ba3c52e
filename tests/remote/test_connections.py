"""`ReadingSocket`: a reply that was received before the peer closed the connection is still read.

That a connection with unread bytes is not reused is tested in `tests/faults/test_replies.py`.
"""

import socket
import struct
from collections.abc import Iterator

import aiohttp
import pytest

from pipeline.remote.connections import Connector, ReadingSocket
from tests.fakes import serve_fake

Pair = tuple[ReadingSocket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Pair]:
    """Both ends of a connection; the first is a `ReadingSocket`."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ReadingSocket() as ours:
        ours.connect(listener.getsockname())
        ours.setblocking(False)  # noqa: FBT003 - the standard library's signature
        theirs, _ = listener.accept()
        with theirs:
            yield ours, theirs


def reply_and_reset(theirs: socket.socket, reply: bytes) -> None:
    """Send a reply and end the connection with a RST."""
    theirs.sendall(reply)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    theirs.close()


def test_a_write_to_a_closed_connection_leaves_the_reply_to_be_read(ends: Pair) -> None:
    """The write, of one buffer or of several, reports all bytes as sent; after the reply comes the end."""
    ours, theirs = ends
    reply_and_reset(theirs, b"no")
    assert [ours.send(b"a page"), ours.sendmsg([b"a ", b"page"])] == [6, 6]
    assert ours.recv(9) == b"no"
    with pytest.raises(OSError, match=r"."):
        ours.send(b"a page")


def test_a_write_to_a_closed_connection_without_a_reply_fails(ends: Pair) -> None:
    ours, theirs = ends
    reply_and_reset(theirs, b"")
    for _ in range(2):
        with pytest.raises(ConnectionError):
            ours.send(b"a page")


def test_a_write_to_an_open_connection_sends_its_buffers(ends: Pair) -> None:
    ours, theirs = ends
    assert ours.send(b"a page") == 6
    assert ours.sendmsg([b"another", memoryview(b" one")]) == 11
    assert theirs.recv(99) == b"a pageanother one"


async def test_a_run_with_a_lease_leaves_nothing_in_the_kernel_that_is_delivered_after_its_end() -> None:
    """Its connections are dropped when 24 s of data are unacknowledged, and reset when they are closed."""
    async with (
        serve_fake() as fake,
        Connector(connections=1, keepalive_s=9, unacknowledged_s=24.0) as connector,
        aiohttp.ClientSession(connector=connector) as session,
    ):
        async with session.get(fake.url) as reply:
            await reply.read()
        (((protocol, _),),) = connector._conns.values()
        assert protocol.transport is not None
        used = protocol.transport.get_extra_info("socket")
        assert struct.unpack("ii", used.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)) == (1, 0)
        assert used.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 24_000
