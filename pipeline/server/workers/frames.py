"""What a worker process and its pool say to each other: msgpack behind a length of four bytes."""

import asyncio
from typing import BinaryIO, Final

import msgspec
from msgspec import Struct

from pipeline.engine.recognition import Recognition

FRAME_MAX_BYTES: Final = 64 * 1024 * 1024
"""An image has at most 10 MiB and a page's lines a few 100 kB: a longer frame is noise from something else."""

_LENGTH_BYTES: Final = 4


class Task(Struct, frozen=True):
    """Recognise this encoded image."""

    image: bytes


class Ready(Struct, frozen=True, tag=True):
    """The engine has loaded and answers."""


class NotStarted(Struct, frozen=True, tag=True):
    """The engine does not load; the message is one line for a person."""

    message: str


class Unreadable(Struct, frozen=True, tag=True):
    """The image cannot be decoded: the page's fault."""

    message: str


class Broken(Struct, frozen=True, tag=True):
    """The engine failed on this image: not the page's fault."""

    message: str


WorkerFrame = Ready | NotStarted | Recognition | Unreadable | Broken

_worker_frame: Final = msgspec.msgpack.Decoder(WorkerFrame)
_task: Final = msgspec.msgpack.Decoder(Task)
_encoder: Final = msgspec.msgpack.Encoder()


class FrameError(ValueError):
    """The other side speaks something else."""


def encode_frame(message: Task | WorkerFrame) -> bytes:
    """Return a message as it goes through the pipe."""
    payload = _encoder.encode(message)
    return len(payload).to_bytes(_LENGTH_BYTES, "big") + payload


def read_task(stream: BinaryIO) -> Task | None:
    """Return the next task; None at the end of the stream, wherever it comes.

    Raises:
        FrameError: what was read is no task.
    """
    head = stream.read(_LENGTH_BYTES)
    if len(head) < _LENGTH_BYTES:
        return None
    length = _check_length(head)
    payload = stream.read(length)
    if len(payload) < length:
        return None
    try:
        return _task.decode(payload)
    except msgspec.DecodeError as exc:
        raise FrameError("no task") from exc


async def receive_worker_frame(reader: asyncio.StreamReader) -> WorkerFrame:
    """Return a worker's next message.

    Raises:
        EOFError: the worker is gone.
        FrameError: what was read is no message of a worker.
    """
    try:
        payload = await reader.readexactly(_check_length(await reader.readexactly(_LENGTH_BYTES)))
    except asyncio.IncompleteReadError as exc:
        raise EOFError("the worker is gone") from exc
    try:
        frame: WorkerFrame = _worker_frame.decode(payload)
    except msgspec.DecodeError as exc:
        raise FrameError("no message of a worker") from exc
    return frame


def _check_length(head: bytes) -> int:
    length = int.from_bytes(head, "big")
    if length > FRAME_MAX_BYTES:
        raise FrameError(f"a frame of {length} bytes")
    return length
