"""The HTTP application: the text-recognition API by its contract."""

import logging
import time
import uuid
from collections.abc import Awaitable, Callable

import orjson
from aiohttp import web

from pipeline.errors import PageError
from pipeline.rules.wire import TEXT_FORMAT, TEXT_RECOGNITION_PATH
from pipeline.server.images import check_image
from pipeline.server.recognition import Recogniser, RecognitionError
from pipeline.server.requests import BODY_MAX_BYTES, RequestError, is_key_right, parse_request

_logger = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


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
    recogniser: Recogniser, *, key: str | None = None, now_ms: Callable[[], int] | None = None
) -> web.Application:
    """Return the application.

    Args:
        recogniser: Reads the images.
        key: The only key that is let in; None lets everybody in.
        now_ms: The clock, Unix epoch in milliseconds.
    """
    clock = now_ms or _now_ms

    async def recognise_text(request: web.Request) -> web.Response:
        if not is_key_right(request.query.get("key"), key):
            raise RequestError("Unauthorized: invalid or missing API key", 401)
        wanted = parse_request(await request.read())
        check_image(wanted.image)
        recognition = await recogniser.recognise(wanted.image)
        return _json(
            200,
            {
                "id": str(uuid.uuid4()),
                "filename": wanted.filename,
                "content": recognition.text,
                "format": TEXT_FORMAT,
                "timestamp": clock(),
                "payload": _endpoint(request),
            },
        )

    app = web.Application(client_max_size=BODY_MAX_BYTES, middlewares=[_answer_errors])
    app.router.add_post(TEXT_RECOGNITION_PATH, recognise_text)
    app.router.add_get("/healthz", _tell_health)
    return app


async def _tell_health(_request: web.Request) -> web.Response:
    return _json(200, {"status": "ok"})


@web.middleware
async def _answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give every refusal and failure the contract's body; what went wrong inside stays inside."""
    try:
        return await handler(request)
    except web.HTTPException as exc:
        headers = {"Allow": exc.headers["Allow"]} if "Allow" in exc.headers else None
        return _json(*_explain(exc), headers)
    except Exception as exc:
        status, body = _explain(exc)
        if isinstance(exc, RecognitionError):
            _logger.warning("a page failed: %s", exc)
        elif status == 500:
            _logger.exception("a request failed")
        return _json(status, body)


def _explain(error: Exception) -> tuple[int, dict[str, object]]:
    """Return the status and the body that tell a caller of an error."""
    status, text = 500, "Internal Server Error: processing failed"
    match error:
        case RequestError():
            status, text = error.status, str(error)
        case PageError():
            status, text = 400, str(error)
        case web.HTTPRequestEntityTooLarge():  # the contract knows no 413
            status, text = 400, f"request body is larger than {BODY_MAX_BYTES // 1024 // 1024} MB"
        case web.RequestPayloadError():
            status, text = 400, "request body cannot be decoded"
        case web.HTTPException():
            status, text = error.status, error.reason
        case _:
            pass
    return status, {"statusText": text}


def _endpoint(request: web.Request) -> str:
    """Return the URL that was called, the key's value masked: what is echoed gets stored."""
    query = "?key=***" if "key" in request.query else ""
    return f"{request.scheme}://{request.host}{TEXT_RECOGNITION_PATH}{query}"


def _json(status: int, body: dict[str, object], headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        status=status, body=orjson.dumps(body), content_type="application/json", charset="utf-8", headers=headers
    )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
