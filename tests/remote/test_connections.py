"""Sockets that are read before they are given up, and connections that are used again only while they are silent."""

import socket
import struct
from collections.abc import Iterator

import pytest

from pipeline.remote.connections import ReadingSocket

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


def hang_up(theirs: socket.socket, last_words: bytes) -> None:
    """Say something and reset the connection."""
    theirs.sendall(last_words)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    theirs.close()


def test_a_write_that_fails_leaves_the_answer_to_be_read(ends: Pair) -> None:
    """It counts as done, in one piece or in several; then the answer is there, and then the end."""
    ours, theirs = ends
    hang_up(theirs, b"no")
    assert [ours.send(b"a page"), ours.sendmsg([b"a ", b"page"])] == [6, 6]
    assert ours.recv(9) == b"no"
    with pytest.raises(OSError, match=r"."):
        ours.send(b"a page")


def test_a_write_that_fails_without_an_answer_fails(ends: Pair) -> None:
    """Nothing is hidden."""
    ours, theirs = ends
    hang_up(theirs, b"")
    for _ in range(2):
        with pytest.raises(ConnectionError):
            ours.send(b"a page")


def test_what_can_be_sent_is_sent(ends: Pair) -> None:
    """As much as the buffers take."""
    ours, theirs = ends
    assert ours.send(b"a page") == 6
    assert ours.sendmsg([b"another", memoryview(b" one")]) == 11
    assert theirs.recv(99) == b"a pageanother one"
