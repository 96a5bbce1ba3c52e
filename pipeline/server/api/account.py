"""The session of the page, and the month's usage: `/session`, `/api/usage`."""

from typing import Final

import msgspec
from aiohttp import web
from msgspec import Struct

from pipeline.server.access.access import COOKIE, Access
from pipeline.server.access.sessions import is_foreign
from pipeline.server.http.answers import json_answer
from pipeline.server.http.observe import CALLER
from pipeline.server.http.requests import RequestError

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
        _refuse_foreign(request)
        token = await access.sign_in(await _read_key(request))
        response = web.Response(status=204)
        if token is not None:
            response.set_cookie(COOKIE, token, path="/", httponly=True, samesite="Strict", secure=is_encrypted(request))
        return response

    async def sign_out(request: web.Request) -> web.Response:
        _refuse_foreign(request)
        access.sign_out(request.cookies.get(COOKIE, ""))
        response = web.Response(status=204)
        response.del_cookie(COOKIE, path="/")
        return response

    async def tell_usage(request: web.Request) -> web.Response:
        caller = await access.identify(request)
        request[CALLER] = caller.name
        return json_answer(200, await caller.monthly_use())

    app.router.add_post(SESSION_PATH, sign_in)
    app.router.add_delete(SESSION_PATH, sign_out)
    app.router.add_get(USAGE_PATH, tell_usage)


def is_encrypted(request: web.Request) -> bool:
    """Return whether the browser speaks https, to us or to a proxy before us.

    Anybody can claim that by the header; who does so falsely only gets a cookie that their browser does not send.
    """
    return request.secure or request.headers.get("X-Forwarded-Proto", "").partition(",")[0].strip().lower() == "https"


async def _read_key(request: web.Request) -> str:
    # Judged by what is announced, so that no more than that is read for somebody who shows no key yet.
    if request.content_length is None or request.content_length > _BODY_MAX_BYTES:
        raise RequestError(f"the body must announce its length, {_BODY_MAX_BYTES} bytes at most")
    try:
        return _credentials.decode(await request.read()).key
    except msgspec.ValidationError as exc:
        raise RequestError(f"invalid request: {exc}") from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise RequestError("request body is not valid JSON") from exc


def _refuse_foreign(request: web.Request) -> None:
    """Raise when another site's page signs its visitor in or out."""
    if is_foreign(request.headers):
        raise RequestError("Forbidden: the request comes from the page of another site", 403)
