"""Every setting, described once: type, bounds, default, meaning, and the flag that sets it.

Flag help, the check of `PAGEMILL_*` variables, `config.example.toml`, `config show` and the documentation's table are
made from these fields.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from pipeline.config.duration import parse_duration

OPERATOR_KEY_VARIABLE: Final = "PAGEMILL_OPERATOR_KEY"
"""Environment variable with the server operator's own key, which has no quota."""

Tier = Literal["free", "basic", "pro", "ultra"]
TIER_CALLS: Final[Mapping[Tier, int | None]] = {"free": 30, "basic": 1_000, "pro": 5_000, "ultra": None}
"""Calls per month; None is unlimited. Source: the API's contract, "Monthly quota by tier"."""

Seconds = Annotated[float, Meta(gt=0, le=1e9)]
Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]


def _about(
    description: str, *, flag: str | None = None, metavar: str | None = None, example: object = None, unset: str = ""
) -> Meta:
    """Describe a setting.

    Args:
        description: One or two sentences for help and documentation.
        flag: The flag that sets it, as click spells it: "-j/--jobs", or "--dedup/--no-dedup" for a switch.
        metavar: What the flag's value is called in help; by default its type.
        example: For a setting without a default: the value that the example file shows.
        unset: For a setting without a default: what happens when it is not set.
    """
    return Meta(description=description, extra={"flag": flag, "metavar": metavar, "example": example, "unset": unset})


class _Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the configuration file."""


class ApiConfig(_Section, frozen=True):
    """Which service is called. The key itself is never written here: set PAGEMILL_API_KEY, key_file or key_command."""

    url: Annotated[
        str | None,
        _about(
            "Base URL of the service.",
            flag="--api-url",
            metavar="URL",
            example="https://llmocr.com",
            unset="https://llmocr.com with a key, the embedded engine without one",
        ),
    ] = None
    key_file: Annotated[
        Path | None,
        _about(
            "File whose content is the API key.",
            flag="--api-key-file",
            metavar="FILE",
            example="/run/secrets/llmocr-key",
            unset="PAGEMILL_API_KEY or LLMOCR_API_KEY",
        ),
    ] = None
    key_command: Annotated[
        str | None,
        _about(
            "Command that prints the API key, such as a password manager's.", example="pass show llmocr", unset="none"
        ),
    ] = None
    proxy: Annotated[
        str | None,
        _about(
            "HTTP proxy for calls to the service, or none; never used for the embedded engine.",
            flag="--proxy",
            metavar="URL",
            example="http://proxy.example.org:3128",
            unset="HTTPS_PROXY or HTTP_PROXY, unless NO_PROXY exempts the host",
        ),
    ] = None
    timeout_s: Annotated[Seconds, _about("Deadline of one call, in seconds.", flag="--timeout", metavar="SECONDS")] = (
        120.0
    )
    connect_timeout_s: Annotated[Seconds, _about("Deadline for connecting, in seconds.")] = 10.0
    read_timeout_s: Annotated[Seconds, _about("Longest silence while a reply is read, in seconds.")] = 60.0


class BudgetConfig(_Section, frozen=True):
    """How many calls per month are made."""

    tier: Annotated[
        Tier | None,
        _about(
            "The plan: free (30 calls per month), basic (1,000), pro (5,000) or ultra (unlimited).",
            flag="--tier",
            example="pro",
            unset="calls are counted, not limited",
        ),
    ] = None
    quota: Annotated[
        Count | None,
        _about("Calls per month, instead of a tier.", flag="--quota", metavar="N", example=5000, unset="the tier's"),
    ] = None
    keep_for_others: Annotated[Count, _about("Calls per month that pagemill leaves unused.")] = 0
    reset_day: Annotated[
        Annotated[int, Meta(ge=1, le=28)], _about("Day of the month, 1 to 28, on which the plan's month begins.")
    ] = 1
    timezone: Annotated[str, _about("Time zone in which the plan's month begins.")] = "UTC"
    count_failed_calls: Annotated[bool, _about("Count a call that failed after it may have reached the service.")] = (
        True
    )
    ledger: Annotated[
        str | None,
        _about(
            "Directory of the ledgers, one file per key.",
            flag="--ledger",
            metavar="DIR",
            example="/var/lib/pagemill/ledger",
            unset="the user's state directory",
        ),
    ] = None

    @property
    def limit(self) -> int | None:
        """Calls that this key may make per month; None when they are counted, not limited."""
        plan = self.quota if self.quota is not None else TIER_CALLS[self.tier] if self.tier is not None else None
        return None if plan is None else max(0, plan - self.keep_for_others)


class RunConfig(_Section, frozen=True):
    """How a run behaves."""

    jobs: Annotated[Positive, _about("Pages in flight at a time.", flag="-j/--jobs", metavar="N")] = 8
    rate_per_s: Annotated[
        Seconds | None,
        _about(
            "Calls per second at most.",
            flag="--rate",
            metavar="N",
            example=5.0,
            unset="the pace that the service permits",
        ),
    ] = None
    max_inflight_bytes: Annotated[Positive, _about("Memory for pages in flight, in bytes.")] = 256 * 1024 * 1024
    retries: Annotated[
        Count, _about("Further attempts after a failed one, per page.", flag="--retries", metavar="N")
    ] = 2
    patience_s: Annotated[
        Seconds, _about("Stop when the service has refused every call for this long, in seconds.")
    ] = 600.0
    max_calls: Annotated[
        Count | None,
        _about("Stop after this many calls.", flag="--max-calls", metavar="N", example=1000, unset="no bound"),
    ] = None
    max_duration: Annotated[
        float | str | None,
        _about(
            "Stop after this time: seconds, or a number with s, m, h or d.",
            flag="--max-duration",
            metavar="TIME",
            example="8h",
            unset="no bound",
        ),
    ] = None
    max_failures: Annotated[
        Count | None,
        _about(
            "Stop when more pages than this have failed.",
            flag="--max-failures",
            metavar="N",
            example=100,
            unset="no bound",
        ),
    ] = None
    limit: Annotated[
        Count | None,
        _about("Take at most this many new files.", flag="--limit", metavar="N", example=100, unset="no bound"),
    ] = None
    at_most_once: Annotated[
        bool,
        _about("Never send a page again whose earlier call may have been billed.", flag="--at-most-once"),
    ] = False

    @property
    def max_duration_s(self) -> float | None:
        """`max_duration` in seconds."""
        return None if self.max_duration is None else parse_duration(self.max_duration)


class InputConfig(_Section, frozen=True):
    """Which files are pages."""

    include: Annotated[
        tuple[str, ...],
        _about(
            "Globs of the files to take from directories, instead of all image suffixes.",
            flag="--include",
            metavar="GLOB",
        ),
    ] = ()
    exclude: Annotated[
        tuple[str, ...],
        _about("Globs of files and directories to leave out.", flag="--exclude", metavar="GLOB"),
    ] = ()
    column: Annotated[
        str | None,
        _about(
            "Column of manifests that names the page.",
            flag="--column",
            metavar="NAME",
            example="scan",
            unset="the first of path, file, file_name, filename, image_path, image and url",
        ),
    ] = None
    follow_symlinks: Annotated[bool, _about("Follow symbolic links inside directories.", flag="--follow-symlinks")] = (
        False
    )
    changed_by: Annotated[
        Literal["mtime", "sha256"],
        _about("How a changed file is recognised: by size and time, or by reading every file.", flag="--changed-by"),
    ] = "mtime"


class PrepareConfig(_Section, frozen=True):
    """What the service accepts, and how pages are made to fit."""

    max_edge_px: Annotated[Annotated[int, Meta(ge=100)], _about("Longest edge; larger pages are scaled down.")] = 4000
    min_edge_px: Annotated[Positive, _about("Shortest edge; smaller pages are padded with white.")] = 100
    max_bytes: Annotated[
        Annotated[int, Meta(ge=10_000)], _about("Largest image file, in bytes; larger ones are encoded again.")
    ] = 10_000_000
    max_pixels: Annotated[
        Positive, _about("Most pixels of an image that is decoded; memory and time per page grow with it.")
    ] = 300_000_000
    jpeg_quality: Annotated[
        Annotated[int, Meta(ge=50, le=100)], _about("JPEG quality of pages that are encoded again, 50 to 100.")
    ] = 92
    orient: Annotated[bool, _about("Turn pages upright by their EXIF orientation.")] = True
    dedup: Annotated[
        bool, _about("Send the same content once; copies take over its text.", flag="--dedup/--no-dedup")
    ] = True


class LogConfig(_Section, frozen=True):
    """What is logged to stderr."""

    level: Annotated[Literal["debug", "info", "warning", "error"], _about("Lowest level that is logged.")] = "info"
    format: Annotated[Literal["text", "json"], _about("Log format.", flag="--log-format")] = "text"


class ServeConfig(_Section, frozen=True):
    """The API on this machine: `pagemill serve`, and the embedded engine."""

    host: Annotated[str, _about("Address to listen on.", flag="--host", metavar="ADDRESS")] = "127.0.0.1"
    port: Annotated[
        Annotated[int, Meta(ge=0, le=65535)], _about("Port; 0 takes a free one.", flag="--port", metavar="N")
    ] = 8080
    engine: Annotated[
        Literal["accurate", "fast"],
        _about(
            "accurate: PP-OCRv6 tiny, and small for Chinese lines and lines that tiny is unsure of; fast: tiny alone.",
            flag="--engine",
        ),
    ] = "accurate"
    backend: Annotated[
        Literal["auto", "openvino", "onnxruntime", "cuda"],
        _about("Inference runtime; auto prefers a GPU, then OpenVINO.", flag="--backend"),
    ] = "auto"
    workers: Annotated[
        Count, _about("Engine processes; 0 chooses by cores and memory.", flag="--workers", metavar="N")
    ] = 0
    keys: Annotated[
        Path | None,
        _about(
            "File of the keys that `pagemill serve keys` makes, on a disk of this machine.",
            example="/var/lib/pagemill/serve-keys.sqlite3",
            unset="in the user's state directory",
        ),
    ] = None
    rate_per_s: Annotated[Seconds, _about("Calls per second and burst of each key; the operator's has no limit.")] = (
        10.0
    )
    allow_urls: Annotated[
        bool, _about("Fetch images that callers name by URL, from public hosts only.", flag="--allow-urls")
    ] = False


class Config(_Section, frozen=True):
    """All settings, by section."""

    api: ApiConfig = ApiConfig()
    budget: BudgetConfig = BudgetConfig()
    run: RunConfig = RunConfig()
    input: InputConfig = InputConfig()
    prepare: PrepareConfig = PrepareConfig()
    log: LogConfig = LogConfig()
    serve: ServeConfig = ServeConfig()

    def without_secrets(self) -> dict[str, dict[str, Any]]:
        """Return all settings as plain values; `key_command` and `proxy` are masked: they may contain a secret."""
        settings: dict[str, dict[str, Any]] = msgspec.to_builtins(self, enc_hook=str)
        for name in ("key_command", "proxy"):
            if settings["api"][name] is not None:
                settings["api"][name] = "(set)"
        return settings
