"""The HTTP application: the text-recognition API by its contract."""

import time
from collections.abc import Callable

from aiohttp import web

from pipeline.engine.recognition import EngineState, Recogniser
from pipeline.server.access.access import Access
from pipeline.server.api.account import add_account
from pipeline.server.api.handlers import Api
from pipeline.server.api.openapi import POSITIONS_PATH, describe_api
from pipeline.server.api.playground import add_page
from pipeline.server.api.schemas import Status
from pipeline.server.http.answers import add_headers, answer_errors, json_answer
from pipeline.server.http.fetch import Fetch
from pipeline.server.http.load import Load, Traffic
from pipeline.server.http.metrics import CONTENT_TYPE, Metrics, observe
from pipeline.server.http.requests import BODY_MAX_BYTES
from pipeline.wire import TEXT_RECOGNITION_PATH


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
    load, metrics, traffic = load or Load(), metrics or Metrics(), traffic or Traffic()
    metrics.watch(engine_state, load.statistics)
    access = access or Access()
    api = Api(recogniser, access, load=load, traffic=traffic, now_ms=now_ms or _now_ms, fetch=fetch)
    app = web.Application(client_max_size=BODY_MAX_BYTES, middlewares=[observe(metrics, traffic), answer_errors])
    app.on_response_prepare.append(add_headers)
    app.router.add_post(TEXT_RECOGNITION_PATH, api.recognise_text)
    app.router.add_post(POSITIONS_PATH, api.recognise_positions)
    app.router.add_get("/api/documents/{id}", api.tell_document)
    add_account(app, access)
    add_page(app)
    _add_operations(app, access, metrics, engine_state)
    return app


def _add_operations(
    app: web.Application, access: Access, metrics: Metrics, engine_state: Callable[[], EngineState]
) -> None:
    """Add what operators and programs ask, without a key: none of it tells who called or what was read."""

    async def tell_health(_request: web.Request) -> web.Response:
        state = engine_state()
        health = {"status": describe_status(state), "workers": state.workers, "queue": state.waiting}
        return json_answer(200 if state.workers else 503, health)

    async def tell_metrics(_request: web.Request) -> web.Response:
        return web.Response(body=metrics.expose(), headers={"Content-Type": CONTENT_TYPE})

    async def tell_description(_request: web.Request) -> web.Response:
        return json_answer(200, describe_api(open_to_all=await access.is_open()))

    app.router.add_get("/healthz", tell_health)
    app.router.add_get("/metrics", tell_metrics)
    app.router.add_get("/openapi.json", tell_description)


def describe_status(state: EngineState) -> Status:
    """Return whether pages can be read; those that come while a worker is being replaced wait for it."""
    if state.workers:
        return "ok"
    return "failing" if state.is_failing else "starting"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
