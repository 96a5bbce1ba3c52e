"""A process that converts pages: `python -m pipeline.inputs.conversion_worker --memory-bytes N`.

It reads tasks from stdin and writes results to its original stdout; it exits at the end of stdin.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Final

import msgspec

from pipeline.convert.child import TaskPipe, discard_stderr
from pipeline.convert.frames import Ready
from pipeline.convert.resources import keep_freed_memory, limit_own_memory
from pipeline.inputs.conversion import Converter
from pipeline.inputs.conversion_messages import Task

_KEPT_BYTES: Final = 64 * 1024 * 1024
"""More than a colour page of A4 at 300 dpi takes: 35 MB in Pillow."""


def main(arguments: Sequence[str]) -> None:
    """Process tasks until stdin ends.

    Args:
        arguments: The command line without the program.
    """
    parser = argparse.ArgumentParser(prog="pipeline.inputs.conversion_worker")
    parser.add_argument("--memory-bytes", type=int, required=True)
    limit_own_memory(parser.parse_args(arguments).memory_bytes)
    keep_freed_memory(_KEPT_BYTES)
    pipe: TaskPipe[Task] = TaskPipe.claim(msgspec.msgpack.Decoder(Task))
    converter = Converter()
    discard_stderr()
    pipe.send(Ready())
    while True:
        pipe.send(converter.run(pipe.receive()))


if __name__ == "__main__":
    main(sys.argv[1:])
