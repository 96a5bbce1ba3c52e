"""Every setting, described once: type, bounds, default, meaning, and the flag that sets it.

Flag help, the check of `PAGEMILL_*` variables, `config.example.toml`, `config show` and the documentation's table are
made from these fields.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from pipeline.config.cluster_settings import ClusterConfig
from pipeline.config.database_url import without_password
from pipeline.config.duration import parse_duration
from pipeline.config.fields import Count, Positive, Seconds, Section, about
from pipeline.config.input_settings import InputConfig, PrepareConfig
from pipeline.config.operate_settings import OperateConfig
from pipeline.config.serve_settings import ServeConfig

OPERATOR_KEY_VARIABLE: Final = "PAGEMILL_OPERATOR_KEY"
"""Environment variable with the server operator's own key, which has no quota."""

Tier = Literal["free", "basic", "pro", "ultra"]
TIER_CALLS: Final[Mapping[Tier, int | None]] = {"free": 30, "basic": 1_000, "pro": 5_000, "ultra": None}
"""Calls per month; None is unlimited. Source: the API's contract, "Monthly quota by tier"."""


_SEGMENT_BYTES: Final = 256 * 1024 * 1024

_SECRET: Final = (("api", "key_command"), ("api", "proxy"), ("operate", "ping_url"), ("operate", "notify_command"))
"""Settings that may contain a secret: whoever knows a ping URL can report a success."""


class ApiConfig(Section, frozen=True):
    """Which service is called. The key itself is never written here: set PAGEMILL_API_KEY, key_file or key_command."""

    url: Annotated[
        str | None,
        about(
            "Base URL of the service.",
            flag="--api-url",
            metavar="URL",
            example="https://llmocr.com",
            unset="https://llmocr.com with a key, the embedded engine without one",
        ),
    ] = None
    key_file: Annotated[
        Path | None,
        about(
            "File whose content is the API key.",
            flag="--api-key-file",
            metavar="FILE",
            example="/run/secrets/llmocr-key",
            unset="PAGEMILL_API_KEY or LLMOCR_API_KEY",
        ),
    ] = None
    key_command: Annotated[
        str | None,
        about(
            "Command that prints the API key, such as a password manager's.", example="pass show llmocr", unset="none"
        ),
    ] = None
    proxy: Annotated[
        str | None,
        about(
            "HTTP proxy for calls to the service, or none; never used for the embedded engine.",
            flag="--proxy",
            metavar="URL",
            example="http://proxy.example.org:3128",
            unset="HTTPS_PROXY or HTTP_PROXY, unless NO_PROXY exempts the host",
        ),
    ] = None
    timeout_s: Annotated[Seconds, about("Deadline of one call, in seconds.", flag="--timeout", metavar="SECONDS")] = (
        120.0
    )
    connect_timeout_s: Annotated[Seconds, about("Deadline for connecting, in seconds.")] = 10.0
    read_timeout_s: Annotated[
        Seconds | None,
        about(
            "Longest silence before and within a reply, in seconds.",
            example=60.0,
            unset="60 for the vendor; the deadline of the call for any other server, which may queue it",
        ),
    ] = None


class BudgetConfig(Section, frozen=True):
    """How many calls per month are made."""

    tier: Annotated[
        Tier | None,
        about(
            "The plan: free (30 calls per month), basic (1,000), pro (5,000) or ultra (unlimited).",
            flag="--tier",
            example="pro",
            unset="calls are counted, not limited",
        ),
    ] = None
    quota: Annotated[
        Count | None,
        about("Calls per month, instead of a tier.", flag="--quota", metavar="N", example=5000, unset="the tier's"),
    ] = None
    keep_for_others: Annotated[Count, about("Calls per month that pagemill leaves unused.")] = 0
    reset_day: Annotated[
        Annotated[int, Meta(ge=1, le=28)], about("Day of the month, 1 to 28, on which the plan's month begins.")
    ] = 1
    timezone: Annotated[str, about("Time zone in which the plan's month begins.")] = "UTC"
    count_failed_calls: Annotated[bool, about("Count a call that failed after it may have reached the service.")] = True
    ledger: Annotated[
        str | None,
        about(
            "Directory of the ledgers, one file per key; for runs on many machines, the URL of a PostgreSQL database.",
            flag="--ledger",
            metavar="DIR|URL",
            example="/var/lib/pagemill/ledger",
            unset="the user's state directory",
        ),
    ] = None

    @property
    def limit(self) -> int | None:
        """Calls that this key may make per month; None when they are counted, not limited."""
        plan = self.quota if self.quota is not None else TIER_CALLS[self.tier] if self.tier is not None else None
        return None if plan is None else max(0, plan - self.keep_for_others)


class RunConfig(Section, frozen=True):
    """How a run behaves."""

    jobs: Annotated[Positive, about("Pages in flight at a time.", flag="-j/--jobs", metavar="N")] = 8
    rate_per_s: Annotated[
        Seconds | None,
        about(
            "Calls per second at most.",
            flag="--rate",
            metavar="N",
            example=5.0,
            unset="the pace that the service permits",
        ),
    ] = None
    max_inflight_bytes: Annotated[Positive, about("Memory for pages in flight, in bytes.")] = 256 * 1024 * 1024
    retries: Annotated[
        Count, about("Further attempts after a failed one, per page.", flag="--retries", metavar="N")
    ] = 2
    patience_s: Annotated[Seconds, about("Stop when the service has refused every call for this long, in seconds.")] = (
        600.0
    )
    max_calls: Annotated[
        Count | None,
        about("Stop after this many calls.", flag="--max-calls", metavar="N", example=1000, unset="no bound"),
    ] = None
    max_duration: Annotated[
        float | str | None,
        about(
            "Stop after this time: seconds, or a number with s, m, h or d.",
            flag="--max-duration",
            metavar="TIME",
            example="8h",
            unset="no bound",
        ),
    ] = None
    max_failures: Annotated[
        Count | None,
        about(
            "Stop when more pages than this have failed.",
            flag="--max-failures",
            metavar="N",
            example=100,
            unset="no bound",
        ),
    ] = None
    spread: Annotated[
        bool,
        about(
            "Make tonight's share of the calls that are left in the month, so that they last for its nights; needs a "
            "tier or quota.",
            flag="--spread",
        ),
    ] = False
    limit: Annotated[
        Count | None,
        about("Take at most this many new files.", flag="--limit", metavar="N", example=100, unset="no bound"),
    ] = None
    positions: Annotated[
        bool,
        about(
            "Keep where each line is (`lines` in the records), as ALTO, hOCR, PAGE and PDF exports need it; calls the "
            "service's advanced endpoint, also for pages whose text has no positions yet.",
            flag="--positions",
        ),
    ] = False
    at_most_once: Annotated[
        bool,
        about("Never send a page again whose earlier call may have been billed.", flag="--at-most-once"),
    ] = False

    @property
    def max_duration_s(self) -> float | None:
        """`max_duration` in seconds."""
        return None if self.max_duration is None else parse_duration(self.max_duration)


class OutputConfig(Section, frozen=True):
    """How results.jsonl is kept."""

    compression: Annotated[
        Literal["none", "zstd"],
        about(
            "Compress records when their file is closed, at the latest at the end of the run, as "
            "`results-000001.jsonl.zst` and so on, in zstd's seekable format; all commands read them (extra `zstd`)."
        ),
    ] = "none"
    rotate_bytes: Annotated[
        Count | None,
        about(
            "Close results.jsonl as `results-000001.jsonl` and so on when it has this many bytes; 0 for never.",
            example=268435456,
            unset="256 MiB with compression, never without",
        ),
    ] = None

    @property
    def segment_bytes(self) -> int | None:
        """The size at which a file is closed during a run; None for no size."""
        unset = _SEGMENT_BYTES if self.compression != "none" else 0
        return (unset if self.rotate_bytes is None else self.rotate_bytes) or None

    @property
    def joined_bytes(self) -> int:
        """Small compressed segments become one file up to this size of their lines."""
        return self.rotate_bytes or _SEGMENT_BYTES


class LogConfig(Section, frozen=True):
    """What is logged to stderr, and by runs to a file."""

    level: Annotated[Literal["debug", "info", "warning", "error"], about("Lowest level that is logged.")] = "info"
    format: Annotated[Literal["text", "json"], about("Log format.", flag="--log-format")] = "text"
    file: Annotated[
        Path | None,
        about(
            "Append the log of a run to this file, too, whatever -q leaves out on stderr; it may be rotated meanwhile.",
            flag="--log-file",
            metavar="FILE",
            example="/var/log/pagemill/scans.jsonl",
            unset="none",
        ),
    ] = None
    file_format: Annotated[Literal["text", "json"], about("Format of that file.")] = "json"


class Config(Section, frozen=True):
    """All settings, by section."""

    api: ApiConfig = ApiConfig()
    budget: BudgetConfig = BudgetConfig()
    run: RunConfig = RunConfig()
    input: InputConfig = InputConfig()
    prepare: PrepareConfig = PrepareConfig()
    output: OutputConfig = OutputConfig()
    log: LogConfig = LogConfig()
    operate: OperateConfig = OperateConfig()
    cluster: ClusterConfig = ClusterConfig()
    serve: ServeConfig = ServeConfig()

    def without_secrets(self) -> dict[str, dict[str, Any]]:
        """Return all settings as plain values; those that may contain a secret are masked."""
        settings: dict[str, dict[str, Any]] = msgspec.to_builtins(self, enc_hook=str)
        for section, name in _SECRET:
            if settings[section][name] is not None:
                settings[section][name] = "(set)"
        if self.budget.ledger is not None:
            settings["budget"]["ledger"] = without_password(self.budget.ledger)
        return settings
