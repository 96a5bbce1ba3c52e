"""A run's metrics for Prometheus: as a file for the node exporter's textfile collector, or on a port during the run.

Every metric has the label `workspace`: the node exporter drops all files as soon as two of them hold the same series,
and takes a metric from several files only with the same HELP text (node_exporter #1600, #1885). The run's id is in an
info metric alone, so that a night adds one series.
"""

import errno
import socketserver
import threading
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from http.server import ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar, Final

import anyio.to_thread
from prometheus_client import CollectorRegistry, MetricsHandler
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pipeline.batch.observers import Ended, Observer, Start
from pipeline.batch.progress import Snapshot
from pipeline.batch.summary import Summary
from pipeline.errors import UsageError, WorkspaceLockedError
from pipeline.records import State
from pipeline.storage.files import replace_file
from pipeline.wire import replace_surrogates
from pipeline.workspace.run_file import RunFile, read_run_file

_FILE_EVERY_S: Final = 15.0
_PORT_EVERY_S: Final = 1.0
_POLL_S: Final = 0.1
_LABELS: Final = ("workspace",)


class RunMetrics(Collector):
    """The metrics of a run, made from its latest snapshot; those of its end are the last run's until then."""

    def __init__(self) -> None:
        self._workspace = ""
        self._start: Start | None = None
        self._last: RunFile | None = None
        self._snapshot: Snapshot | None = None
        self._ended: tuple[Ended, datetime] | None = None
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def __repr__(self) -> str:
        return f"<RunMetrics {self._workspace}>"

    @property
    def registry(self) -> CollectorRegistry:
        """A registry that holds nothing else."""
        return self._registry

    def begin(self, start: Start) -> None:
        """Note a run that begins, and how the last one ended."""
        self._workspace, self._start = replace_surrogates(str(start.workspace.absolute())), start
        try:
            self._last = read_run_file(start.workspace)
        except UsageError:
            self._last = None

    def see(self, snapshot: Snapshot) -> None:
        """Note the counters."""
        self._snapshot = snapshot

    def end(self, ended: Ended) -> None:
        """Note how the run ended."""
        self._ended = ended, datetime.now(UTC)

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        """Yield the current values."""
        if self._start is None:
            return
        yield self._gauge("run_active", "1 while a run is under way.", int(self._ended is None))
        moment = self._start.moment.timestamp()
        yield self._gauge("run_start_timestamp_seconds", "When the latest run began, in Unix time.", moment)
        info = GaugeMetricFamily(
            "pagemill_run_info", "The latest run and the release that made it.", labels=(*_LABELS, "run_id", "version")
        )
        info.add_metric((self._workspace, self._start.run_id, version("pagemill")), 1)
        yield info
        yield from self._collect_end()
        yield from self._collect_pages()
        yield from self._collect_calls()

    def _collect_end(self) -> Iterator[Metric]:
        if self._ended is not None:
            ended, moment = self._ended
            begun, exit_code = self._start.moment if self._start else moment, ended.exit_code
        elif self._last is not None and self._last.finished is not None and self._last.exit_code is not None:
            moment, exit_code = datetime.fromisoformat(self._last.finished), self._last.exit_code
            begun = datetime.fromisoformat(self._last.started or self._last.finished)
        else:
            return
        end_s = moment.timestamp()
        yield self._gauge("run_end_timestamp_seconds", "When the last run ended, in Unix time.", end_s)
        yield self._gauge("run_exit_code", "Exit code of the last run that ended.", exit_code)
        duration_s = (moment - begun).total_seconds()
        yield self._gauge("run_duration_seconds", "Duration of the last run that ended.", duration_s)

    def _collect_pages(self) -> Iterator[Metric]:
        if (summary := self._summary()) is not None:
            totals = {state.value: number for state, number in summary.totals.items()}
        else:
            totals = dict(self._last.totals) if self._last is not None else {}
        if totals:
            pages = GaugeMetricFamily(
                "pagemill_pages", "Pages of the workspace by state, when a run last ended.", labels=(*_LABELS, "state")
            )
            for state in State:
                pages.add_metric((self._workspace, state.value), totals.get(state.value, 0))
            yield pages
        if summary is not None:
            yield self._gauge("pages_in_doubt", "Pages with a text that the service doubts.", summary.in_doubt)
            yield self._gauge("pages_corrected", "Pages whose text a person wrote.", summary.corrected)
            text = "Pages whose text a person marked as checked."
            yield self._gauge("pages_checked", text, summary.checked)

    def _collect_calls(self) -> Iterator[Metric]:
        seen: Snapshot | Summary | None = self._summary() or self._snapshot
        if seen is None:
            return
        pages = CounterMetricFamily(
            "pagemill_run_pages", "Pages that ended in the latest run, by state.", labels=(*_LABELS, "state")
        )
        for state, number in (seen.run if isinstance(seen, Summary) else seen.ended).items():
            pages.add_metric((self._workspace, state.value), number)
        yield pages
        yield self._counter("run_calls", "Calls of the latest run that count against the quota.", seen.calls)
        yield self._counter("run_calls_sent", "All calls of the latest run.", seen.sent)
        yield self._counter("run_calls_refused", "Calls of the latest run that were refused for now.", seen.refused)
        if seen.calls_left is not None:
            yield self._gauge("calls_left", "Calls left in the month.", seen.calls_left)
        in_flight, paused_s = (seen.in_flight, seen.paused_s) if isinstance(seen, Snapshot) else (0, 0.0)
        yield self._gauge("files_in_flight", "Files that are being recognised.", in_flight)
        yield self._gauge("pause_seconds", "Time left of a pause after a refusal.", paused_s)

    def _summary(self) -> Summary | None:
        return self._ended[0] if self._ended is not None and isinstance(self._ended[0], Summary) else None

    def _gauge(self, name: str, text: str, value: float) -> Metric:
        metric = GaugeMetricFamily(f"pagemill_{name}", text, labels=_LABELS)
        metric.add_metric((self._workspace,), value)
        return metric

    def _counter(self, name: str, text: str, value: float) -> Metric:
        metric = CounterMetricFamily(f"pagemill_{name}", text, labels=_LABELS)
        metric.add_metric((self._workspace,), value)
        return metric


class MetricsFile(Observer):
    """Writes the metrics to a file, replaced as a whole: at the beginning, every 15 s, and at the end.

    The temporary file is beside it, on the same filesystem, and does not end in `.prom`.
    """

    name: ClassVar[str] = "--metrics-file"
    every_s = _FILE_EVERY_S

    def __init__(self, path: Path, metrics: RunMetrics) -> None:
        self._path = path.absolute()
        self._metrics = metrics

    def __repr__(self) -> str:
        return f"<MetricsFile {self._path}>"

    def open(self) -> None:
        """Check the directory.

        Raises:
            UsageError: it does not exist.
        """
        if not self._path.parent.is_dir():
            raise UsageError(f"metrics file {self._path}: no such directory")

    async def begin(self, start: Start) -> None:
        """Note the run; nothing is written before it holds the workspace, for another run may hold it."""
        self._metrics.begin(start)

    async def see(self, snapshot: Snapshot) -> None:
        """Write the counters."""
        self._metrics.see(snapshot)
        await self._write()

    async def end(self, ended: Ended) -> None:
        """Write how it ended, unless another run holds the workspace."""
        self._metrics.end(ended)
        if not isinstance(ended, WorkspaceLockedError):
            await self._write()

    async def _write(self) -> None:
        write = partial(replace_file, self._path, self._metrics.render())
        await anyio.to_thread.run_sync(write, abandon_on_cancel=True)


class _Server(ThreadingHTTPServer):
    """A server that does not ask the DNS for its own name, as `HTTPServer.server_bind` does, which can hang."""

    daemon_threads = True

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]


class MetricsPort(Observer):
    """Serves the metrics over HTTP during the run."""

    name: ClassVar[str] = "--metrics-port"
    every_s = _PORT_EVERY_S

    def __init__(self, host: str, port: int, metrics: RunMetrics) -> None:
        self._address = host, port
        self._metrics = metrics
        self._server: _Server | None = None

    def __repr__(self) -> str:
        return f"<MetricsPort {self.port}>"

    @property
    def port(self) -> int:
        """The port that it listens on; 0 before `open` when a free one is to be taken."""
        return self._address[1] if self._server is None else int(self._server.server_address[1])

    def open(self) -> None:
        """Listen.

        Raises:
            UsageError: the port is taken, or the address cannot be used.
        """
        try:
            self._server = _Server(self._address, MetricsHandler.factory(self._metrics.registry))
        except (OSError, OverflowError) as exc:
            taken = "; does another run use it?" if getattr(exc, "errno", None) == errno.EADDRINUSE else ""
            host, port = self._address
            raise UsageError(f"metrics port {host}:{port}: {getattr(exc, 'strerror', exc)}{taken}") from exc
        threading.Thread(target=self._server.serve_forever, args=(_POLL_S,), name="metrics", daemon=True).start()

    def close(self) -> None:
        """Stop listening; takes a tenth of a second."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    async def begin(self, start: Start) -> None:
        """Note the run."""
        self._metrics.begin(start)

    async def see(self, snapshot: Snapshot) -> None:
        """Note the counters."""
        self._metrics.see(snapshot)

    async def end(self, ended: Ended) -> None:
        """Note how it ended."""
        self._metrics.end(ended)
