"""A request's body is read within bounds: of size, of time, and of what all requests hold together."""

import asyncio
from collections.abc import Callable
from typing import Final

from aiohttp import web

from pipeline.server.http.requests import BODY_MAX_BYTES, RequestError

BODY_DEADLINE_S: Final = 60.0
"""The largest body comes through 2 Mbit/s in this time."""


async def read_body(
    request: web.Request,
    hold: Callable[[int], None],
    *,
    max_bytes: int = BODY_MAX_BYTES,
    deadline_s: float = BODY_DEADLINE_S,
) -> bytes:
    """Return the body; one that says it is too large is not read.

    Args:
        request: Its body was not read yet.
        hold: Told of so many bytes more as they arrive; raises when all requests together hold too many.
        max_bytes: Of the body, as it was sent and once it is decompressed.
        deadline_s: The caller has so long to send it.

    Raises:
        RequestError: it takes too long, or is one too many.
        web.HTTPRequestEntityTooLarge: it is too large, also once it is decompressed.
        web.RequestPayloadError: it is not encoded as its header says.
    """
    length = request.content_length or 0
    if length > max_bytes:
        raise web.HTTPRequestEntityTooLarge(max_bytes, length)
    body = bytearray()
    try:
        async with asyncio.timeout(deadline_s):
            while chunk := await request.content.readany():
                if len(body) + len(chunk) > max_bytes:
                    raise web.HTTPRequestEntityTooLarge(max_bytes, len(body) + len(chunk))
                hold(len(chunk))
                body += chunk
    except TimeoutError as exc:
        raise RequestError(f"request body did not arrive within {deadline_s:g} s") from exc
    return bytes(body)
