"""A process that converts pages: `python -m pipeline.inputs.conversion_worker --memory-bytes N`.

It reads tasks from stdin and writes results to its original stdout; it exits at the end of stdin.
"""

import sys
from collections.abc import Sequence
from typing import Final

import msgspec

from pipeline.convert.child import process_tasks
from pipeline.convert.resources import keep_freed_memory
from pipeline.inputs.conversion import Converter
from pipeline.inputs.conversion_messages import Task

_KEPT_BYTES: Final = 64 * 1024 * 1024
"""More than a colour page of A4 at 300 dpi takes: 35 MB in Pillow."""


def main(arguments: Sequence[str]) -> None:
    """Process tasks until stdin ends.

    Args:
        arguments: The command line without the program.
    """
    keep_freed_memory(_KEPT_BYTES)
    process_tasks(arguments, msgspec.msgpack.Decoder(Task), Converter().run)


if __name__ == "__main__":
    main(sys.argv[1:])
