"""The session of the page and the usage of the month: `/session` and `/api/usage`."""

from typing import Final

import msgspec
from aiohttp import web

from pipeline.server.access.authentication import SESSION_COOKIE, Authenticator
from pipeline.server.access.origins import require_same_origin
from pipeline.server.api.request_parsing import parse_credentials
from pipeline.server.api.schemas import Usage
from pipeline.server.http.observability import CALLER
from pipeline.server.http.requests import BodyTooLargeError, RequestError, read_body
from pipeline.server.http.responses import json_response

SESSION_PATH: Final = "/session"
USAGE_PATH: Final = "/api/usage"

_BODY_MAX_BYTES: Final = 4096


def add_account_routes(app: web.Application, authenticator: Authenticator) -> None:
    """Add the routes of the session and the usage.

    Args:
        app: The application.
        authenticator: Opens, finds and ends sessions.
    """

    async def sign_in(request: web.Request) -> web.Response:
        require_same_origin(request)
        token = await authenticator.sign_in(request, parse_credentials(await _read_small_body(request)))
        response = web.Response(status=204)
        if token is not None:
            response.set_cookie(
                SESSION_COOKIE, token, path="/", httponly=True, samesite="Strict", secure=is_encrypted(request)
            )
        return response

    async def sign_out(request: web.Request) -> web.Response:
        require_same_origin(request)
        authenticator.sign_out(request.cookies.get(SESSION_COOKIE, ""))
        response = web.Response(status=204)
        response.del_cookie(SESSION_COOKIE, path="/")
        return response

    async def get_usage(request: web.Request) -> web.Response:
        caller = await authenticator.authenticate(request)
        request[CALLER] = caller.name
        usage = await caller.monthly_usage()
        is_signed_in = authenticator.is_signed_in(request)
        return json_response(200, Usage(**msgspec.structs.asdict(usage), session=is_signed_in))

    app.router.add_post(SESSION_PATH, sign_in)
    app.router.add_delete(SESSION_PATH, sign_out)
    app.router.add_get(USAGE_PATH, get_usage)


def is_encrypted(request: web.Request) -> bool:
    """Return whether the browser uses https, to this server or to a proxy in front of it.

    Any client can send the header; one that sends it over plain http gets a cookie that its browser never returns.
    """
    return request.secure or request.headers.get("X-Forwarded-Proto", "").partition(",")[0].strip().lower() == "https"


async def _read_small_body(request: web.Request) -> bytes:
    """Return the body; bounded also after decompression, because the caller is not authenticated yet.

    Raises:
        RequestError: the body does not announce its length, or is too large.
    """
    message = f"the body must announce its length, {_BODY_MAX_BYTES} bytes at most"
    if request.content_length is None:
        raise RequestError(message)
    try:
        return await read_body(request, _ignore_bytes, max_bytes=_BODY_MAX_BYTES)
    except BodyTooLargeError as exc:
        raise RequestError(message) from exc


def _ignore_bytes(_number: int) -> None:
    """Leave a small body out of the buffered bytes that admission control counts."""
