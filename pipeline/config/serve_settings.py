"""The settings of `pagemill serve` and the embedded engine; `settings` says what is made from them."""

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from pipeline.config.fields import Count, Seconds, Section, about


class ServeConfig(Section, frozen=True):
    """The API on this machine: `pagemill serve`, and the embedded engine."""

    host: Annotated[str, about("Address to listen on.", flag="--host", metavar="ADDRESS")] = "127.0.0.1"
    port: Annotated[
        Annotated[int, Meta(ge=0, le=65535)], about("Port; 0 takes a free one.", flag="--port", metavar="N")
    ] = 8080
    engine: Annotated[
        Literal["accurate", "fast"],
        about(
            "accurate: PP-OCRv6 tiny, and small for Chinese lines and lines that tiny is unsure of; fast: tiny alone.",
            flag="--engine",
        ),
    ] = "accurate"
    backend: Annotated[
        Literal["auto", "openvino", "onnxruntime", "cuda"],
        about("Inference runtime; auto prefers a GPU, then OpenVINO.", flag="--backend"),
    ] = "auto"
    precision: Annotated[
        Literal["f32", "bf16"],
        about(
            "Number format of the inference: f32 gives the same text on every machine; bf16 is faster, needs OpenVINO "
            "and a processor with bfloat16, and errs slightly more.",
            flag="--precision",
        ),
    ] = "f32"
    workers: Annotated[
        Count, about("Engine processes; 0 chooses by cores and memory.", flag="--workers", metavar="N")
    ] = 0
    keys: Annotated[
        Path | None,
        about(
            "File of the keys that `pagemill serve keys` makes, on a disk of this machine.",
            example="/var/lib/pagemill/serve-keys.sqlite3",
            unset="in the user's state directory",
        ),
    ] = None
    rate_per_s: Annotated[Seconds, about("Calls per second and burst of each key; the operator's has no limit.")] = 10.0
    allow_urls: Annotated[
        bool, about("Fetch images that callers name by URL, from public hosts only.", flag="--allow-urls")
    ] = False
