"""A process that owns one engine: `python -m pipeline.server.workers.worker --backend openvino --threads 2`.

It reads tasks from stdin and writes results to its original stdout. It exits at the end of stdin, so that it never
outlives its parent, however the parent ends.
"""

import argparse
import sys
import traceback
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Protocol

from pipeline.convert.child import TaskPipe
from pipeline.convert.frames import Ready
from pipeline.convert.resources import limit_own_memory
from pipeline.engine.precision import Precision
from pipeline.engine.recognition import Recognition
from pipeline.engine.runtime import INSTALL_HINT, Backend, EngineName
from pipeline.errors import PageError, PagemillError, UsageError
from pipeline.server.workers.frames import TASK, EngineFailed, NotStarted, Task, Undecodable, WorkerFrame
from pipeline.server.workers.resources import MEMORY_LIMIT_BYTES


class SyncRecogniser(Protocol):
    """The engine, as a worker uses it."""

    def recognise(self, image: bytes) -> Recognition:
        """Return the text of the image, or raise a `PageError` when the image cannot be decoded."""
        ...


StartEngine = Callable[[Backend, int, EngineName, Precision], SyncRecogniser | NotStarted]
"""Loads an engine, or returns why it cannot be loaded."""


def main(arguments: Sequence[str], *, start: StartEngine) -> None:
    """Load the engine, report that it has loaded, and process tasks until stdin ends.

    Args:
        arguments: The command line without the program.
        start: Loads the engine.
    """
    parser = argparse.ArgumentParser(prog="pipeline.server.workers.worker")
    parser.add_argument("--engine", choices=("accurate", "fast"), default="accurate")
    parser.add_argument("--backend", choices=("openvino", "onnxruntime", "cuda"), required=True)
    parser.add_argument("--precision", choices=("f32", "bf16"), default="f32")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--memory-bytes", type=int, default=MEMORY_LIMIT_BYTES)
    options = parser.parse_args(arguments)
    limit_own_memory(options.memory_bytes)
    pipe = TaskPipe.claim(TASK)
    engine = start(options.backend, options.threads, options.engine, options.precision)
    if isinstance(engine, NotStarted):
        pipe.send(engine)
        return
    pipe.send(Ready())
    while True:
        pipe.send(process_task(engine, pipe.receive()))


def process_task(engine: SyncRecogniser, task: Task) -> WorkerFrame:
    """Return the result of a task; an exception becomes a message, so that no task ends the worker."""
    try:
        return engine.recognise(task.image)
    except PageError as exc:
        return Undecodable(str(exc))
    except Exception as exc:  # noqa: BLE001 - any failure of the engine fails this page only
        traceback.print_exc()
        return EngineFailed(type(exc).__name__)


def start_engine(
    backend: Backend, threads: int, engine: EngineName = "accurate", precision: Precision = "f32"
) -> SyncRecogniser | NotStarted:
    """Load an engine and warm it up with a line of text; return it, or the reason why it cannot be loaded."""
    # OpenVINO reports its import to a web analytics service, and writes to the user's home directory for that, unless
    # this package cannot be imported.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        from pipeline.engine.engine import Engine  # noqa: PLC0415 - a missing package is reported as a message

        recogniser = Engine(backend, threads, engine, precision)
        recogniser.recognise(_warm_up_image())
    except ImportError as exc:
        return NotStarted(f"the recognition engine cannot be imported ({exc}): {INSTALL_HINT}")
    except PagemillError as exc:
        return NotStarted(str(exc), is_setting_wrong=isinstance(exc, UsageError))
    except Exception as exc:  # noqa: BLE001 - native runtimes raise their own classes; the parent reports one line
        traceback.print_exc()
        return NotStarted(f"the recognition engine does not load: {type(exc).__name__}")
    return recogniser


def _warm_up_image() -> bytes:
    from PIL import Image, ImageDraw, ImageFont  # noqa: PLC0415 - after the check for a missing engine

    page = Image.new("RGB", (640, 200), "white")
    ImageDraw.Draw(page).text((40, 60), "Recognition is ready 0123456789", "black", ImageFont.load_default(32))
    buffer = BytesIO()
    page.save(buffer, "PNG")
    return buffer.getvalue()


if __name__ == "__main__":
    main(sys.argv[1:], start=start_engine)
