"""The engines that are compared: ours, RapidOCR with its defaults, and Tesseract as Debian packages it."""

import os
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from io import BytesIO

from PIL import Image

from pipeline.engine.precision import Precision
from pipeline.engine.runtime import EngineName
from pipeline.errors import EngineError, UsageError

Read = Callable[[bytes], str]
"""Returns the text of an encoded image."""

TESSERACT_LANGUAGES = ("eng", "chi_sim")
TESSERACT_TIMEOUT_S = 300


def load_ours(name: EngineName = "accurate", precision: Precision = "f32") -> Read:
    """Return an engine of `pagemill serve`, with all other settings at their defaults.

    Raises:
        EngineError: this processor does not compute in the precision.
    """
    from pipeline.engine.engine import Engine  # noqa: PLC0415 - takes seconds to load

    try:
        engine = Engine("openvino", os.cpu_count() or 1, name, precision)
    except UsageError as exc:
        raise EngineError(f"{name} in {precision}: {exc}") from exc
    return lambda image: engine.recognise(image).text


def load_rapidocr() -> Read:
    """Return RapidOCR with its default settings; lines are joined in the order in which it returns them."""
    from rapidocr import RapidOCR  # noqa: PLC0415 - takes seconds to load

    engine = RapidOCR(params={"Global.log_level": "error"})
    return lambda image: "\n".join(engine(image).txts or ())


def load_tesseract() -> Read:
    """Return Tesseract for English and Chinese.

    `preserve_interword_spaces` keeps it from inserting a space between any two Chinese characters.

    Raises:
        EngineError: the program or a language is not installed; the message gives the command that installs it.
    """
    languages = _tesseract_languages()
    missing = [f"tesseract-ocr-{name.replace('_', '-')}" for name in TESSERACT_LANGUAGES if name not in languages]
    if missing:
        raise EngineError(f"Tesseract is missing: apt-get install tesseract-ocr {' '.join(missing)}")
    # Its OpenMP threads busy-wait: on two cores, four of them take several times as long as one.
    environ = {**os.environ, "OMP_THREAD_LIMIT": "1"}
    options = ["-l", "+".join(TESSERACT_LANGUAGES), "-c", "preserve_interword_spaces=1"]

    def read(image: bytes) -> str:
        command = ["tesseract", "stdin", "stdout", *options]
        return subprocess.run(
            command, input=image, check=True, capture_output=True, timeout=TESSERACT_TIMEOUT_S, env=environ
        ).stdout.decode()

    return read


ENGINES: dict[str, Callable[[], Read]] = {
    "ours": load_ours,
    "bf16": partial(load_ours, "accurate", "bf16"),
    "fast": partial(load_ours, "fast"),
    "rapidocr": load_rapidocr,
    "tesseract": load_tesseract,
}

"""By name; "bf16" is ours in bfloat16."""


def usual_engines() -> list[str]:
    """Return the names of the engines that run on this machine; "bf16" where the processor has it."""
    from pipeline.engine.precision import require_native  # noqa: PLC0415 - asks OpenVINO

    try:
        require_native("bf16", "openvino")
    except UsageError:
        return [name for name in ENGINES if name != "bf16"]
    return list(ENGINES)


def encode_png(picture: Image.Image) -> bytes:
    """Return a picture as a PNG, which every engine reads."""
    buffer = BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _tesseract_languages() -> list[str]:
    if shutil.which("tesseract") is None:
        return []
    command = ["tesseract", "--list-langs"]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.split()
