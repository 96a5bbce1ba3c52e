"""Authentication by an API key in the query or by a session, and the rate limit per key."""

import math
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Final

from aiohttp import web
from yarl import URL

from pipeline.server.access.callers import Caller, KeyHolder, UnmeteredCaller, unauthorized_error, utc_now
from pipeline.server.access.keyring import Keyring
from pipeline.server.access.keys import is_same_secret
from pipeline.server.access.sessions import Sessions, is_cross_origin, may_use_cookie
from pipeline.server.http.addresses import is_loopback
from pipeline.server.http.requests import RequestError

KEY_PARAMETER: Final = "key"
SESSION_COOKIE: Final = "pagemill_session"

OPERATOR: Final = "operator"
ANYONE: Final = "anyone"

_MAX_BUCKETS: Final = 1024
"""Number of buckets at which the full ones are dropped."""


class Authenticator:
    """Finds the caller of a request.

    The store is read at each request, so that a revoked key is rejected at once. Text without the syntax of a key is
    rejected without reading the store; a guess with the syntax costs a hash and one read, and leaves nothing in memory.

    Args:
        key: The operator's key, without quota and rate limit; None when there is none.
        keyring: The keys of the store; None when there is no store.
        rate_per_s: Calls per second of each key in the store; None is no limit.
        allow_anonymous: Whether requests without a key are accepted while no key exists; only for a server that
            listens on loopback.
        now: The clock of the calendar.
        clock_s: A monotonic clock.
    """

    def __init__(
        self,
        *,
        key: str | None = None,
        keyring: Keyring | None = None,
        rate_per_s: float | None = None,
        allow_anonymous: bool = True,
        now: Callable[[], datetime] = utc_now,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._key = key
        self._keyring = keyring
        self._rate_limit = RateLimit(rate_per_s) if rate_per_s is not None else None
        self._allow_anonymous = allow_anonymous and key is None
        self._now = now
        self._clock_s = clock_s
        self._sessions = Sessions()
        self._unmetered_calls: Counter[tuple[str, str]] = Counter()

    def __repr__(self) -> str:
        return f"<Authenticator, {self._sessions!r}>"

    async def admit(self, request: web.Request) -> Caller:
        """Return the caller, whose rate limit this call counts against.

        Raises:
            RequestError: 401 or 403, as `authenticate` raises it; 429, the key is over its rate limit.
        """
        caller = await self.authenticate(request)
        self._check_rate(caller)
        return caller

    async def authenticate(self, request: web.Request) -> Caller:
        """Return the caller; this does not count against the rate limit.

        Raises:
            RequestError: 401, the key is unknown, revoked or missing; 403, a page of another site makes the request.
        """
        given = request.query.get(KEY_PARAMETER)
        token = request.cookies.get(SESSION_COOKIE)
        if given is not None:
            caller = await self._find_by_key(given)
        elif token is not None:
            caller = await self._find_by_session(token, request)
        else:
            caller = None
        if caller is None and await self.is_open():
            _require_loopback_host(request)
            if request.method not in {"GET", "HEAD"}:
                require_same_origin(request)
            caller = self._unmetered(ANYONE)
        if caller is None:
            raise unauthorized_error()
        return caller

    async def is_open(self) -> bool:
        """Return whether requests without a key are accepted, because no key exists."""
        return self._allow_anonymous and (self._keyring is None or await self._keyring.is_empty())

    async def sign_in(self, key: str) -> str | None:
        """Return the token of a new session; None where requests without a key are accepted.

        Raises:
            RequestError: 401, the key is unknown or revoked; 429, the key is over its rate limit.
        """
        caller = await self._find_by_key(key)
        if caller is None:
            if await self.is_open():
                return None
            raise unauthorized_error()
        self._check_rate(caller)
        return self._sessions.open(caller.name, self._clock_s())

    def is_signed_in(self, request: web.Request) -> bool:
        """Return whether a session, and not a key, authenticates this request."""
        token = request.cookies.get(SESSION_COOKIE)
        has_key = KEY_PARAMETER in request.query
        return not has_key and token is not None and self._sessions.find(token, self._clock_s()) is not None

    def sign_out(self, token: str) -> None:
        """End the session with this token, if there is one."""
        self._sessions.close(token)

    async def _find_by_key(self, given: str) -> Caller | None:
        if self._key is not None and is_same_secret(given, self._key):
            return self._unmetered(OPERATOR)
        found = await self._keyring.find(given) if self._keyring is not None else None
        return None if found is None or self._keyring is None else KeyHolder(found, self._now, self._keyring)

    async def _find_by_session(self, token: str, request: web.Request) -> Caller | None:
        key_id = self._sessions.find(token, self._clock_s())
        if key_id is None:
            return None
        if not may_use_cookie(request.method, request.content_type, request.headers):
            raise _cross_origin_error()
        if key_id == OPERATOR:
            return self._unmetered(OPERATOR)
        found = await self._keyring.find_by_id(key_id) if self._keyring is not None else None
        if found is None or self._keyring is None:
            self._sessions.close(token)  # its key was revoked
            return None
        return KeyHolder(found, self._now, self._keyring)

    def _unmetered(self, name: str) -> Caller:
        return UnmeteredCaller(name, self._now, self._unmetered_calls)

    def _check_rate(self, caller: Caller) -> None:
        """Raise RequestError (429) when a key is over its rate limit; only valid keys have a bucket, guesses none."""
        if self._rate_limit is None or not isinstance(caller, KeyHolder):
            return
        wait_s = self._rate_limit.take(caller.name, self._clock_s())
        if wait_s > 0:
            raise RequestError("Too Many Requests: rate limit exceeded", 429, retry_after_s=retry_after_s(wait_s))


def require_same_origin(request: web.Request) -> None:
    """Raise when the browser reports that a page of another origin makes this request.

    Raises:
        RequestError: 403.
    """
    if is_cross_origin(request.headers):
        raise _cross_origin_error()


def _require_loopback_host(request: web.Request) -> None:
    """Raise RequestError (403) when the Host header of a request without a key is not a loopback name.

    After DNS rebinding, where an attacker's host name resolves to 127.0.0.1, the browser sees one origin; only the
    Host header still has the attacker's name.
    """
    try:
        host = URL(f"http://{request.host}").host
    except ValueError:
        host = None
    if host is None or not is_loopback(host):
        raise RequestError("Forbidden: without a key this server is called localhost, or by its loopback address", 403)


def _cross_origin_error() -> RequestError:
    return RequestError("Forbidden: the request comes from the page of another site", 403)


class RateLimit:
    """Token buckets that refill at one rate; a name without a bucket has a full one.

    Args:
        rate_per_s: Calls per second of each name, in the long run.
        burst: Calls that a name may make at once; by default those of one second, at least one.
    """

    def __init__(self, rate_per_s: float, burst: int | None = None) -> None:
        self._interval_s = 1 / rate_per_s
        self._burst = burst if burst is not None else max(1, math.ceil(rate_per_s))
        self._full_at_s: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"<RateLimit {1 / self._interval_s:g}/s, burst {self._burst}, {len(self._full_at_s)} buckets>"

    def take(self, name: str, now_s: float) -> float:
        """Take one token and return 0; or, when the bucket is empty, return the seconds until it has one.

        Args:
            name: The bucket's name.
            now_s: A monotonic clock.
        """
        full_at_s = max(now_s, self._full_at_s.get(name, now_s)) + self._interval_s
        wait_s = full_at_s - now_s - self._burst * self._interval_s
        if wait_s > 1e-9:  # tolerates the rounding of floating-point sums
            return wait_s
        if len(self._full_at_s) >= _MAX_BUCKETS:
            self._full_at_s = {name: at_s for name, at_s in self._full_at_s.items() if at_s > now_s}
        self._full_at_s[name] = full_at_s
        return 0.0


def retry_after_s(wait_s: float) -> int:
    """Return a wait as a Retry-After value: whole seconds, rounded up, at least 1."""
    return max(1, math.ceil(wait_s))
