"""Images that callers name by a URL, fetched without becoming anybody's way into this network."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from aiohttp import ClientError, ClientResponse, ClientSession, DummyCookieJar, TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from pipeline.server.http.addresses import AddressCheck, is_public
from pipeline.server.http.images import SERVER_LIMITS
from pipeline.server.http.requests import RequestError

if TYPE_CHECKING:
    from aiohttp.connector import AddrInfoType

FETCH_DEADLINE_S: Final = 10.0
"""From the first look-up to the last byte, redirects included."""

FETCHES_AT_MOST: Final = 8
"""At a time; each may hold an image of 10 MiB."""

REDIRECTS_AT_MOST: Final = 3

URL_MAX_CHARS: Final = 8000
"""What any recipient should support (RFC 9110, 4.1)."""

NOT_FETCHED: Final = "document.image_url cannot be fetched"
"""One text for refused, unreachable and broken: which of them it is would map the network for the caller."""

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_CHUNK_BYTES: Final = 64 * 1024
_HEADERS: Final = {"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": "pagemill"}

Fetch = Callable[[str], Awaitable[bytes]]
"""Returns what lies at a URL, or raises a RequestError."""

Lookup = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the addresses of a host, as text, for a port; raises OSError when there are none."""


async def obtain_image(url: str, fetch: Fetch | None) -> bytes:
    """Return the image behind a URL.

    Args:
        url: As the caller gave it.
        fetch: Fetches URLs; None refuses them.

    Raises:
        RequestError: it cannot be had.
    """
    if fetch is None:
        raise RequestError("fetching URLs is not enabled on this server")
    return await fetch(url)


class ForbiddenAddressError(OSError):
    """The URL, an address behind it, or what it answers is refused; no caller sees this."""


def may_dial(address: str) -> bool:
    """Return whether an address belongs to a public host, and not to this machine.

    This machine may have a public address, too, and behind it services that only a firewall keeps from strangers.
    """
    return is_public(address) and not is_own(address)


def is_own(address: str) -> bool:
    """Return whether an address is one of this machine's: from those alone it sends to itself. Nothing is sent."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, 9))
        except OSError:  # no way leads there
            return False
        return bool(probe.getsockname()[0] == address)


class Fetcher:
    """Fetches images from public hosts.

    A name is looked up once a hop, each of its addresses is judged, and the judged addresses are what is dialled:
    a name that means something else a moment later gains nothing. The caller's key, cookies and referrer stay here.
    Any port will do, since archives' image servers stand on many.

    Args:
        judge: Tells which addresses may be dialled.
        lookup: Finds a name's addresses.
        deadline_s: How long a fetch may take.
        max_bytes: How large an image may be once it is decompressed.
    """

    def __init__(
        self,
        *,
        is_allowed: AddressCheck = may_dial,
        lookup: Lookup | None = None,
        deadline_s: float = FETCH_DEADLINE_S,
        max_bytes: int = SERVER_LIMITS.max_bytes,
    ) -> None:
        self._is_allowed = is_allowed
        self._lookup = lookup or _SystemLookup()
        self._deadline_s = deadline_s
        self._max_bytes = max_bytes
        self._slots = asyncio.Semaphore(FETCHES_AT_MOST)

    async def fetch(self, url: str) -> bytes:
        """Return what lies at a URL.

        Raises:
            RequestError: it cannot be had, or is too large; 429 when too many fetches are under way.
        """
        if self._slots.locked():
            raise RequestError("Too Many Requests: the server fetches other images", 429, retry_after_s=1)
        async with self._slots:
            try:
                async with asyncio.timeout(self._deadline_s):
                    return await self._follow(url)
            except (ClientError, OSError, ValueError) as exc:
                raise RequestError(NOT_FETCHED) from exc

    async def _follow(self, url: str) -> bytes:
        target = self._check_target(url)
        connector = TCPConnector(
            resolver=_JudgingResolver(self._lookup, self._is_allowed),
            use_dns_cache=False,
            socket_factory=self._open_socket,
            force_close=True,
        )
        async with ClientSession(
            connector=connector, cookie_jar=DummyCookieJar(), headers=_HEADERS, trust_env=False
        ) as session:
            for _ in range(1 + REDIRECTS_AT_MOST):
                async with session.get(target, allow_redirects=False) as response:
                    if response.status not in _REDIRECTS:
                        return await self._read(response)
                    target = self._check_target(str(target.join(URL(response.headers.get("Location", "")))))
        raise ForbiddenAddressError("too many redirects")

    @staticmethod
    def _check_target(url: str) -> URL:
        if len(url) > URL_MAX_CHARS:
            raise ForbiddenAddressError("a URL that long")
        target = URL(url)
        if target.scheme not in {"http", "https"} or not target.raw_host:
            raise ForbiddenAddressError("another scheme, or no host")
        if target.user is not None or target.password is not None or "%" in target.raw_host:
            raise ForbiddenAddressError("credentials, or an encoded host")
        return target

    def _open_socket(self, address: "AddrInfoType") -> socket.socket:
        """Return the socket for an address that is about to be dialled: the one place that every connection passes."""
        family, kind, protocol, _, place = address
        if not self._is_allowed(str(place[0])):
            raise ForbiddenAddressError("an address inside")
        return socket.socket(family, kind, protocol)

    async def _read(self, response: ClientResponse) -> bytes:
        if response.status != 200:
            raise ForbiddenAddressError(f"status {response.status}")
        body = bytearray()
        # Chunks are decompressed a piece at a time, so that a bomb is cut off at the limit.
        async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
            body += chunk
            if len(body) > self._max_bytes:
                raise RequestError(f"image is larger than {self._max_bytes // 1024 // 1024} MB")
        return bytes(body)


class _JudgingResolver(AbstractResolver):
    """Hands out the addresses of a name when every one of them may be dialled."""

    def __init__(self, lookup: Lookup, is_allowed: AddressCheck) -> None:
        self._lookup = lookup
        self._is_allowed = is_allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        addresses = await self._lookup(host, port)
        if not addresses or not all(map(self._is_allowed, addresses)):
            raise ForbiddenAddressError("a name of something inside")
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST)
            for address in addresses
        ]

    async def close(self) -> None:
        """Nothing is open."""


class _SystemLookup:
    """Asks the operating system, in threads of its own: a name server that does not answer holds up nothing else."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(FETCHES_AT_MOST, thread_name_prefix="lookup")

    async def __call__(self, host: str, port: int) -> list[str]:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._ask, host, port)

    @staticmethod
    def _ask(host: str, port: int) -> list[str]:
        return [str(place[0]) for *_, place in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
