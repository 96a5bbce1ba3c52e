"""Messages between a worker and its pool."""

import asyncio
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.convert.frames import FrameError, Ready, encode_frame, read_frame, receive_frame
from pipeline.engine.recognition import Line, Recognition
from pipeline.server.workers.frames import (
    TASK,
    WORKER_FRAME,
    EngineFailed,
    NotStarted,
    Task,
    Undecodable,
    WorkerFrame,
)

LINE = Line("文字", 0.98, ((0.0, 0.0), (9.5, 0.0), (9.5, 3.0), (0.0, 3.0)))


async def receive(sent: bytes) -> WorkerFrame:
    """Return the message that a pool reads from these bytes."""
    reader = asyncio.StreamReader()
    reader.feed_data(sent)
    reader.feed_eof()
    return await receive_frame(reader, WORKER_FRAME)


@given(st.lists(st.binary(max_size=300), max_size=4))
def test_tasks_arrive_as_they_were_sent(images: list[bytes]) -> None:
    stream = BytesIO(b"".join(encode_frame(Task(image)) for image in images))
    assert [read_frame(stream, TASK) for _ in images] == [Task(image) for image in images]
    assert read_frame(stream, TASK) is None


@pytest.mark.parametrize(
    "frame",
    [Ready(), NotStarted("why"), Undecodable("why"), EngineFailed("why"), Recognition("文字\n", (LINE,), 90)],
    ids=lambda frame: type(frame).__name__,
)
async def test_messages_of_a_worker_arrive_as_they_were_sent(frame: WorkerFrame) -> None:
    assert await receive(encode_frame(frame)) == frame


@pytest.mark.parametrize("sent", [b"", b"\x00\x00", encode_frame(Ready())[:-1]])
async def test_a_truncated_frame_is_the_end_of_the_stream(sent: bytes) -> None:
    with pytest.raises(EOFError):
        await receive(sent)
    assert read_frame(BytesIO(sent), TASK) is None


@pytest.mark.parametrize("sent", [b"printed by a library\n", b"\x00\x00\x00\x01\xc1"])
async def test_bytes_of_something_else_are_a_frame_error(sent: bytes) -> None:
    with pytest.raises(FrameError):
        await receive(sent)
    with pytest.raises(FrameError):
        read_frame(BytesIO(sent), TASK)
