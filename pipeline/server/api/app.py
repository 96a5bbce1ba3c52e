"""The HTTP application: the API's routes, the page, and the routes for operators."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from aiohttp import web

from pipeline.engine.recognition import EngineState, Recogniser
from pipeline.server.access.authentication import Authenticator
from pipeline.server.api.account import add_account_routes
from pipeline.server.api.handlers import RecognitionHandlers
from pipeline.server.api.openapi import encode_description
from pipeline.server.api.pdf import PdfHandlers, add_pdf_routes
from pipeline.server.api.playground import add_page_routes
from pipeline.server.api.schemas import Health, Status
from pipeline.server.http.admission import AdmissionControl
from pipeline.server.http.connections import delay_unknown_callers
from pipeline.server.http.fetch import Fetch
from pipeline.server.http.in_flight import InFlightRequests
from pipeline.server.http.observability import METRICS_CONTENT_TYPE, Metrics, record_requests
from pipeline.server.http.responses import add_default_headers, handle_errors, json_bytes_response, json_response
from pipeline.server.http.turns import FairTurns
from pipeline.server.workers.pdf_renderer import PdfRenderer
from pipeline.wire import ADVANCED_RECOGNITION_PATH, TEXT_RECOGNITION_PATH


def create_app(
    recogniser: Recogniser,
    authenticator: Authenticator | None = None,
    *,
    admission: AdmissionControl | None = None,
    turns: FairTurns | None = None,
    metrics: Metrics | None = None,
    in_flight: InFlightRequests | None = None,
    engine_state: Callable[[], EngineState] = EngineState,
    now_ms: Callable[[], int] | None = None,
    fetch: Fetch | None = None,
    pdf_renderer: PdfRenderer | None = None,
) -> web.Application:
    """Return the application.

    Args:
        recogniser: Reads the images.
        authenticator: Finds the caller of a request; None accepts every request from loopback.
        admission: Shares memory, fetches and the queue among callers.
        turns: Shares the recogniser among callers; None where it takes as many pages as the queue has slots.
        metrics: The metrics at `/metrics`; the engine's and admission control's are added here.
        in_flight: Tracks requests for the shutdown.
        engine_state: Returns the state of the engine.
        now_ms: The clock, Unix epoch in milliseconds.
        fetch: Fetches images given by URL; None rejects them.
        pdf_renderer: Renders pages of PDFs for the page; None rejects them.
    """
    admission, metrics = admission or AdmissionControl(), metrics or Metrics()
    in_flight, authenticator = in_flight or InFlightRequests(), authenticator or Authenticator()
    shared_turns = turns or FairTurns(admission.queue_slots, finishes_jobs=False)
    get_state = partial(_add_waiting, engine_state, shared_turns)
    metrics.add_collectors(get_state, admission.statistics)
    handlers = RecognitionHandlers(
        recogniser,
        authenticator,
        admission=admission,
        turns=shared_turns,
        in_flight=in_flight,
        now_ms=now_ms or _now_ms,
        fetch=fetch,
    )
    app = web.Application(middlewares=[record_requests(metrics, in_flight), delay_unknown_callers, handle_errors])
    app.on_response_prepare.append(add_default_headers)
    _add_recognition_routes(app, handlers)
    add_account_routes(app, authenticator)
    add_page_routes(app)
    add_pdf_routes(app, PdfHandlers(pdf_renderer, authenticator, admission=admission, in_flight=in_flight))
    _add_operator_routes(app, authenticator, metrics, get_state, fetches_urls=fetch is not None)
    return app


def _add_waiting(engine_state: Callable[[], EngineState], turns: FairTurns) -> EngineState:
    """Return the state of the engine, with the pages that wait for a turn."""
    state = engine_state()
    return replace(state, waiting=state.waiting + turns.waiting)


def _add_recognition_routes(app: web.Application, handlers: RecognitionHandlers) -> None:
    app.router.add_post(TEXT_RECOGNITION_PATH, handlers.recognise_text)
    app.router.add_post(ADVANCED_RECOGNITION_PATH, handlers.recognise_positions)
    app.router.add_get("/api/documents/{id}", handlers.get_reply)


def _add_operator_routes(
    app: web.Application,
    authenticator: Authenticator,
    metrics: Metrics,
    engine_state: Callable[[], EngineState],
    *,
    fetches_urls: bool,
) -> None:
    """Add health, metrics and description: they need no key, and disclose neither callers nor recognised text."""

    async def get_health(_request: web.Request) -> web.Response:
        state = engine_state()
        health = Health(engine_status(state), state.workers, state.waiting, await authenticator.closed_reason())
        return json_response(200 if state.workers else 503, health)

    async def get_metrics(_request: web.Request) -> web.Response:
        return web.Response(body=metrics.render(), headers={"Content-Type": METRICS_CONTENT_TYPE})

    async def get_description(_request: web.Request) -> web.Response:
        description = encode_description(open_to_all=await authenticator.is_open(), fetches_urls=fetches_urls)
        return json_bytes_response(200, description)

    app.router.add_get("/healthz", get_health)
    app.router.add_get("/metrics", get_metrics)
    app.router.add_get("/openapi.json", get_description)


def engine_status(state: EngineState) -> Status:
    """Return whether pages can be read; "starting" includes a worker that is being replaced."""
    if state.workers:
        return "ok"
    return "failing" if state.is_failing else "starting"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
