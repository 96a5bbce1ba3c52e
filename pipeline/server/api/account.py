"""The session of the page, and the month's usage: `/session`, `/api/usage`."""

from dataclasses import asdict
from typing import Final

import msgspec
from aiohttp import web
from msgspec import Struct

from pipeline.server.access.access import COOKIE, Access, require_same_origin
from pipeline.server.http.answers import json_answer
from pipeline.server.http.metrics import CALLER
from pipeline.server.http.requests import RequestError, decode_body, read_body

SESSION_PATH: Final = "/session"
USAGE_PATH: Final = "/api/usage"

_BODY_MAX_BYTES: Final = 4096


class _Credentials(Struct):
    key: str


_credentials = msgspec.json.Decoder(_Credentials)


def add_account(app: web.Application, access: Access) -> None:
    """Add the routes.

    Args:
        app: The application.
        access: Knows the keys and the sessions.
    """

    async def sign_in(request: web.Request) -> web.Response:
        require_same_origin(request)
        token = await access.sign_in(await _read_key(request))
        response = web.Response(status=204)
        if token is not None:
            response.set_cookie(COOKIE, token, path="/", httponly=True, samesite="Strict", secure=is_encrypted(request))
        return response

    async def sign_out(request: web.Request) -> web.Response:
        require_same_origin(request)
        access.sign_out(request.cookies.get(COOKIE, ""))
        response = web.Response(status=204)
        response.del_cookie(COOKIE, path="/")
        return response

    async def tell_usage(request: web.Request) -> web.Response:
        caller = await access.identify(request)
        request[CALLER] = caller.name
        use = await caller.monthly_use()
        return json_answer(200, {**asdict(use), "session": access.is_signed_in(request)})

    app.router.add_post(SESSION_PATH, sign_in)
    app.router.add_delete(SESSION_PATH, sign_out)
    app.router.add_get(USAGE_PATH, tell_usage)


def is_encrypted(request: web.Request) -> bool:
    """Return whether the browser speaks https, to us or to a proxy before us.

    Anybody can claim that by the header; who does so falsely only gets a cookie that their browser does not send.
    """
    return request.secure or request.headers.get("X-Forwarded-Proto", "").partition(",")[0].strip().lower() == "https"


async def _read_key(request: web.Request) -> str:
    # Who shows no key yet may not have much read, be it by what is announced or by what comes out of compression.
    message = f"the body must announce its length, {_BODY_MAX_BYTES} bytes at most"
    if request.content_length is None:
        raise RequestError(message)
    try:
        body = await read_body(request, _hold_nothing, max_bytes=_BODY_MAX_BYTES)
    except web.HTTPRequestEntityTooLarge as exc:
        raise RequestError(message) from exc
    return decode_body(_credentials, body).key


def _hold_nothing(_count: int) -> None:
    """Leave bytes that are so few out of the account."""
