"""The HTTP application: the text-recognition API by its contract."""

import logging
import time
from collections.abc import Callable

from aiohttp import hdrs, web

from pipeline.rules.wire import TEXT_RECOGNITION_PATH
from pipeline.server.access.access import Access
from pipeline.server.api.account import add_account
from pipeline.server.api.handlers import Api
from pipeline.server.api.openapi import POSITIONS_PATH, describe_api
from pipeline.server.api.pages import add_page
from pipeline.server.http.answers import add_headers, answer_errors, json_answer
from pipeline.server.http.fetch import Fetch
from pipeline.server.http.load import Load
from pipeline.server.http.metrics import CONTENT_TYPE, Metrics
from pipeline.server.http.observe import observe
from pipeline.server.http.requests import BODY_MAX_BYTES
from pipeline.server.http.traffic import Traffic
from pipeline.server.recognition import EngineState, Recogniser


class _KeylessFilter(logging.Filter):
    """Takes the traceback off what aiohttp logs: for a malformed request it quotes the URL, and the key with it."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[0] is not None:
            record.msg, record.args = "%s (%s)", (record.getMessage(), record.exc_info[0].__name__)
        record.exc_info = None
        return True


http_logger = logging.getLogger(f"{__name__}.http")
"""For aiohttp's own messages."""
http_logger.addFilter(_KeylessFilter())


def create_app(
    recogniser: Recogniser,
    access: Access | None = None,
    *,
    load: Load | None = None,
    metrics: Metrics | None = None,
    traffic: Traffic | None = None,
    engine_state: Callable[[], EngineState] = EngineState,
    now_ms: Callable[[], int] | None = None,
    fetch: Fetch | None = None,
) -> web.Application:
    """Return the application.

    Args:
        recogniser: Reads the images.
        access: Judges who may call; None lets everybody in.
        load: Bounds what is under way.
        metrics: What `/metrics` tells; it watches the engine and the load from here on.
        traffic: Counts the requests under way.
        engine_state: How the engine is.
        now_ms: The clock, Unix epoch in milliseconds.
        fetch: Fetches images that are given as URLs; None refuses these.
    """
    load, metrics = load or Load(), metrics or Metrics()
    metrics.watch(engine_state, load.statistics)
    access = access or Access()
    api = Api(recogniser, access, load, now_ms or _now_ms, fetch)
    app = web.Application(
        client_max_size=BODY_MAX_BYTES, middlewares=[observe(metrics, traffic or Traffic()), answer_errors]
    )
    app.on_response_prepare.append(add_headers)
    app.router.add_post(TEXT_RECOGNITION_PATH, api.recognise_text, expect_handler=_meet_expectation)
    app.router.add_post(POSITIONS_PATH, api.recognise_positions, expect_handler=_meet_expectation)
    app.router.add_get("/api/documents/{id}", api.tell_document)
    add_account(app, access)
    add_page(app)
    _add_operations(app, access, metrics)
    return app


def _add_operations(app: web.Application, access: Access, metrics: Metrics) -> None:
    """Add what operators and programs ask, without a key: none of it tells who called or what was read."""

    async def tell_health(_request: web.Request) -> web.Response:
        return json_answer(200, {"status": "ok"})

    async def tell_metrics(_request: web.Request) -> web.Response:
        return web.Response(body=metrics.expose(), headers={"Content-Type": CONTENT_TYPE})

    async def tell_description(_request: web.Request) -> web.Response:
        return json_answer(200, describe_api(open_to_all=await access.is_open()))

    app.router.add_get("/healthz", tell_health)
    app.router.add_get("/metrics", tell_metrics)
    app.router.add_get("/openapi.json", tell_description)


async def _meet_expectation(request: web.Request) -> None:
    """Let the caller go on, and ignore what else it expects (RFC 9110, 10.1.1): the contract knows no 417."""
    if request.headers[hdrs.EXPECT].lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # of the answer, nothing was sent yet


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
