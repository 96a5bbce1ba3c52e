"""The settings for nightly runs: metrics, pings, a command at the end; the others are in `settings`."""

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from pipeline.config.duration import parse_duration
from pipeline.config.fields import Section, about


class OperateConfig(Section, frozen=True):
    """Who is told of a run: Prometheus, a monitor of cron jobs, a command. None of them can fail or hold up a run."""

    metrics_file: Annotated[
        Path | None,
        about(
            "Write metrics for Prometheus' node exporter to this file, replaced as a whole; one file per workspace.",
            flag="--metrics-file",
            metavar="FILE",
            example="/var/lib/node_exporter/pagemill-scans.prom",
            unset="none",
        ),
    ] = None
    metrics_port: Annotated[
        Annotated[int, Meta(ge=0, le=65535)] | None,
        about(
            "Serve the same metrics on this port during the run; 0 takes a free one.",
            flag="--metrics-port",
            metavar="N",
            example=9464,
            unset="none",
        ),
    ] = None
    metrics_host: Annotated[str, about("Address for `metrics_port`.")] = "127.0.0.1"
    ping_url: Annotated[
        str | None,
        about(
            "Tell a monitor such as healthchecks.io when a run begins (URL/start), succeeds (URL) or fails (URL/fail).",
            flag="--ping-url",
            metavar="URL",
            example="https://hc-ping.com/8d5fcb3e-0b1a-4c0e-9a43-9a7e2f3b1c55",
            unset="none",
        ),
    ] = None
    notify_command: Annotated[
        str | None,
        about(
            "Run this command, without a shell, when a run has ended, with the summary as JSON on stdin; it has 30 s.",
            flag="--notify-command",
            metavar="COMMAND",
            example="/usr/local/bin/mail-summary operator@example.org",
            unset="none",
        ),
    ] = None
    stats: Annotated[
        float | str | None,
        about(
            "Log the counters of the run this often, also beside a bar: seconds, or a number with s, m, h or d.",
            flag="--stats",
            metavar="TIME",
            example="10s",
            unset="once per minute where no bar is drawn",
        ),
    ] = None

    @property
    def stats_s(self) -> float | None:
        """`stats` in seconds."""
        return None if self.stats is None else parse_duration(self.stats)
