"""The HTTP client: sends one POST and returns one outcome.

The API takes the key in the query string, so no request URL may leave this module; `faults` translates aiohttp's
errors, and `redaction` removes the key from what the service says.
"""

import asyncio
import os
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from typing import Final

import aiohttp
from yarl import URL

from pipeline.remote.connections import Connector, connected_at
from pipeline.remote.deadlines import deadline
from pipeline.remote.faults import CALL_ERRORS, fault_outcome
from pipeline.remote.outcome import Fault, Hint, Outcome, read_outcome
from pipeline.remote.proxies import Proxy
from pipeline.remote.redaction import Redaction
from pipeline.remote.timeouts import Timeouts
from pipeline.service import Service
from pipeline.wire import ADVANCED_RECOGNITION_PATH, REPLY_MAX_BYTES, TEXT_RECOGNITION_PATH

_KEEPALIVE_S: Final = 4.0
"""Shorter than the idle timeouts of Node (5 s) and nginx (75 s), longer than gunicorn's (2 s). A request on a
connection that the server has just closed counts as lost, although the server never read it."""

_HEADER_MAX_BYTES: Final = 64 * 1024
"""Some gateways send Content-Security-Policy headers longer than aiohttp's default limit of 8 kB; the reply that
follows was billed."""

_READ_BLOCK_BYTES: Final = 64 * 1024
_DETAIL_MAX_CHARS: Final = 300
_TLS_PROBE_S: Final = 5.0


class Client:
    """Sends requests to one service.

    Args:
        session: The aiohttp session that sends them.
        service: Base URL and key.
        timeouts: Deadlines of each call; the session knows those for connecting and reading.
        proxy: The proxy that they go through; None for none.
        wants_positions: True calls the advanced endpoint, which says where the lines are.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        service: Service,
        timeouts: Timeouts,
        proxy: Proxy | None = None,
        *,
        wants_positions: bool = False,
    ) -> None:
        self._session = session
        # The embedded engine's calls cost nothing; its advanced endpoint says how well a page was read.
        is_advanced = wants_positions or not service.metered
        path = ADVANCED_RECOGNITION_PATH if is_advanced else TEXT_RECOGNITION_PATH
        url = URL(service.base_url) / path.lstrip("/")
        self._url = url if service.key is None else url.with_query(key=service.key)
        self._redaction = Redaction(service.key)
        self._timeouts = timeouts
        self._proxy = proxy
        self._has_heard = False
        """The service has answered in HTTP."""
        self._speaks_tls: bool | None = None
        """Whether the port that is called with plain HTTP speaks TLS; None until that is tested."""

    def __repr__(self) -> str:
        return f"<Client {self._url.host}>"

    async def post(self, body: bytes) -> Outcome:
        """Send one request and return its outcome; failures of the service or the network are returned, not raised."""
        outcome = self._redact(await self._exchange(body))
        self._has_heard = self._has_heard or outcome.status is not None
        if outcome.cut_off_s is not None and not self._has_heard and await self._is_tls_port():
            return Outcome(status=400, detail="no answer in plain HTTP", hint=Hint.TLS_PORT)
        return outcome

    async def _exchange(self, body: bytes) -> Outcome:
        upload = BytesIO(body)
        received: _Received | None = None
        connected_at.set(None)
        try:
            async with (
                deadline(self._timeouts.total_s),
                self._session.post(
                    self._url,
                    data=upload,
                    headers={"Content-Type": "application/json", "Accept": "application/json"},
                    allow_redirects=False,
                ) as response,
            ):
                if 200 <= response.status < 300 and upload.tell() < len(body):  # it cannot be the text of this page
                    response.close()
                    return Outcome(fault=Fault.LOST, detail="the reply came before the whole page was sent")
                received = _Received(response)
                await received.read()
        except CALL_ERRORS as exc:
            fault = self._fault(exc, begun=upload.tell() > 0)
            return fault if received is None else received.broken_outcome(fault)
        except ValueError as exc:  # aiohttp raises it for some malformed headers
            return Outcome(fault=Fault.LOST, detail=f"malformed reply ({type(exc).__name__})")
        return received.outcome()

    def _fault(self, exc: Exception, *, begun: bool) -> Outcome:
        is_tls = self._url.scheme == "https"
        ca_file = os.environ.get("SSL_CERT_FILE") or None
        outcome = fault_outcome(exc, begun=begun, is_tls=is_tls, proxy=self._proxy, ca_file=ca_file)
        opened_s = connected_at.get()
        if outcome.fault is not Fault.LOST or opened_s is None or isinstance(exc, TimeoutError):
            return outcome
        return replace(outcome, cut_off_s=asyncio.get_running_loop().time() - opened_s)

    async def _is_tls_port(self) -> bool:
        """Return whether a port that gave no answer to plain HTTP completes a TLS handshake; tested once."""
        if self._speaks_tls is None:
            self._speaks_tls = False
            if self._url.scheme == "http" and self._proxy is None:
                self._speaks_tls = await _completes_handshake(self._url.host or "", self._url.port or 80)
        return self._speaks_tls

    def _redact(self, outcome: Outcome) -> Outcome:
        """Remove the key from what the outcome quotes, then shorten the detail.

        In this order, because half a key at the cut would not be found.
        """
        kept = None if outcome.kept is None else self._redaction.redact_bytes(outcome.kept)
        detail = self._redaction.redact(outcome.detail)[:_DETAIL_MAX_CHARS]
        return outcome if (detail, kept) == (outcome.detail, None) else replace(outcome, detail=detail, kept=kept)


@asynccontextmanager
async def open_client(
    service: Service,
    timeouts: Timeouts,
    *,
    connections: int,
    proxy: Proxy | None = None,
    wants_positions: bool = False,
    unacknowledged_s: float | None = None,
) -> AsyncGenerator[Client]:
    """Open a client for one service.

    Args:
        service: Base URL and key.
        timeouts: Deadlines of each call.
        connections: Most connections open at once; each call in flight takes one.
        proxy: The proxy that calls go through; None for none, whatever the environment says.
        wants_positions: As for `Client`.
        unacknowledged_s: As for `Connector`.
    """
    timeout = aiohttp.ClientTimeout(
        total=None, connect=None, sock_connect=timeouts.connect_s, sock_read=timeouts.read_s
    )
    is_tls = service.base_url.startswith("https:")
    async with aiohttp.ClientSession(
        connector=Connector(
            connections=connections, keepalive_s=_KEEPALIVE_S, is_tls=is_tls, unacknowledged_s=unacknowledged_s
        ),
        timeout=timeout,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": "pagemill"},
        auto_decompress=True,
        max_field_size=_HEADER_MAX_BYTES,
        proxy=None if proxy is None else proxy.url,
    ) as session:
        yield Client(session, service, timeouts, proxy, wants_positions=wants_positions)


class _Received:
    """The body of a response, as far as it has arrived."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self._blocks: list[bytes] = []
        self._size_bytes = 0

    def __repr__(self) -> str:
        return f"<_Received HTTP {self._response.status}, {self._size_bytes} bytes>"

    async def read(self) -> None:
        """Read the body up to REPLY_MAX_BYTES after decompression, and close the connection of a longer one."""
        async for block in self._response.content.iter_chunked(_READ_BLOCK_BYTES):
            self._blocks.append(block[: REPLY_MAX_BYTES - self._size_bytes])
            self._size_bytes += len(block)
            if self._size_bytes > REPLY_MAX_BYTES:
                self._response.close()
                return

    def outcome(self) -> Outcome:
        """Return the outcome of a call whose response has arrived."""
        return read_outcome(
            self._response.status,
            self._response.headers,
            b"".join(self._blocks),
            charset=self._response.charset,
            excess=self._size_bytes > REPLY_MAX_BYTES,
            now=datetime.now(UTC),
        )

    def broken_outcome(self, fault: Outcome) -> Outcome:
        """Return the outcome of a call whose response broke off.

        The status of an error is enough for its verdict. Of a success, what has arrived was paid for.
        """
        if not 200 <= self._response.status < 300:
            return self.outcome()
        return replace(fault, cut_off_s=None, kept=b"".join(self._blocks) or None)


async def _completes_handshake(host: str, port: int) -> bool:
    """Return whether a TLS handshake with a port completes, whatever its certificate; nothing else is sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with suppress(OSError, TimeoutError, ValueError):
        async with asyncio.timeout(_TLS_PROBE_S):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
        writer.transport.abort()
        return True
    return False
