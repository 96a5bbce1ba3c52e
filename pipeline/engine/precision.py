"""Precision of the inference: the number format that the models compute in.

Left to itself, OpenVINO computes in bfloat16 on processors that have it, and in single precision elsewhere, so that the
text of a page depends on the machine. Here the format is a setting: "f32" gives the same text everywhere.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal

from pipeline.engine.runtime import Backend
from pipeline.errors import EngineError, UsageError

Precision = Literal["f32", "bf16"]
"""Single precision, and bfloat16, which OpenVINO alone computes in."""

HINT: Final = "INFERENCE_PRECISION_HINT"
"""OpenVINO's property; of a compiled model it is the precision that the model computes in."""

_CAPABILITIES: Final = "OPTIMIZATION_CAPABILITIES"
_NEEDED: Final = "BF16"


def require_supported(precision: Precision, backend: Backend) -> None:
    """Return when a runtime computes in a precision; whether the processor does, too, is asked where models load.

    Raises:
        UsageError: it does not.
    """
    if precision == "bf16" and backend != "openvino":
        raise UsageError(
            f'[serve] precision: the backend {backend} computes in f32 only; set precision = "f32", or '
            'backend = "openvino"'
        )


def require_native(precision: Precision, backend: Backend) -> None:
    """Return when this processor computes in this precision.

    Raises:
        UsageError: it has no bfloat16, which OpenVINO would silently replace by single precision.
    """
    if precision != "bf16" or backend != "openvino":
        return
    import openvino  # noqa: PLC0415 - only one of the two runtimes needs to be installed

    if _NEEDED not in openvino.Core().get_property("CPU", _CAPABILITIES):
        raise UsageError('[serve] precision: this processor does not compute in bf16; set precision = "f32"')


@contextmanager
def loading_in(precision: Precision, backend: Backend) -> Iterator[None]:
    """Let the models that RapidOCR loads inside this block compute in a precision.

    RapidOCR has no setting for it, and passes on to OpenVINO only the settings that it knows. Compiling its models a
    second time would take another 1.8 s of an engine's start.
    """
    if backend != "openvino":
        yield
        return
    from rapidocr.inference_engine.openvino.main import CPUConfig  # noqa: PLC0415 - imports OpenVINO

    original = CPUConfig.get_config
    CPUConfig.get_config = lambda config: original(config) | {HINT: precision}
    try:
        yield
    finally:
        CPUConfig.get_config = original


def check_compiled(request: Any, precision: Precision) -> None:  # noqa: ANN401 - OpenVINO has no types
    """Return when the model of OpenVINO's inference request computes in this precision.

    Raises:
        EngineError: it does not, as with a release of RapidOCR or OpenVINO that ignores the setting.
    """
    compiled = request.get_compiled_model().get_property(HINT).get_type_name()
    if compiled != precision:
        raise EngineError(f"[serve] precision: OpenVINO computes in {compiled} instead of {precision}")
