"""Authentication by an API key in the query or by a session, and the rate limit per key."""

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Final, NoReturn

from aiohttp import web

from pipeline.errors import KeyStoreError
from pipeline.server.access.callers import (
    Caller,
    FailedWork,
    KeyHolder,
    UnmeteredCaller,
    unauthorized_error,
    utc_now,
)
from pipeline.server.access.guessing import DELAY_MAX_S, GuessLimit
from pipeline.server.access.keyring import Keyring
from pipeline.server.access.keys import NO_VALID_KEY, Key, is_same_secret, way_back
from pipeline.server.access.origins import cross_origin_error, require_local_request, require_same_origin
from pipeline.server.access.sessions import Sessions, may_use_cookie
from pipeline.server.http.addresses import peer_group
from pipeline.server.http.connections import IS_REJECTED
from pipeline.server.http.requests import RequestError

KEY_PARAMETER: Final = "key"
SESSION_COOKIE: Final = "pagemill_session"

OPERATOR: Final = "operator"
ANYONE: Final = "anyone"

CHECK_INTERVAL_S: Final = 1.0
"""How long the answer to `closed_reason` is remembered: anybody may ask `/healthz`."""

_MAX_BUCKETS: Final = 1024
"""Number of buckets at which the full ones are dropped."""

_logger = logging.getLogger("pagemill")


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
        self._failed_work = FailedWork()
        self._guesses = GuessLimit(clock_s)
        self._was_open: bool | None = None
        self._closed_reason: tuple[float, str] = (-math.inf, "")

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
            require_local_request(request)
            if request.method not in {"GET", "HEAD"}:
                require_same_origin(request)
            caller = self._unmetered(ANYONE, share_name=f"{ANYONE} at {peer_group(request.remote or '')}")
        if caller is None:
            await self._reject(request, is_guess=bool(given))
        return caller

    async def is_open(self) -> bool:
        """Return whether requests without a key are accepted, because no key exists."""
        is_open = self._allow_anonymous and (self._keyring is None or await self._keyring.is_empty())
        if self._was_open and not is_open:
            self._log_closed("a key was made: requests without a key are refused from now on")
        self._was_open = is_open
        return is_open

    async def closed_reason(self) -> str:
        """Return why the server accepts no caller at all; "" where it accepts some."""
        asked_s, reason = self._closed_reason
        now_s = self._clock_s()
        if now_s - asked_s >= CHECK_INTERVAL_S:
            reason = await self._find_closed_reason()
            if reason and reason != self._closed_reason[1]:
                self._log_closed(reason)
            self._closed_reason = (now_s, reason)
        return reason

    def _log_closed(self, reason: str) -> None:
        """Log why requests without a key are refused; where keys are the only reason, also how to go back."""
        if self._allow_anonymous and self._keyring is not None:
            _logger.warning("%s; %s", reason, way_back(self._keyring.path))
        else:
            _logger.warning("%s", reason)

    async def _find_closed_reason(self) -> str:
        if self._key is not None:
            return ""
        try:
            if self._keyring is None or await self._keyring.is_empty():
                return "" if self._allow_anonymous else "no key exists, so every request is refused"
            return "" if await self._keyring.has_valid_key() else NO_VALID_KEY
        except KeyStoreError:
            return "the key store cannot be read, so every request fails; the log has the reason"

    async def sign_in(self, request: web.Request, key: str) -> str | None:
        """Return the token of a new session; None where requests without a key are accepted.

        Raises:
            RequestError: 401, the key is unknown or revoked; 429, the key is over its rate limit.
        """
        caller = await self._find_by_key(key)
        if caller is None:
            if await self.is_open():
                require_local_request(request)
                return None
            await self._reject(request, is_guess=bool(key))
        self._check_rate(caller)
        return self._sessions.open(caller.name, self._clock_s())

    async def _reject(self, request: web.Request, *, is_guess: bool) -> NoReturn:
        """Raise RequestError: 401, delayed after many wrong keys; 429 after too many."""
        await self.closed_reason()  # logs it
        if is_guess:
            delay_s = self._guesses.delay_s(request.remote or "")
            request[IS_REJECTED] = True
            await asyncio.sleep(min(delay_s, DELAY_MAX_S))
            if delay_s > DELAY_MAX_S:
                raise RequestError("Too Many Requests: too many wrong keys", 429, retry_after_s=retry_after_s(delay_s))
        raise unauthorized_error()

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
        return self._key_holder(found)

    async def _find_by_session(self, token: str, request: web.Request) -> Caller | None:
        key_id = self._sessions.find(token, self._clock_s())
        if key_id is None:
            return None
        if not may_use_cookie(request.method, request.content_type, request.headers):
            raise cross_origin_error()
        if key_id == OPERATOR:
            return self._unmetered(OPERATOR)
        found = await self._keyring.find_by_id(key_id) if self._keyring is not None else None
        if found is None:
            self._sessions.close(token)  # its key was revoked
        return self._key_holder(found)

    def _key_holder(self, key: Key | None) -> Caller | None:
        if key is None or self._keyring is None:
            return None
        return KeyHolder(key, self._now, self._keyring, failed_work=self._failed_work)

    def _unmetered(self, name: str, *, share_name: str | None = None) -> Caller:
        return UnmeteredCaller(name, self._now, self._unmetered_calls, share_name=share_name)

    def _check_rate(self, caller: Caller) -> None:
        """Raise RequestError (429) when a key is over its rate limit; only valid keys have a bucket, guesses none."""
        if self._rate_limit is None or not isinstance(caller, KeyHolder):
            return
        wait_s = self._rate_limit.take(caller.name, self._clock_s())
        if wait_s > 0:
            raise RequestError("Too Many Requests: rate limit exceeded", 429, retry_after_s=retry_after_s(wait_s))


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
