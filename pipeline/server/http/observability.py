"""Metrics for Prometheus, and the access log. No label and no log line holds text that a caller chose."""

import logging
import time
from collections.abc import Callable, Iterable
from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pipeline.engine.recognition import EngineState
from pipeline.server.http.admission import AdmissionStatistics
from pipeline.server.http.in_flight import InFlightRequests
from pipeline.server.http.requests import CLIENT_CLOSED_REQUEST
from pipeline.server.http.responses import Handler

METRICS_CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

MALFORMED_ROUTE: Final = "malformed"
"""Label of requests that are not valid HTTP and so have no route."""

PAGE_BUCKETS_S: Final = (0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128)
"""Measured: 0.3 to 25 s per page."""

CALLER: Final = web.RequestKey("caller", str)
"""The caller's name (never a key), stored in the request once the caller is authenticated."""

access_logger = logging.getLogger("pagemill.access")


class Metrics:
    """The server's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "pagemill_requests", "Requests that were answered.", ("route", "status"), registry=self._registry
        )
        self._evicted = Counter(
            "pagemill_connections_evicted", "Connections that were closed to make room.", registry=self._registry
        )
        self._pages_s = Histogram(
            "pagemill_recognition_seconds",
            "Time a worker took for a page.",
            buckets=PAGE_BUCKETS_S,
            registry=self._registry,
        )

    def add_collectors(self, engine: Callable[[], EngineState], admission: Callable[[], AdmissionStatistics]) -> None:
        """Export the state of the engine and of admission control too; called once."""
        self._registry.register(_StateCollector(engine, admission))

    def count_response(self, route: str, status: int) -> None:
        """Count a response.

        Args:
            route: The route's pattern, not the requested path; `MALFORMED_ROUTE` when there was no route.
            status: `CLIENT_CLOSED_REQUEST` when the client closed the connection before the response.
        """
        self._requests.labels(route, str(status)).inc()

    def count_evicted_connections(self, number: int) -> None:
        """Count connections that were closed because too many were open."""
        self._evicted.inc(number)

    def record_page(self, elapsed_s: float) -> None:
        """Record the time that a worker took for a page."""
        self._pages_s.observe(elapsed_s)

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)


class _StateCollector(Collector):
    """Reads counts from the objects that keep them, at each scrape, so that none is kept twice."""

    def __init__(self, engine: Callable[[], EngineState], admission: Callable[[], AdmissionStatistics]) -> None:
        self._engine = engine
        self._admission = admission

    def collect(self) -> Iterable[Metric]:
        """Yield the current values."""
        engine, admission = self._engine(), self._admission()
        yield GaugeMetricFamily("pagemill_workers", "Worker processes that run.", engine.workers)
        yield GaugeMetricFamily("pagemill_queue_length", "Pages that wait for a worker.", engine.waiting)
        yield CounterMetricFamily("pagemill_worker_restarts", "Workers that were replaced.", engine.restarts)
        yield GaugeMetricFamily("pagemill_pages_under_way", "Pages that wait or are being read.", admission.slots_taken)
        yield GaugeMetricFamily("pagemill_body_bytes", "Buffered bytes of request bodies.", admission.body_bytes)
        yield CounterMetricFamily("pagemill_calls_shed", "Calls rejected because of load.", admission.shed_requests)


def record_requests(metrics: Metrics, in_flight: InFlightRequests) -> Middleware:
    """Return the outermost middleware: it tracks, counts and logs each request.

    The log line has the route, not the path and query: a path may hold a key as well, where somebody mistyped `?`.
    """

    @web.middleware
    async def record(request: web.Request, handler: Handler) -> web.StreamResponse:
        began_s = time.monotonic()
        status, body_bytes = CLIENT_CLOSED_REQUEST, 0
        try:
            with in_flight.track():
                response = await handler(request)
            in_flight.close_connection_after(response)
            status = response.status
            if isinstance(response, web.Response):
                body_bytes = response.content_length or 0
        finally:
            route = route_pattern(request)
            metrics.count_response(route, status)
            access_logger.info(
                "%s %s %s %s %d %d B %.3f s",
                request.remote,
                request.get(CALLER, "-"),
                request.method if request.method in hdrs.METH_ALL else "other",
                route,
                status,
                body_bytes,
                time.monotonic() - began_s,
            )
        return response

    return record


def route_pattern(request: web.Request) -> str:
    """Return the pattern of the requested route, such as `/api/documents/{id}`; "other" for an unknown route."""
    resource = request.match_info.route.resource
    return "other" if resource is None else resource.canonical
