"""One POST, one outcome. The only stage that speaks HTTP.

The key travels in the query string, so no URL of a request ever leaves this module: aiohttp's errors are translated
by their kind, not by their text, where the text may hold the URL.
"""

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from io import BytesIO
from typing import Final
from urllib.parse import quote

import aiohttp
from yarl import URL

from pipeline.errors import UsageError
from pipeline.records import Service
from pipeline.remote.connections import Connector
from pipeline.remote.verdict import Fault, Outcome, parse_retry_after
from pipeline.wire import (
    REPLY_MAX_BYTES,
    TEXT_RECOGNITION_PATH,
    InvalidReplyError,
    parse_reply,
    parse_status_text,
)

_KEEPALIVE_S: Final = 4.0
"""Shorter than common servers' idle timeouts (Node 5 s, gunicorn 2 s aside, nginx 75 s): a connection that the server
has just closed would make an unsent call look like a lost one."""

_HEADER_MAX_BYTES: Final = 64 * 1024
"""Some gateways send security policies of more than aiohttp's 8 kB; the reply behind them was paid for."""

_READ_BLOCK_BYTES: Final = 64 * 1024
_DETAIL_MAX_CHARS: Final = 300


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Deadlines of one call, in seconds."""

    total_s: float = 120.0
    connect_s: float = 10.0
    read_s: float = 60.0


class Client:
    """Calls one service.

    Args:
        session: aiohttp's session.
        service: Where to, and with which key.
    """

    def __init__(self, session: aiohttp.ClientSession, service: Service) -> None:
        self._session = session
        url = URL(service.base_url) / TEXT_RECOGNITION_PATH.lstrip("/")
        self._url = url if service.key is None else url.with_query(key=service.key)
        quoted = self._url.raw_query_string.removeprefix("key=")
        self._secrets = () if service.key is None else (service.key, quoted, quote(service.key, safe=""))

    def __repr__(self) -> str:
        return f"<Client {self._url.host}>"

    async def post(self, body: bytes) -> Outcome:
        """Send one request and return what it brought; raises nothing that a service or a network can cause."""
        upload = BytesIO(body)
        try:
            async with self._session.post(
                self._url,
                data=upload,
                headers={"Content-Type": "application/json", "Accept": "application/json"},
                allow_redirects=False,
            ) as response:
                if response.status == 200 and upload.tell() < len(body):  # an answer to nothing that we asked
                    response.close()
                    return Outcome(fault=Fault.LOST, detail="a text before the page had been sent")
                return self._redact(_interpret(response, await _read_bounded(response)))
        except (aiohttp.ClientError, TimeoutError, ConnectionError, ssl.SSLError, asyncio.IncompleteReadError) as exc:
            return _translate(exc, begun=upload.tell() > 0)
        except ValueError as exc:  # aiohttp's header parser lets some malformed replies through as ValueError
            return Outcome(fault=Fault.LOST, detail=f"malformed reply ({type(exc).__name__})")

    def _redact(self, outcome: Outcome) -> Outcome:
        """Take the key, as it is and as it stands in a URL, out of what the service said; only then shorten it."""
        detail = outcome.detail
        for secret in self._secrets:
            detail = detail.replace(secret, "***")
        return replace(outcome, detail=detail[:_DETAIL_MAX_CHARS])


@asynccontextmanager
async def open_client(service: Service, timeouts: Timeouts, *, connections: int) -> AsyncGenerator[Client]:
    """Open a client with as many connections as calls may be in flight."""
    timeout = aiohttp.ClientTimeout(
        total=timeouts.total_s, connect=None, sock_connect=timeouts.connect_s, sock_read=timeouts.read_s
    )
    async with aiohttp.ClientSession(
        connector=Connector(connections=connections, keepalive_s=_KEEPALIVE_S),
        timeout=timeout,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": "pagemill"},
        auto_decompress=True,
        max_field_size=_HEADER_MAX_BYTES,
    ) as session:
        yield Client(session, service)


def check_base_url(base_url: str) -> str:
    """Return the URL when it can be the base of a service.

    Raises:
        UsageError: it is not http(s), has no host, or carries a query, fragment or password.
    """
    try:
        url = URL(base_url)
        valid = url.scheme in {"http", "https"} and bool((url.raw_host or "").encode("idna"))
    except ValueError:
        valid = False
    if not valid or url.query_string or url.fragment or url.user or url.password:
        raise UsageError("api url: not a base URL such as https://llmocr.com (no query, no password)")
    return base_url.rstrip("/")


async def _read_bounded(response: aiohttp.ClientResponse) -> bytes | None:
    """Return the body, None when it is longer than any honest reply; counted after decompression.

    The body of an error may break off: its status already says whose fault it is.
    """
    blocks: list[bytes] = []
    size = 0
    try:
        async for block in response.content.iter_chunked(_READ_BLOCK_BYTES):
            size += len(block)
            if size > REPLY_MAX_BYTES:
                response.close()
                return None
            blocks.append(block)
    except (aiohttp.ClientError, TimeoutError, ConnectionError):
        if response.status == 200:
            raise
        response.close()
    return b"".join(blocks)


def _interpret(response: aiohttp.ClientResponse, body: bytes | None) -> Outcome:
    headers = response.headers
    retry_after_s = parse_retry_after(
        headers.get("Retry-After"), headers.get("retry-after-ms"), headers.get("Date"), datetime.now(UTC)
    )
    if body is None:
        detail = f"a reply of more than {REPLY_MAX_BYTES} bytes"
        return Outcome(response.status, detail=detail, retry_after_s=retry_after_s)
    if response.status != 200:
        detail = parse_status_text(body, limit_chars=REPLY_MAX_BYTES)  # shortened once the key is out of it
        return Outcome(response.status, detail=detail, retry_after_s=retry_after_s)
    try:
        return Outcome(200, reply=parse_reply(body))
    except InvalidReplyError as exc:
        return Outcome(200, detail=str(exc))


def _translate(exc: Exception, *, begun: bool) -> Outcome:
    """Say whether the request can have reached the service.

    Before the first byte of the page has been handed to a connection (refused, DNS, TLS, time-out of connecting), it
    cannot have been billed.
    """
    if not begun:
        return Outcome(fault=Fault.NOT_SENT, detail=_describe_unreached(exc))
    if isinstance(exc, TimeoutError):
        return Outcome(fault=Fault.LOST, detail="time-out while waiting for the reply")
    return Outcome(fault=Fault.LOST, detail=f"connection lost ({type(exc).__name__})")


def _describe_unreached(exc: Exception) -> str:
    match exc:
        case aiohttp.ClientConnectorDNSError():
            return "the host name does not resolve"
        case aiohttp.ClientSSLError():
            return f"TLS failed ({type(exc).__name__})"
        case aiohttp.ClientConnectorError():
            return f"cannot connect ({exc.os_error.strerror or 'refused'})"
        case TimeoutError():
            return "time-out while connecting"
        case _:
            return f"connection lost before the call ({type(exc).__name__})"
