"""Every request is counted and has a line in the access log, which holds nothing that a caller could have sent."""

import logging
import time
from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from pipeline.server.http.answers import Handler
from pipeline.server.http.metrics import Metrics
from pipeline.server.http.traffic import Traffic

CALLER: Final = web.RequestKey("caller", str)
"""Set by whoever knows the caller: its name, never a key."""

CLIENT_GONE: Final = 499
"""nginx's number for a caller who went away before the answer."""

access_logger = logging.getLogger("pagemill.access")


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
