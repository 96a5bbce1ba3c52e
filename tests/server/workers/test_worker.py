"""One worker process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.convert.command import child_environ, module_command
from pipeline.convert.frames import encode_frame
from pipeline.engine.recognition import Recognition, RecognitionError
from pipeline.engine.runtime import INSTALL_HINT
from pipeline.errors import EngineError, NotAnImageError
from pipeline.server.workers.frames import WORKER_FRAME, EngineFailed, NotStarted, Task, Undecodable
from pipeline.server.workers.process import WorkerProcess
from pipeline.server.workers.worker import process_task, start_engine

COMMAND = module_command("tests.server.scripted_worker", "--backend", "openvino", "--threads", "1")


class FailingEngine:
    """Raises an error for every image."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def recognise(self, image: bytes) -> Recognition:
        """Raise the error."""
        raise self.error


async def start_worker() -> WorkerProcess:
    worker = await WorkerProcess.spawn(COMMAND, WORKER_FRAME)
    await worker.wait_until_ready()
    return worker


async def test_a_failing_page_does_not_end_the_worker() -> None:
    worker = await start_worker()
    assert await worker.run_task("第一页".encode()) == Recognition("第一页")
    assert await worker.run_task(b"unreadable") == Undecodable("the image is truncated or damaged")
    assert await worker.run_task(b"broken") == EngineFailed("ZeroDivisionError")
    assert await worker.run_task(b"next") == Recognition("next")
    assert repr(worker) == f"<WorkerProcess {worker.pid}, alive>"
    await worker.end()
    assert repr(worker) == f"<WorkerProcess {worker.pid}, exit 0>"


async def test_output_of_native_libraries_does_not_corrupt_the_frames() -> None:
    worker = await start_worker()
    assert await worker.run_task(b"noise") == Recognition("noise")
    await worker.end()


async def test_a_worker_ignores_ctrl_c() -> None:
    worker = await start_worker()
    os.kill(worker.pid, signal.SIGINT)
    assert await worker.run_task(b"still here") == Recognition("still here")
    await worker.end()


def test_the_end_of_stdin_ends_a_worker_in_the_middle_of_a_page() -> None:
    process = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=child_environ(os.environ))
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.read(4)
    process.stdin.write(encode_frame(Task(b"hang")))
    process.stdin.flush()
    time.sleep(0.2)  # by now the worker reads the page; if not, the test passes more easily, not less
    assert process.poll() is None
    process.stdin.close()
    assert process.wait(timeout=5) == 0
    process.stdout.close()


async def test_a_worker_that_does_not_start_is_an_engine_error() -> None:
    worker = await WorkerProcess.spawn([*COMMAND, "--fail"], WORKER_FRAME)
    with pytest.raises(EngineError, match="a recognition worker does not start"):
        await worker.wait_until_ready()
    await worker.end()


async def test_a_dead_worker_is_a_recognition_error() -> None:
    worker = await start_worker()
    worker.kill()
    with pytest.raises(RecognitionError, match="died"):
        await worker.run_task(b"anybody there?")
    await worker.end()


async def test_no_key_reaches_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PAGEMILL_OPERATOR_KEY", "PAGEMILL_API_KEY", "LLMOCR_API_KEY", "UNRELATED"):
        monkeypatch.setenv(name, "value")
    worker = await start_worker()
    recognition = await worker.run_task(b"environment")
    await worker.end()
    assert isinstance(recognition, Recognition)
    names = recognition.text.splitlines()
    assert "UNRELATED" in names
    assert not [name for name in names if "KEY" in name]


def test_errors_of_the_page_and_of_the_engine_are_different_messages() -> None:
    assert process_task(FailingEngine(NotAnImageError("no image")), Task(b"")) == Undecodable("no image")
    assert process_task(FailingEngine(OSError("internal path")), Task(b"")) == EngineFailed("OSError")


def test_a_missing_package_is_reported_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package may be removed after the check at start-up."""
    monkeypatch.setitem(sys.modules, "pipeline.engine.engine", None)
    frame = start_engine("openvino", 1)
    assert isinstance(frame, NotStarted)
    assert frame.message.endswith(INSTALL_HINT)


def test_a_folder_named_pipeline_in_the_current_directory_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "pipeline"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('the wrong pipeline')")
    monkeypatch.chdir(tmp_path)
    done = subprocess.run(
        module_command("pipeline.server.workers.worker", "--help"),
        check=False,
        capture_output=True,
        env=child_environ(os.environ),
    )
    assert done.returncode == 0, done.stderr
