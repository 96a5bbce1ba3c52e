"""Who may call: a key in the query, or a session that was opened with one; and not too often at once."""

import math
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Final

from aiohttp import web
from yarl import URL

from pipeline.server.access.callers import Caller, KeyHolder, UnmeteredCaller, unauthorized, utc_now
from pipeline.server.access.keyring import Keyring
from pipeline.server.access.sessions import Sessions, is_foreign, may_use_cookie
from pipeline.server.http.addresses import is_loopback
from pipeline.server.http.requests import RequestError, is_key_right

KEY_PARAMETER: Final = "key"
COOKIE: Final = "pagemill_session"

OPERATOR: Final = "operator"
ANYONE: Final = "anyone"
_MANY = 1024


class Access:
    """Judges who may call.

    A key is judged by the store at each request, so that one that was revoked is refused from then on. What is no key
    by its form is refused without a look; what might be one costs a hash and one read, and leaves nothing in memory.

    Args:
        key: The operator's own key, without quota and burst limit; None when there is none.
        keyring: The keys of the store; None when there is no store.
        rate_per_s: Calls a second that each key of the store may make; None is any number.
        anyone: Whether anyone may come in while there is no key at all: only where nobody else can reach the server.
        now: The clock of the calendar.
        clock_s: A clock that never goes back.
    """

    def __init__(
        self,
        *,
        key: str | None = None,
        keyring: Keyring | None = None,
        rate_per_s: float | None = None,
        anyone: bool = True,
        now: Callable[[], datetime] = utc_now,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._key = key
        self._keyring = keyring
        self._limit = BurstLimit(rate_per_s) if rate_per_s is not None else None
        self._anyone = anyone and key is None
        self._now = now
        self._clock_s = clock_s
        self._sessions = Sessions()
        self._unmetered_calls: Counter[tuple[str, str]] = Counter()

    def __repr__(self) -> str:
        return f"<Access, {self._sessions!r}>"

    async def admit(self, request: web.Request) -> Caller:
        """Return who calls, and take the call from their burst.

        Raises:
            RequestError: 401, the key is unknown, revoked or missing; 403, the page of another site asks;
                429, too many calls at once.
        """
        caller = await self.identify(request)
        self._hold_back(caller)
        return caller

    async def identify(self, request: web.Request) -> Caller:
        """Return who calls; as often as they like.

        Raises:
            RequestError: 401 or 403, as `admit` does.
        """
        given = request.query.get(KEY_PARAMETER)
        token = request.cookies.get(COOKIE)
        if given is not None:
            caller = await self._find_by_key(given)
        elif token is not None:
            caller = await self._find_by_session(token, request)
        else:
            caller = None
        if caller is None and await self.is_open():
            _require_own_host(request)
            if request.method not in {"GET", "HEAD"}:
                require_same_origin(request)
            caller = self._unmetered(ANYONE)
        if caller is None:
            raise unauthorized()
        return caller

    async def sign_in(self, key: str) -> str | None:
        """Return the token of a new session; None where anyone may come in without one.

        Raises:
            RequestError: 401, the key is unknown or revoked; 429, too many calls at once.
        """
        caller = await self._find_by_key(key)
        if caller is None:
            if await self.is_open():
                return None
            raise unauthorized()
        self._hold_back(caller)
        return self._sessions.open(caller.name, self._clock_s())

    def is_signed_in(self, request: web.Request) -> bool:
        """Return whether it is a session, and no key, that lets this request in."""
        token = request.cookies.get(COOKIE)
        is_by_key = KEY_PARAMETER in request.query
        return not is_by_key and token is not None and self._sessions.find(token, self._clock_s()) is not None

    def sign_out(self, token: str) -> None:
        """End a session, if it is one."""
        self._sessions.close(token)

    async def _find_by_key(self, given: str) -> Caller | None:
        if self._key is not None and is_key_right(given, self._key):
            return self._unmetered(OPERATOR)
        found = await self._keyring.find(given) if self._keyring is not None else None
        return None if found is None or self._keyring is None else KeyHolder(found, self._now, self._keyring)

    async def _find_by_session(self, token: str, request: web.Request) -> Caller | None:
        key_id = self._sessions.find(token, self._clock_s())
        if key_id is None:
            return None
        if not may_use_cookie(request.method, request.content_type, request.headers):
            raise _foreign()
        if key_id == OPERATOR:
            return self._unmetered(OPERATOR)
        found = await self._keyring.find_id(key_id) if self._keyring is not None else None
        if found is None or self._keyring is None:
            self._sessions.close(token)  # its key was revoked
            return None
        return KeyHolder(found, self._now, self._keyring)

    async def is_open(self) -> bool:
        """Return whether anyone may come in, since there is no key at all."""
        return self._anyone and (self._keyring is None or await self._keyring.is_empty())

    def _unmetered(self, name: str) -> Caller:
        return UnmeteredCaller(name, self._now, self._unmetered_calls)

    def _hold_back(self, caller: Caller) -> None:
        """Raise when a key makes too many calls at once; buckets are for keys that exist, so guesses make none."""
        if self._limit is None or not isinstance(caller, KeyHolder):
            return
        wait_s = self._limit.take(caller.name, self._clock_s())
        if wait_s > 0:
            raise RequestError("Too Many Requests: rate limit exceeded", 429, retry_after_s=retry_after_s(wait_s))


def require_same_origin(request: web.Request) -> None:
    """Raise when a browser says that another site's page makes this request.

    Raises:
        RequestError: 403.
    """
    if is_foreign(request.headers):
        raise _foreign()


def _require_own_host(request: web.Request) -> None:
    """Raise when a server that is open to this machine is called by another name.

    A page whose name was made to mean this machine after the browser had loaded it ("DNS rebinding") is of the same
    origin to the browser; only its name is not.
    """
    try:
        host = URL(f"http://{request.host}").host
    except ValueError:
        host = None
    if host is None or not is_loopback(host):
        raise RequestError("Forbidden: without a key this server is called localhost, or by its loopback address", 403)


def _foreign() -> RequestError:
    return RequestError("Forbidden: the request comes from the page of another site", 403)


class BurstLimit:
    """Buckets that fill at one rate; a name without a bucket has a full one.

    Args:
        rate_per_s: Calls a second that each name may make for long.
        burst: Calls that it may make at once; the default is what one second brings, at least one.
    """

    def __init__(self, rate_per_s: float, burst: int | None = None) -> None:
        self._interval_s = 1 / rate_per_s
        self._burst = burst if burst is not None else max(1, math.ceil(rate_per_s))
        self._full_at_s: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"<BurstLimit {1 / self._interval_s:g}/s, {self._burst} at once, {len(self._full_at_s)} buckets>"

    def take(self, name: str, now_s: float) -> float:
        """Take a call and return 0; or take none, and return how long to wait for one.

        Args:
            name: Whose bucket.
            now_s: A clock that never goes back.
        """
        full_at_s = max(now_s, self._full_at_s.get(name, now_s)) + self._interval_s
        wait_s = full_at_s - now_s - self._burst * self._interval_s
        if wait_s > 1e-9:  # what floating point makes of nothing
            return wait_s
        if len(self._full_at_s) >= _MANY:
            self._full_at_s = {name: at_s for name, at_s in self._full_at_s.items() if at_s > now_s}
        self._full_at_s[name] = full_at_s
        return 0.0


def retry_after_s(wait_s: float) -> int:
    """Return a wait as the Retry-After header has it: whole seconds, not before the wait is over, at least 1."""
    return max(1, math.ceil(wait_s))
