"""The child's end of the pipes: tasks from stdin, results to stdout, an exit at the end of stdin."""

import argparse
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import BinaryIO, Generic, NoReturn, Self, TypeVar

import msgspec
from msgspec import Struct

from pipeline.convert.frames import FrameError, Ready, encode_frame, read_frame
from pipeline.convert.resources import limit_own_memory

T = TypeVar("T")


class TaskPipe(Generic[T]):
    """Tasks of type `T`, and the results that are sent back."""

    def __init__(self, decoder: msgspec.msgpack.Decoder[T], results: BinaryIO) -> None:
        self._tasks: queue.SimpleQueue[T] = queue.SimpleQueue()
        self._results = results
        threading.Thread(target=_receive, args=(sys.stdin.buffer, decoder, self._tasks), daemon=True).start()

    @classmethod
    def claim(cls, decoder: msgspec.msgpack.Decoder[T]) -> Self:
        """Take over stdin and stdout.

        From here on the process exits at the end of stdin, so that it never outlives its parent, however that ends. It
        ignores SIGINT: Ctrl-C in a terminal signals every process, and only the parent decides what to do.
        """
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return cls(decoder, _claim_stdout())

    def receive(self) -> T:
        """Return the next task once there is one."""
        return self._tasks.get()

    def send(self, message: Struct) -> None:
        """Send a message to the parent."""
        view = memoryview(encode_frame(message))
        try:
            while view:
                view = view[self._results.write(view) :]
        except BrokenPipeError:
            os._exit(0)


def process_tasks(
    arguments: Sequence[str], decoder: msgspec.msgpack.Decoder[T], process: Callable[[T], Struct]
) -> NoReturn:
    """Process tasks until stdin ends, within the memory that the command line allows.

    Args:
        arguments: The command line without the program: `--memory-bytes N`.
        decoder: Of the tasks.
        process: Returns the result of a task; whatever a file does to a decoder is a result, too.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--memory-bytes", type=int, required=True)
    limit_own_memory(parser.parse_args(arguments).memory_bytes)
    pipe = TaskPipe.claim(decoder)
    discard_stderr()
    pipe.send(Ready())
    while True:
        pipe.send(process(pipe.receive()))


def discard_stderr() -> None:
    """Send what native libraries print about damaged files nowhere: stderr belongs to the parent's log."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def _claim_stdout() -> BinaryIO:
    """Return the pipe to the parent and redirect file descriptor 1 to stderr, because native libraries print to it."""
    private = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(private, "wb", buffering=0)


def _receive(stream: BinaryIO, decoder: msgspec.msgpack.Decoder[T], tasks: "queue.SimpleQueue[T]") -> NoReturn:
    """Queue tasks until stdin ends, then exit at once, also in the middle of a task."""
    try:
        while (task := read_frame(stream, decoder)) is not None:
            tasks.put(task)
    except FrameError:
        os._exit(1)
    os._exit(0)
