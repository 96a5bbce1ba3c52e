"""The error that answers a bad request, and reading a request's body within bounds."""

import asyncio
from collections.abc import Callable
from typing import Final

from aiohttp import web

from pipeline.errors import PagemillError

BODY_MAX_BYTES: Final = 15 * 1024 * 1024
"""An image of 10 MiB is 13.4 MiB as base64; the rest is for the file name and white space."""

BODY_TIMEOUT_S: Final = 60.0
"""The largest body needs 2 Mbit/s to arrive in this time."""

BODY_IDLE_S: Final = 15.0
"""How long a body may make no progress: a sender that has stalled for longer does not finish in time."""

CLIENT_CLOSED_REQUEST: Final = 499
"""nginx's status for a client that closed the connection before the response."""


class RequestError(PagemillError):
    """A request that gets an error response; the message is the reply's `statusText`.

    Args:
        status_text: The reason, in one line for the caller.
        status: The HTTP status of the response.
        retry_after_s: The Retry-After header, whole seconds; None omits the header.
    """

    def __init__(self, status_text: str, status: int = 400, *, retry_after_s: int | None = None) -> None:
        super().__init__(status_text)
        self.status = status
        self.retry_after_s = retry_after_s


class BodyTooLargeError(RequestError):
    """The body is larger than its limit; answered with 400, because the contract has no 413."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"request body is larger than {max_bytes // 1024 // 1024} MB")


async def read_body(
    request: web.Request,
    count_bytes: Callable[[int], None],
    *,
    delay_s: Callable[[int], float] = lambda _: 0.0,
    max_bytes: int = BODY_MAX_BYTES,
    timeout_s: float = BODY_TIMEOUT_S,
    idle_s: float = BODY_IDLE_S,
) -> bytes:
    """Return the request's body, decompressed; do not read a body whose Content-Length is beyond the limit.

    Args:
        request: A request whose body has not been read.
        count_bytes: Called with the size of each chunk that arrives; raises when all requests together hold too much.
        delay_s: Called with the size of each chunk; returns how long to wait before the next one is read.
        max_bytes: Limit of the body as sent, and once decompressed.
        timeout_s: Time for the whole body to arrive.
        idle_s: Time for its next bytes to arrive.

    Raises:
        BodyTooLargeError: the body is larger than `max_bytes`.
        RequestError: the body does not arrive in time or breaks off, or `count_bytes` rejects a chunk.
        web.RequestPayloadError: the body is not encoded as its Content-Encoding says.
    """
    if (request.content_length or 0) > max_bytes:
        raise BodyTooLargeError(max_bytes)
    body = bytearray()
    loop = asyncio.get_running_loop()
    end_s = loop.time() + timeout_s
    try:
        async with asyncio.timeout_at(min(end_s, loop.time() + idle_s)) as timeout:
            while chunk := await request.content.readany():
                if len(body) + len(chunk) > max_bytes:
                    raise BodyTooLargeError(max_bytes)
                count_bytes(len(chunk))
                body += chunk
                if (pause_s := delay_s(len(chunk))) > 0:
                    timeout.reschedule(end_s)
                    await asyncio.sleep(pause_s)
                timeout.reschedule(min(end_s, loop.time() + idle_s))
    except TimeoutError as exc:
        fault = f"did not arrive within {timeout_s:g} s" if loop.time() >= end_s else f"stopped for {idle_s:g} s"
        raise RequestError(f"request body {fault}") from exc
    except ConnectionResetError as exc:
        raise RequestError("the client closed the connection within its body", CLIENT_CLOSED_REQUEST) from exc
    return bytes(body)
