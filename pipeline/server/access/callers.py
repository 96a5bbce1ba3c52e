"""Somebody who was let in, and what a call costs them."""

import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.billing import Calendar, billing_month, reset_time
from pipeline.config import Tier
from pipeline.errors import KeyStoreError
from pipeline.server.access.keyring import Keyring
from pipeline.server.access.keys import Key
from pipeline.server.http.requests import RequestError

_CALENDAR = Calendar()  # the contract's: months of UTC

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MonthlyUse:
    """What a caller has used.

    Attributes:
        tier: The plan.
        month: Calendar month in UTC, "2026-11".
        used: Calls of it.
        quota: Calls that the plan allows; None is any number.
        resets: When the next month begins, RFC 3339 UTC.
    """

    tier: Tier
    month: str
    used: int
    quota: int | None
    resets: str


class Caller(ABC):
    """Somebody who was let in.

    Attributes:
        name: For the access log and the caller's own documents: never the key.
    """

    def __init__(self, name: str, now: Callable[[], datetime]) -> None:
        self.name = name
        self._now = now

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    @asynccontextmanager
    async def charge(self) -> AsyncGenerator[None]:
        """Hold one call of the month's quota: it is given back when the block raises.

        A call whose caller goes away (a cancelled block) stays spent, be the page read or still in the queue: a quota
        that is only charged to those who wait for the answer limits nothing.

        Raises:
            RequestError: 403, no call of this month is left; 401, the key was revoked meanwhile.
        """
        month = billing_month(self._now(), _CALENDAR)
        await self._take(month)
        try:
            yield
        except Exception:
            try:
                await self._give_back(month)
            except KeyStoreError:
                _logger.exception("a call that failed stays counted")
            raise

    async def monthly_use(self) -> MonthlyUse:
        """Return what was used of the current month."""
        month = billing_month(self._now(), _CALENDAR)
        return MonthlyUse(self._tier, month, await self._used(month), self._quota, _reset(month))

    @property
    def _tier(self) -> Tier:
        return "ultra"

    @property
    def _quota(self) -> int | None:
        return None

    @abstractmethod
    async def _take(self, month: str) -> None: ...

    @abstractmethod
    async def _give_back(self, month: str) -> None: ...

    @abstractmethod
    async def _used(self, month: str) -> int: ...


class UnmeteredCaller(Caller):
    """The holder of the server's own key, or anyone on this machine: counted while the server runs, not limited.

    Args:
        name: Who.
        now: The clock.
        calls: The count, by name and month.
    """

    def __init__(self, name: str, now: Callable[[], datetime], calls: Counter[tuple[str, str]]) -> None:
        super().__init__(name, now)
        self._calls = calls

    async def _take(self, month: str) -> None:
        self._calls[self.name, month] += 1

    async def _give_back(self, month: str) -> None:
        self._calls[self.name, month] -= 1

    async def _used(self, month: str) -> int:
        return self._calls[self.name, month]


class KeyHolder(Caller):
    """The holder of a key in the store.

    Args:
        key: Which.
        now: The clock.
        keyring: Counts the calls.
    """

    def __init__(self, key: Key, now: Callable[[], datetime], keyring: Keyring) -> None:
        super().__init__(key.id, now)
        self._key = key
        self._keyring = keyring

    @property
    def _tier(self) -> Tier:
        return self._key.tier

    @property
    def _quota(self) -> int | None:
        return self._key.limit

    async def _take(self, month: str) -> None:
        if await self._keyring.take(self._key.id, month):
            return
        if await self._keyring.find_id(self._key.id) is None:
            raise unauthorized()
        raise RequestError(
            f"Insufficient quota: all {self._quota} calls of {month} are used; they reset at {_reset(month)}", 403
        )

    async def _give_back(self, month: str) -> None:
        await self._keyring.give_back(self._key.id, month)

    async def _used(self, month: str) -> int:
        return await self._keyring.used(self._key.id, month)


def unauthorized() -> RequestError:
    """Return the refusal of somebody who shows no good key."""
    return RequestError("Unauthorized: invalid or missing API key", 401)


def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


def _reset(month: str) -> str:
    return f"{reset_time(month, _CALENDAR):%Y-%m-%dT%H:%M:%SZ}"
