"""What callers get back: JSON, errors as the contract has them, and headers that keep browsers careful."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

import orjson
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from pipeline.engine.recognition import BusyError, RecognitionError
from pipeline.errors import PageError
from pipeline.server.http.load import RETRY_AFTER_S
from pipeline.server.http.requests import BODY_MAX_BYTES, RequestError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Of every answer that does not say otherwise."""

_logger = logging.getLogger(__name__)


def json_answer(status: int, body: object, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return a response with this body."""
    return json_bytes_answer(status, orjson.dumps(body), headers)


def json_bytes_answer(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return a response with a body that is JSON already."""
    return web.Response(status=status, body=body, content_type="application/json", charset="utf-8", headers=headers)


async def add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Give a response the headers of every answer, as a signal of the application."""
    dress(response)


def dress(response: web.StreamResponse) -> None:
    """Give a response the headers of every answer that it does not have."""
    response.headers["Server"] = "pagemill"  # aiohttp's tells strangers which versions run here
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give every refusal and failure the contract's body; what went wrong inside stays inside."""
    try:
        return await handler(request)
    except Exception as exc:
        response = error_response(exc)
        if isinstance(exc, RecognitionError):
            _logger.warning("a page failed: %s", exc)
        elif response.status == 500:
            _logger.exception("a request failed")
        return response


def error_response(error: BaseException | None) -> web.Response:
    """Return the answer to a request that ended in an error; None is one that nobody knows."""
    refusal = explain(error)
    headers = {}
    if refusal.retry_after_s is not None:
        headers["Retry-After"] = str(refusal.retry_after_s)
    if isinstance(error, web.HTTPMethodNotAllowed):
        headers["Allow"] = error.headers["Allow"]
    return json_answer(refusal.status, {"statusText": refusal.text}, headers)


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """What a caller is told of an error.

    It is not the error itself: a frame that names its own exception is a cycle, which keeps the request's body in
    memory until the garbage collector comes by.

    Attributes:
        status: HTTP's.
        text: The reply's `statusText`.
        retry_after_s: When to come back; None says nothing about that.
    """

    status: int
    text: str
    retry_after_s: int | None = None


def explain(error: BaseException | None) -> ErrorAnswer:
    """Return what a caller is told of an error."""
    refusal = ErrorAnswer(500, "Internal Server Error: processing failed")
    match error:
        case RequestError():
            refusal = ErrorAnswer(error.status, str(error), error.retry_after_s)
        case PageError():
            refusal = ErrorAnswer(400, str(error))
        case BusyError():
            refusal = ErrorAnswer(429, "Too Many Requests: the server is busy", RETRY_AFTER_S)
        case web.HTTPRequestEntityTooLarge():  # the contract knows no 413
            refusal = ErrorAnswer(400, f"request body is larger than {BODY_MAX_BYTES // 1024 // 1024} MB")
        case web.RequestPayloadError():
            refusal = ErrorAnswer(400, "request body cannot be decoded")
        case web.HTTPExpectationFailed():  # nor a 417
            refusal = ErrorAnswer(400, "the Expect header asks for what this server does not know")
        case LineTooLong():
            refusal = ErrorAnswer(400, "the request line or a header is too long")
        case HttpProcessingError():
            refusal = ErrorAnswer(400, "the request is not well-formed HTTP")
        case web.HTTPException():
            refusal = ErrorAnswer(error.status, error.reason)
        case _:
            pass
    return refusal
