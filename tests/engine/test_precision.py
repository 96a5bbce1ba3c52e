"""The number format that the models compute in."""

import inspect
from typing import Any

import pytest
import rapidocr
from rapidocr.inference_engine.onnxruntime import provider_config
from rapidocr.inference_engine.openvino.main import CPUConfig

from pipeline.engine.engine import Engine, runtime_settings
from pipeline.engine.precision import HINT, Precision, check_compiled, loading_in, require_supported
from pipeline.engine.runtime import CUDA_PROVIDER, Backend
from pipeline.errors import EngineError, UsageError
from tests.rendering import encode, render

BACKENDS: tuple[Backend, ...] = ("onnxruntime", "cuda")
LINES = ("The same text", "同样的文字")


class FakeRequest:
    """An inference request of a model that was compiled in a precision."""

    def __init__(self, compiled: str) -> None:
        self._compiled = compiled

    def get_compiled_model(self) -> "FakeRequest":
        return self

    def get_property(self, name: str) -> "FakeRequest":
        assert name == HINT
        return self

    def get_type_name(self) -> str:
        return self._compiled


def has_bfloat16() -> bool:
    import openvino  # noqa: PLC0415 - takes half a second, which only the tests of the engine need

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def compiled_precisions(engine: Engine) -> list[str]:
    """Return the precision of the detector, the recognisers and the orientation classifier."""
    reader = engine._reader
    lines = [reader._quick, *([reader._careful] if reader._careful else [])]
    sessions: list[Any] = [engine._ocr.text_det.session, *(each._read.__self__.session for each in lines)]  # type: ignore[attr-defined]
    request = inspect.getclosurevars(engine._orientation._model._infer).nonlocals["request"]
    requests = [*(session.session for session in sessions), request]
    return [each.get_compiled_model().get_property(HINT).get_type_name() for each in requests]


@pytest.mark.engine
def test_every_model_computes_in_single_precision_unless_asked_otherwise() -> None:
    engine = Engine("openvino", 1)
    assert compiled_precisions(engine) == ["f32"] * 4
    recognition = engine.recognise(encode(render(*LINES)))
    assert (recognition.text, recognition.precision) == ("\n".join(LINES), "f32")


@pytest.mark.engine
def test_bfloat16_is_used_on_request_where_the_processor_has_it_and_refused_elsewhere() -> None:
    """OpenVINO would compute in single precision without a word."""
    if not has_bfloat16():
        with pytest.raises(UsageError, match=r"^\[serve\] precision: this processor does not compute in bf16"):
            Engine("openvino", 1, "fast", "bf16")
        return
    engine = Engine("openvino", 1, "accurate", "bf16")
    assert compiled_precisions(engine) == ["bf16"] * 4
    assert engine.recognise(encode(render(*LINES))).precision == "bf16"


@pytest.mark.engine
def test_onnxruntime_computes_in_single_precision() -> None:
    engine = Engine("onnxruntime", 1, "fast")
    assert engine.recognise(encode(render(*LINES))).precision == "f32"


def test_a_gpu_does_not_round_single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime would compute in TensorFloat-32, and a page's text depend on the machine."""
    monkeypatch.setattr(provider_config, "get_available_providers", lambda: [CUDA_PROVIDER, "CPUExecutionProvider"])
    monkeypatch.setattr(provider_config, "get_device", lambda: "GPU")
    settings = rapidocr.RapidOCR(params=runtime_settings("cuda", 1)).cfg.EngineConfig.onnxruntime
    (name, options), _ = provider_config.ProviderConfig(settings).get_ep_list()
    assert name == CUDA_PROVIDER
    assert options["use_tf32"] is False


def test_only_openvino_computes_in_bfloat16() -> None:
    require_supported("bf16", "openvino")
    for backend in BACKENDS:
        require_supported("f32", backend)
        with pytest.raises(UsageError, match=rf"^\[serve\] precision: the backend {backend} computes in f32 only"):
            require_supported("bf16", backend)


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_rapidocr_passes_the_precision_on_while_an_engine_loads(precision: Precision) -> None:
    """It drops settings that it does not know; another engine of the process may want another precision."""
    assert HINT not in CPUConfig({}).get_config()
    with loading_in(precision, "openvino"):
        settings = CPUConfig({"enable_cpu_pinning": False}).get_config()
        assert settings == {HINT: precision, "ENABLE_CPU_PINNING": "False"}
    assert HINT not in CPUConfig({}).get_config()


def test_a_model_in_another_precision_is_an_error() -> None:
    check_compiled(FakeRequest("f32"), "f32")
    with pytest.raises(EngineError, match="OpenVINO computes in bf16 instead of f32"):
        check_compiled(FakeRequest("bf16"), "f32")
