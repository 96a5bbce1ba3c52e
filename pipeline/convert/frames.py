"""Messages on the pipes of a child process: msgpack, each after a length of four bytes."""

import asyncio
from typing import BinaryIO, Final, TypeVar

import msgspec
from msgspec import Struct

FRAME_MAX_BYTES: Final = 256 * 1024 * 1024
"""Longest message. Four printable characters in place of a length announce more, so stray output is recognised."""

_LENGTH_BYTES: Final = 4
_encoder: Final = msgspec.msgpack.Encoder()

M = TypeVar("M")


class Ready(Struct, frozen=True, tag=True):
    """The child process has started and takes tasks."""


class FrameError(ValueError):
    """The bytes are not a message of the expected type."""


def encode_frame(message: Struct) -> bytes:
    """Return a message as a frame.

    Raises:
        FrameError: it is longer than `FRAME_MAX_BYTES`.
    """
    payload = _encoder.encode(message)
    if len(payload) > FRAME_MAX_BYTES:
        raise FrameError(f"a frame of {len(payload)} bytes is too long")
    return len(payload).to_bytes(_LENGTH_BYTES, "big") + payload


def read_frame(stream: BinaryIO, decoder: msgspec.msgpack.Decoder[M]) -> M | None:
    """Return the next message; None at the end of the stream, also within a frame.

    Raises:
        FrameError: the frame is not a message of the decoder's type.
    """
    head = stream.read(_LENGTH_BYTES)
    if len(head) < _LENGTH_BYTES:
        return None
    length = _check_length(head)
    payload = stream.read(length)
    return _decode(payload, decoder) if len(payload) == length else None


async def receive_frame(reader: asyncio.StreamReader, decoder: msgspec.msgpack.Decoder[M]) -> M:
    """Return the next message.

    Raises:
        EOFError: the process closed its end of the pipe.
        FrameError: the frame is not a message of the decoder's type.
    """
    try:
        payload = await reader.readexactly(_check_length(await reader.readexactly(_LENGTH_BYTES)))
    except asyncio.IncompleteReadError as exc:
        raise EOFError("the worker process exited") from exc
    return _decode(payload, decoder)


def _decode(payload: bytes, decoder: msgspec.msgpack.Decoder[M]) -> M:
    try:
        return decoder.decode(payload)
    except msgspec.DecodeError as exc:
        raise FrameError("the frame is not a message of the expected type") from exc


def _check_length(head: bytes) -> int:
    length = int.from_bytes(head, "big")
    if length > FRAME_MAX_BYTES:
        raise FrameError(f"a frame of {length} bytes is too long")
    return length
