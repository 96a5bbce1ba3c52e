"""Messages between an engine worker and its pool."""

from typing import Final

import msgspec
from msgspec import Struct

from pipeline.convert.frames import Ready
from pipeline.engine.recognition import Recognition


class Task(Struct, frozen=True):
    """To the worker: read this encoded image."""

    image: bytes


class NotStarted(Struct, frozen=True, tag=True):
    """The engine cannot be loaded; the message is one line for a person.

    Attributes:
        is_setting_wrong: The configuration asks for what this machine does not have.
    """

    message: str
    is_setting_wrong: bool = False


class Undecodable(Struct, frozen=True, tag=True):
    """The image cannot be decoded; an error of the page."""

    message: str


class EngineFailed(Struct, frozen=True, tag=True):
    """The engine failed on this image; not an error of the page."""

    message: str


WorkerFrame = Ready | NotStarted | Recognition | Undecodable | EngineFailed

WORKER_FRAME: Final[msgspec.msgpack.Decoder[WorkerFrame]] = msgspec.msgpack.Decoder(WorkerFrame)
TASK: Final = msgspec.msgpack.Decoder(Task)
