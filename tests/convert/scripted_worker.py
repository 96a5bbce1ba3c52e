"""A conversion worker without a decoder: each task names what it does."""

import os
import signal
import sys
import time

import msgspec
from msgspec import Struct

from pipeline.convert.child import TaskPipe
from pipeline.convert.frames import Ready

GROWTH_BYTES = 64 * 1024**2


class Task(Struct, frozen=True):
    """What to do: "pid", "environment", "die", "crash", "exit", "hang", "grow", "noise", "sleep"."""

    action: str


class Answer(Struct, frozen=True, tag=True):
    """What came of it."""

    text: str


Message = Ready | Answer


def main() -> None:
    """Do tasks until stdin ends."""
    pipe = TaskPipe.claim(msgspec.msgpack.Decoder(Task))
    pipe.send(Ready())
    held = []
    while True:
        match pipe.receive().action:
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "exit":
                os._exit(3)
            case "hang":
                time.sleep(600)
            case "sleep":
                time.sleep(0.5)
            case "grow":
                held.append(b"x" * GROWTH_BYTES)
            case "noise":
                os.write(1, b"\xff" * 100)
            case "environment":
                pipe.send(Answer("\n".join(os.environ)))
                continue
            case _:
                pass
        pipe.send(Answer(str(os.getpid())))


if __name__ == "__main__":
    if "--fail" in sys.argv:
        sys.exit("no decoder")
    main()
