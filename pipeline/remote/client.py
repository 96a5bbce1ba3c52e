"""The HTTP client: sends one POST and returns one outcome.

The API takes the key in the query string, so no request URL may leave this module. aiohttp's errors are therefore
translated by their class: their text may contain the URL.
"""

import asyncio
import errno
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
from pipeline.storage.files import has_descriptors, no_descriptors
from pipeline.wire import (
    REPLY_MAX_BYTES,
    TEXT_RECOGNITION_PATH,
    InvalidReplyError,
    parse_reply,
    parse_status_text,
)

_KEEPALIVE_S: Final = 4.0
"""Shorter than the idle timeouts of Node (5 s) and nginx (75 s), longer than gunicorn's (2 s). A request on a
connection that the server has just closed counts as lost, although the server never read it."""

_HEADER_MAX_BYTES: Final = 64 * 1024
"""Some gateways send Content-Security-Policy headers longer than aiohttp's default limit of 8 kB; the reply that
follows was billed."""

_READ_BLOCK_BYTES: Final = 64 * 1024
_DETAIL_MAX_CHARS: Final = 300


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Deadlines of one call.

    Attributes:
        total_s: From the start of the call to the end of the reply.
        connect_s: To open the TCP connection.
        read_s: Between two reads of the reply.
    """

    total_s: float = 120.0
    connect_s: float = 10.0
    read_s: float = 60.0


class Client:
    """Sends requests to one service.

    Args:
        session: The aiohttp session that sends them.
        service: Base URL and key.
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
        """Send one request and return its outcome; failures of the service or the network are returned, not raised."""
        upload = BytesIO(body)
        try:
            async with self._session.post(
                self._url,
                data=upload,
                headers={"Content-Type": "application/json", "Accept": "application/json"},
                allow_redirects=False,
            ) as response:
                if response.status == 200 and upload.tell() < len(body):  # it cannot be the text of this page
                    response.close()
                    return Outcome(fault=Fault.LOST, detail="the reply came before the whole page was sent")
                return self._redact(_interpret(response, await _read_bounded(response)))
        except (aiohttp.ClientError, TimeoutError, ConnectionError, ssl.SSLError, asyncio.IncompleteReadError) as exc:
            return _translate(exc, begun=upload.tell() > 0)
        except ValueError as exc:  # aiohttp raises it for some malformed headers
            return Outcome(fault=Fault.LOST, detail=f"malformed reply ({type(exc).__name__})")

    def _redact(self, outcome: Outcome) -> Outcome:
        """Remove the key, plain and percent-encoded, from the outcome's detail, then shorten the detail.

        In this order, because half a key at the cut would not be found.
        """
        detail = outcome.detail
        for secret in self._secrets:
            detail = detail.replace(secret, "***")
        return replace(outcome, detail=detail[:_DETAIL_MAX_CHARS])


@asynccontextmanager
async def open_client(service: Service, timeouts: Timeouts, *, connections: int) -> AsyncGenerator[Client]:
    """Open a client for one service.

    Args:
        service: Base URL and key.
        timeouts: Deadlines of each call.
        connections: Most connections open at once; each call in flight takes one.
    """
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
    """Return the URL without its trailing slash if it can be the base of a service.

    Raises:
        UsageError: the URL is not http(s), has no host, or has a query, a fragment, a user or a password.
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
    """Return the body, or None when it is longer than REPLY_MAX_BYTES after decompression.

    A body that breaks off raises only with status 200; the status of an error is enough for its verdict.
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
        detail = parse_status_text(body, limit_chars=REPLY_MAX_BYTES)  # `_redact` shortens it
        return Outcome(response.status, detail=detail, retry_after_s=retry_after_s)
    try:
        return Outcome(200, reply=parse_reply(body))
    except InvalidReplyError as exc:
        return Outcome(200, detail=str(exc))


def _translate(exc: Exception, *, begun: bool) -> Outcome:
    """Return the outcome of a call that raised.

    Args:
        exc: aiohttp's error.
        begun: The first byte of the body was given to a connection; before that (connection refused, DNS, TLS,
            connect timeout) the call cannot have been billed.
    """
    if not begun and _lacks_descriptor(exc):
        return Outcome(fault=Fault.NO_DESCRIPTOR, detail=str(no_descriptors()))
    if not begun:
        return Outcome(fault=Fault.NOT_SENT, detail=_describe_unreached(exc))
    if isinstance(exc, TimeoutError):
        return Outcome(fault=Fault.LOST, detail="timeout while waiting for the reply")
    return Outcome(fault=Fault.LOST, detail=f"connection lost ({type(exc).__name__})")


def _lacks_descriptor(exc: Exception) -> bool:
    if isinstance(exc, aiohttp.ClientConnectorDNSError):
        return not has_descriptors()
    return isinstance(exc, OSError) and exc.errno in {errno.EMFILE, errno.ENFILE}


def _describe_unreached(exc: Exception) -> str:
    match exc:
        case aiohttp.ClientConnectorDNSError():
            return "the host name does not resolve"
        case aiohttp.ClientSSLError():
            return f"TLS failed ({type(exc).__name__})"
        case aiohttp.ClientConnectorError():
            return f"cannot connect ({exc.os_error.strerror or 'refused'})"
        case TimeoutError():
            return "timeout while connecting"
        case _:
            return f"connection lost before the request was sent ({type(exc).__name__})"
