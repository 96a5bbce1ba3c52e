"""Responses: JSON bodies, the contract's error replies, and default headers that restrict browsers."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Final

import msgspec
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from msgspec import Meta, Struct

from pipeline.engine.recognition import BusyError, RecognitionError
from pipeline.errors import PageError
from pipeline.server.http.admission import RETRY_AFTER_S, SERVER_BUSY
from pipeline.server.http.requests import RequestError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

DEFAULT_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Headers of every response that does not set them itself."""

_logger = logging.getLogger(__name__)
_encoder: Final = msgspec.json.Encoder()


class ErrorReply(Struct, frozen=True):
    """The body of every error response."""

    status_text: Annotated[
        str,
        Meta(
            description="The reason, in one line for a person.",
            examples=["Unauthorized: invalid or missing API key"],
        ),
    ] = msgspec.field(name="statusText")


def json_response(status: int, body: object, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return a response whose body is this value as JSON."""
    return json_bytes_response(status, _encoder.encode(body), headers)


def json_bytes_response(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return a response whose body is JSON text already."""
    return web.Response(status=status, body=body, content_type="application/json", charset="utf-8", headers=headers)


async def add_default_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Add the default headers; connected to the application's `on_response_prepare` signal."""
    set_default_headers(response)


def set_default_headers(response: web.StreamResponse) -> None:
    """Add each of the default headers that the response does not have."""
    response.headers["Server"] = "pagemill"  # aiohttp's own value names the versions of aiohttp and Python
    for name, value in DEFAULT_HEADERS.items():
        response.headers.setdefault(name, value)


@web.middleware
async def handle_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every exception with the contract's error reply; log the cause of a 500 and do not disclose it."""
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
    """Return the response to a request that ended in this error; None is an unknown error."""
    fields = _error_fields(error)
    headers = {}
    if fields.retry_after_s is not None:
        headers["Retry-After"] = str(fields.retry_after_s)
    if isinstance(error, web.HTTPMethodNotAllowed):
        headers["Allow"] = error.headers["Allow"]
    return json_response(fields.status, ErrorReply(fields.status_text), headers)


@dataclass(frozen=True, slots=True)
class _ErrorFields:
    """Status, `statusText` and Retry-After of an error response.

    Not the exception itself: a local variable that holds the exception being handled makes a reference cycle, which
    keeps the request's body in memory until the garbage collector runs.
    """

    status: int
    status_text: str
    retry_after_s: int | None = None


def _error_fields(error: BaseException | None) -> _ErrorFields:
    fields = _ErrorFields(500, "Internal Server Error: processing failed")
    match error:
        case RequestError():
            fields = _ErrorFields(error.status, str(error), error.retry_after_s)
        case PageError():
            fields = _ErrorFields(400, str(error))
        case BusyError():
            fields = _ErrorFields(429, SERVER_BUSY, RETRY_AFTER_S)
        case web.RequestPayloadError():
            fields = _ErrorFields(400, "request body cannot be decoded")
        case web.HTTPExpectationFailed():  # the contract has no 417
            fields = _ErrorFields(400, "the Expect header asks for what this server does not know")
        case LineTooLong():
            fields = _ErrorFields(400, "the request line or a header is too long")
        case HttpProcessingError():
            fields = _ErrorFields(400, "the request is not well-formed HTTP")
        case web.HTTPException():
            fields = _ErrorFields(error.status, error.reason)
        case _:
            pass
    return fields
