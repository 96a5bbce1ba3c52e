"""An authenticated caller: the monthly quota, and the calls used of it."""

import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Final

from msgspec import Meta, Struct

from pipeline.billing import Calendar, billing_month, reset_time
from pipeline.config import Tier
from pipeline.errors import KeyStoreError
from pipeline.server.access.keyring import Keyring
from pipeline.server.access.keys import Key
from pipeline.server.http.requests import RequestError

_CALENDAR: Final = Calendar()
"""The server bills by calendar month in UTC, as the API's contract decides in "Which month?"."""

_logger = logging.getLogger(__name__)


class MonthlyUsage(Struct, frozen=True):
    """Calls of the current month."""

    tier: Annotated[Tier, Meta(description="The plan of the key.")]
    month: Annotated[
        str, Meta(pattern="^[0-9]{4}-[0-9]{2}$", description="Calendar month in UTC.", examples=["2026-11"])
    ]
    used: Annotated[int, Meta(ge=0, description="Calls counted in this month.")]
    quota: Annotated[
        Annotated[int, Meta(ge=0)] | None, Meta(description="Calls per month; null means no limit.", examples=[1000])
    ]
    resets: Annotated[
        str,
        Meta(
            description="Start of the next month, RFC 3339 UTC.",
            examples=["2026-12-01T00:00:00Z"],
            extra_json_schema={"format": "date-time"},
        ),
    ]


class Caller(ABC):
    """An authenticated caller.

    Attributes:
        name: For the access log and as the owner of kept replies; never the key.
    """

    def __init__(self, name: str, now: Callable[[], datetime]) -> None:
        self.name = name
        self._now = now

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    @asynccontextmanager
    async def charge(self) -> AsyncGenerator[None]:
        """Take one call from the monthly quota; refund it when the block raises.

        Cancellation refunds nothing: a caller who disconnects has used the call, whether its page was read or still
        queued. Otherwise disconnecting before the response would bypass the quota.

        Raises:
            RequestError: 403, the quota of this month is used up; 401, the key was revoked meanwhile.
        """
        month = billing_month(self._now(), _CALENDAR)
        await self._take_call(month)
        try:
            yield
        except Exception:
            try:
                await self._refund_call(month)
            except KeyStoreError:
                _logger.exception("a failed call cannot be refunded and stays counted")
            raise

    async def monthly_usage(self) -> MonthlyUsage:
        """Return the usage of the current month."""
        month = billing_month(self._now(), _CALENDAR)
        return MonthlyUsage(self._tier, month, await self._used(month), self._quota, _reset(month))

    @property
    def _tier(self) -> Tier:
        return "ultra"

    @property
    def _quota(self) -> int | None:
        return None

    @abstractmethod
    async def _take_call(self, month: str) -> None: ...

    @abstractmethod
    async def _refund_call(self, month: str) -> None: ...

    @abstractmethod
    async def _used(self, month: str) -> int: ...


class UnmeteredCaller(Caller):
    """The operator, or an anonymous caller on this machine: calls are counted in memory and not limited.

    Args:
        name: The caller's name.
        now: The clock of the calendar.
        calls: Number of calls by (name, month).
    """

    def __init__(self, name: str, now: Callable[[], datetime], calls: Counter[tuple[str, str]]) -> None:
        super().__init__(name, now)
        self._calls = calls

    async def _take_call(self, month: str) -> None:
        self._calls[self.name, month] += 1

    async def _refund_call(self, month: str) -> None:
        self._calls[self.name, month] -= 1

    async def _used(self, month: str) -> int:
        return self._calls[self.name, month]


class KeyHolder(Caller):
    """The holder of a key in the store.

    Args:
        key: The key.
        now: The clock of the calendar.
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

    async def _take_call(self, month: str) -> None:
        if await self._keyring.take_call(self._key.id, month):
            return
        if await self._keyring.find_by_id(self._key.id) is None:
            raise unauthorized_error()
        raise RequestError(
            f"Insufficient quota: all {self._quota} calls of {month} are used; they reset at {_reset(month)}", 403
        )

    async def _refund_call(self, month: str) -> None:
        await self._keyring.refund_call(self._key.id, month)

    async def _used(self, month: str) -> int:
        return await self._keyring.used(self._key.id, month)


def unauthorized_error() -> RequestError:
    """Return the 401 for a request without a valid key."""
    return RequestError("Unauthorized: invalid or missing API key", 401)


def utc_now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


def _reset(month: str) -> str:
    return f"{reset_time(month, _CALENDAR):%Y-%m-%dT%H:%M:%SZ}"
