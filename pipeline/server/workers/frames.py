"""Messages between a worker process and its pool: msgpack, each after a length of four bytes."""

import asyncio
from typing import BinaryIO, Final

import msgspec
from msgspec import Struct

from pipeline.engine.recognition import Recognition

FRAME_MAX_BYTES: Final = 64 * 1024 * 1024
"""An image has at most 10 MiB and the lines of a page a few hundred kB; a longer frame is not one of these messages."""

_LENGTH_BYTES: Final = 4


class Task(Struct, frozen=True):
    """To the worker: read this encoded image."""

    image: bytes


class Ready(Struct, frozen=True, tag=True):
    """The engine has loaded."""


class NotStarted(Struct, frozen=True, tag=True):
    """The engine cannot be loaded; the message is one line for a person."""

    message: str


class Undecodable(Struct, frozen=True, tag=True):
    """The image cannot be decoded; an error of the page."""

    message: str


class EngineFailed(Struct, frozen=True, tag=True):
    """The engine failed on this image; not an error of the page."""

    message: str


WorkerFrame = Ready | NotStarted | Recognition | Undecodable | EngineFailed

_worker_frame: Final = msgspec.msgpack.Decoder(WorkerFrame)
_task: Final = msgspec.msgpack.Decoder(Task)
_encoder: Final = msgspec.msgpack.Encoder()


class FrameError(ValueError):
    """The bytes are not a message of this module."""


def encode_frame(message: Task | WorkerFrame) -> bytes:
    """Return a message as a frame."""
    payload = _encoder.encode(message)
    return len(payload).to_bytes(_LENGTH_BYTES, "big") + payload


def read_task(stream: BinaryIO) -> Task | None:
    """Return the next task; None at the end of the stream, also within a frame.

    Raises:
        FrameError: the frame is not a task.
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
        raise FrameError("the frame is not a task") from exc


async def receive_worker_frame(reader: asyncio.StreamReader) -> WorkerFrame:
    """Return a worker's next message.

    Raises:
        EOFError: the worker exited.
        FrameError: the frame is not a message of a worker.
    """
    try:
        payload = await reader.readexactly(_check_length(await reader.readexactly(_LENGTH_BYTES)))
    except asyncio.IncompleteReadError as exc:
        raise EOFError("the worker process exited") from exc
    try:
        frame: WorkerFrame = _worker_frame.decode(payload)
    except msgspec.DecodeError as exc:
        raise FrameError("the frame is not a message of a worker") from exc
    return frame


def _check_length(head: bytes) -> int:
    length = int.from_bytes(head, "big")
    if length > FRAME_MAX_BYTES:
        raise FrameError(f"a frame of {length} bytes is too long")
    return length
