"""A process that owns one engine: `python -m pipeline.server.workers.worker --backend openvino --threads 2`.

Tasks come in on stdin, answers go out on what was stdout. It ends when stdin does, so it never outlives its parent,
whatever becomes of that.
"""

import argparse
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import BinaryIO, NoReturn, Protocol

from pipeline.engine.recognition import Recognition
from pipeline.engine.runtime import INSTALL_HINT, Backend, EngineName
from pipeline.errors import PageError, PagemillError
from pipeline.server.workers.frames import (
    Broken,
    FrameError,
    NotStarted,
    Ready,
    Task,
    Unreadable,
    WorkerFrame,
    encode_frame,
    read_task,
)
from pipeline.server.workers.sizing import LIMIT_BYTES, bound_own_memory


class SyncRecogniser(Protocol):
    """What a worker needs of an engine."""

    def recognise(self, image: bytes) -> Recognition:
        """Return what the image says, or raise a `PageError` when it cannot be decoded."""
        ...


def main(arguments: Sequence[str], *, start: Callable[[Backend, int, EngineName], SyncRecogniser | NotStarted]) -> None:
    """Load the engine, say so, and answer tasks until stdin ends.

    Args:
        arguments: The command line without the program.
        start: Loads the engine.
    """
    # Ctrl-C reaches every process of a terminal; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parser = argparse.ArgumentParser(prog="pipeline.server.workers.worker")
    parser.add_argument("--engine", choices=("accurate", "fast"), default="accurate")
    parser.add_argument("--backend", choices=("openvino", "onnxruntime", "cuda"), required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--memory-bytes", type=int, default=LIMIT_BYTES)
    options = parser.parse_args(arguments)
    bound_own_memory(options.memory_bytes)
    answers = _claim_stdout()
    tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(sys.stdin.buffer, tasks), daemon=True).start()
    engine = start(options.backend, options.threads, options.engine)
    if isinstance(engine, NotStarted):
        _send(answers, engine)
        return
    _send(answers, Ready())
    while True:
        _send(answers, answer(engine, tasks.get()))


def answer(engine: SyncRecogniser, task: Task) -> WorkerFrame:
    """Return the answer to a task; no task ends the worker."""
    try:
        return engine.recognise(task.image)
    except PageError as exc:
        return Unreadable(str(exc))
    except Exception as exc:  # noqa: BLE001 - a page that breaks the engine costs one answer, not the worker
        traceback.print_exc()
        return Broken(type(exc).__name__)


def start_engine(backend: Backend, threads: int, engine: EngineName = "accurate") -> SyncRecogniser | NotStarted:
    """Return an engine that has read a line of text, so that the first page finds it warm; or why there is none."""
    # OpenVINO reports its import to a web analytics service, and writes into the user's home for that, unless this
    # package cannot be imported. No page of an archive is anybody else's business.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        from pipeline.engine.engine import Engine  # noqa: PLC0415 - a missing package is an answer

        recogniser = Engine(backend, threads, engine)
        recogniser.recognise(_warm_up_image())
    except ImportError as exc:
        return NotStarted(f"the recognition engine cannot be imported ({exc}): {INSTALL_HINT}")
    except PagemillError as exc:
        return NotStarted(str(exc))
    except Exception as exc:  # noqa: BLE001 - native runtimes raise their own kinds; the parent reports it in a line
        traceback.print_exc()
        return NotStarted(f"the recognition engine does not load: {type(exc).__name__}")
    return recogniser


def _warm_up_image() -> bytes:
    from PIL import Image, ImageDraw, ImageFont  # noqa: PLC0415 - after the answer to a missing engine

    page = Image.new("RGB", (640, 200), "white")
    ImageDraw.Draw(page).text((40, 60), "Recognition is ready 0123456789", "black", ImageFont.load_default(32))
    buffer = BytesIO()
    page.save(buffer, "PNG")
    return buffer.getvalue()


def _claim_stdout() -> BinaryIO:
    """Return the pipe to the parent, and point fd 1 at stderr: native libraries print to 1, among the frames."""
    private = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(private, "wb", buffering=0)


def _receive(stream: BinaryIO, tasks: "queue.SimpleQueue[Task]") -> NoReturn:
    """Queue tasks until stdin ends, then end the process, in the middle of a page if need be."""
    try:
        while (task := read_task(stream)) is not None:
            tasks.put(task)
    except FrameError:
        os._exit(1)
    os._exit(0)


def _send(stream: BinaryIO, frame: WorkerFrame) -> None:
    view = memoryview(encode_frame(frame))
    try:
        while view:
            view = view[stream.write(view) :]
    except BrokenPipeError:
        os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:], start=start_engine)
