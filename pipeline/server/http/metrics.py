"""What Prometheus reads at `/metrics`. No label holds anything that a caller sent."""

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
from pipeline.server.http.answers import Handler
from pipeline.server.http.load import LoadStatistics, Traffic

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

MALFORMED = "malformed"
"""Stands for the route of what is no HTTP."""

PAGE_BUCKETS_S = (0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128)
"""A page takes 0.3 to 25 s."""
CALLER: Final = web.RequestKey("caller", str)
"""Set by whoever knows the caller: its name, never a key."""
CLIENT_GONE: Final = 499
"""nginx's number for a caller who went away before the answer."""
access_logger = logging.getLogger("pagemill.access")


class Metrics:
    """The server's counters, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "pagemill_requests", "Requests that were answered.", ("route", "status"), registry=self._registry
        )
        self._pages_s = Histogram(
            "pagemill_recognition_seconds",
            "Time a worker took for a page.",
            buckets=PAGE_BUCKETS_S,
            registry=self._registry,
        )

    def watch(self, engine: Callable[[], EngineState], load: Callable[[], LoadStatistics]) -> None:
        """Read these, too, whenever somebody asks. Called once."""
        self._registry.register(_Readings(engine, load))

    def request_answered(self, route: str, status: int) -> None:
        """Count an answer.

        Args:
            route: The route's pattern, not the path that was asked for; `MALFORMED` when there was none.
            status: 499 when the caller went away before the answer.
        """
        self._requests.labels(route, str(status)).inc()

    def page_took(self, elapsed_s: float) -> None:
        """Count a page that a worker answered."""
        self._pages_s.observe(elapsed_s)

    def expose(self) -> bytes:
        """Return all of it in Prometheus' text format."""
        return generate_latest(self._registry)


class _Readings(Collector):
    """Figures that others keep: read when they are asked for, so that none is balanced twice."""

    def __init__(self, engine: Callable[[], EngineState], load: Callable[[], LoadStatistics]) -> None:
        self._engine = engine
        self._load = load

    def collect(self) -> Iterable[Metric]:
        """Return the figures of now."""
        engine, load = self._engine(), self._load()
        yield GaugeMetricFamily("pagemill_workers", "Worker processes that run.", engine.workers)
        yield GaugeMetricFamily("pagemill_queue_length", "Pages that wait for a worker.", engine.waiting)
        yield CounterMetricFamily("pagemill_worker_restarts", "Workers that were replaced.", engine.restarts)
        yield GaugeMetricFamily("pagemill_pages_under_way", "Pages that wait or are being read.", load.places)
        yield GaugeMetricFamily("pagemill_body_bytes", "What the bodies of requests hold.", load.body_bytes)
        yield CounterMetricFamily("pagemill_calls_shed", "Calls refused because of load.", load.shed)


def observe(metrics: Metrics, traffic: Traffic) -> Middleware:
    """Return the outermost middleware.

    The log tells the route instead of the path and query: a path may hold a key, too, where somebody mistyped `?`.
    """

    @web.middleware
    async def watch(request: web.Request, handler: Handler) -> web.StreamResponse:
        began_s = time.monotonic()
        status, body_bytes = CLIENT_GONE, 0
        try:
            with traffic.request():
                response = await handler(request)
            traffic.close_behind(response)
            status = response.status
            if isinstance(response, web.Response):
                body_bytes = response.content_length or 0
        finally:
            route = route_pattern(request)
            metrics.request_answered(route, status)
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

    return watch


def route_pattern(request: web.Request) -> str:
    """Return the pattern of the route that was asked for, such as `/api/documents/{id}`; "other" for none of ours."""
    resource = request.match_info.route.resource
    return "other" if resource is None else resource.canonical
