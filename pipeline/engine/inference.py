"""Run a model's file by the runtime in use, for the models that RapidOCR does not run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.engine.precision import HINT, Precision, check_compiled
from pipeline.engine.runtime import Backend

Infer = Callable[[NDArray[Any]], NDArray[Any]]
"""From a model's input, in the type that it takes, to its first output."""


def load_model(path: Path, backend: Backend, threads: int, precision: Precision) -> Infer:
    """Return the inference of a model with one input.

    Args:
        path: The model, in ONNX format.
        backend: The runtime; "cuda" runs these small models on the CPU.
        threads: Number of threads.
        precision: What OpenVINO computes in; ONNX Runtime always computes in single precision.

    Raises:
        EngineError: OpenVINO computes in another precision.
    """
    return _load_openvino(path, threads, precision) if backend == "openvino" else _load_onnxruntime(path, threads)


def _load_openvino(path: Path, threads: int, precision: Precision) -> Infer:
    import openvino  # noqa: PLC0415 - only one of the two runtimes needs to be installed

    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": str(threads), "ENABLE_CPU_PINNING": "False", HINT: precision}
    request = core.compile_model(core.read_model(path), "CPU", settings).create_infer_request()
    check_compiled(request, precision)

    def infer(batch: NDArray[Any]) -> NDArray[Any]:
        request.infer([batch])
        return np.array(request.get_output_tensor(0).data)

    return infer


def _load_onnxruntime(path: Path, threads: int) -> Infer:
    import onnxruntime  # noqa: PLC0415 - only one of the two runtimes needs to be installed

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda batch: np.asarray(session.run(None, {name: batch})[0])
