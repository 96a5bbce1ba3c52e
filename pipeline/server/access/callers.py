"""An authenticated caller: the monthly quota, and the calls used of it."""

import logging
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Annotated, Final

from msgspec import Meta, Struct

from pipeline.billing import Calendar, billing_month, reset_time
from pipeline.config import Tier
from pipeline.engine.recognition import BusyError
from pipeline.errors import KeyStoreError
from pipeline.server.access.keyring import Keyring
from pipeline.server.access.keys import Key
from pipeline.server.http.requests import RequestError

_CALENDAR: Final = Calendar()
"""The server bills by calendar month in UTC, as the API's contract decides in "Which month?"."""

CHARGED_WORK_S: Final = 1.0
"""Work of this length costs a call also when it fails. Reading a page takes 0.3 to 25 s, finding out that one is
truncated a few hundredths of a second."""

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


class WorkTimer:
    """Measures the work that a call causes: fetching its image, and reading it; not the wait for either."""

    def __init__(self) -> None:
        self.elapsed_s = 0.0

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Add the time of the block."""
        begun_s = time.monotonic()
        try:
            yield
        finally:
            self.elapsed_s += time.monotonic() - begun_s


class FailedWork:
    """The work of failed calls by caller: short failures are free until they add up to `CHARGED_WORK_S`.

    A call that fails is refunded, so without this a key could keep a worker busy with pages that fail, for nothing.
    """

    def __init__(self) -> None:
        self._unpaid_s: dict[str, float] = {}

    def costs_a_call(self, caller: str, elapsed_s: float) -> bool:
        """Add the work of a failed call; return whether the call is charged all the same."""
        unpaid_s = self._unpaid_s.pop(caller, 0.0) + elapsed_s
        if unpaid_s >= CHARGED_WORK_S:
            return True
        self._unpaid_s[caller] = unpaid_s
        return False


class Caller(ABC):
    """An authenticated caller.

    Attributes:
        name: For the access log and as the owner of kept replies; never the key.
        share_name: Whose share of the server the caller uses; by default its own.
    """

    def __init__(
        self,
        name: str,
        now: Callable[[], datetime],
        *,
        share_name: str | None = None,
        failed_work: FailedWork | None = None,
    ) -> None:
        self.name = name
        self.share_name = share_name if share_name is not None else name
        self._now = now
        self._failed_work = failed_work or FailedWork()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    async def check_quota(self) -> None:
        """Return when the caller has a call left: before its body is read. `charge` decides.

        Raises:
            RequestError: 403, the quota of this month is used up.
        """
        month = billing_month(self._now(), _CALENDAR)
        if self._quota is not None and await self._used(month) >= self._quota:
            raise self._quota_error(month)

    @asynccontextmanager
    async def charge(self) -> AsyncGenerator[WorkTimer]:
        """Take one call from the monthly quota; refund it when the block raises before it has caused work.

        Cancellation refunds nothing: a caller who disconnects has used the call, whether its page was read or still
        queued. Otherwise disconnecting before the response would bypass the quota. Nor does a failure refund the call
        after `CHARGED_WORK_S` of work, unless the server was busy.

        Yields:
            Measures the work.

        Raises:
            RequestError: 403, the quota of this month is used up; 401, the key was revoked meanwhile.
        """
        month = billing_month(self._now(), _CALENDAR)
        await self._take_call(month)
        work = WorkTimer()
        try:
            yield work
        except Exception as exc:
            if not _is_servers_doing(exc) and self._failed_work.costs_a_call(self.name, work.elapsed_s):
                raise
            try:
                await self._refund_call(month)
            except KeyStoreError:
                _logger.exception("a failed call cannot be refunded and stays counted")
            raise

    async def monthly_usage(self) -> MonthlyUsage:
        """Return the usage of the current month."""
        month = billing_month(self._now(), _CALENDAR)
        return MonthlyUsage(self._tier, month, await self._used(month), self._quota, _reset(month))

    def _quota_error(self, month: str) -> RequestError:
        return RequestError(
            f"Insufficient quota: all {self._quota} calls of {month} are used; they reset at {_reset(month)}", 403
        )

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
        share_name: See `Caller`.
    """

    def __init__(
        self,
        name: str,
        now: Callable[[], datetime],
        calls: Counter[tuple[str, str]],
        *,
        share_name: str | None = None,
    ) -> None:
        super().__init__(name, now, share_name=share_name)
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
        failed_work: The unpaid work of all callers.
    """

    def __init__(
        self, key: Key, now: Callable[[], datetime], keyring: Keyring, *, failed_work: FailedWork | None = None
    ) -> None:
        super().__init__(key.id, now, failed_work=failed_work)
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
        raise self._quota_error(month)

    async def _refund_call(self, month: str) -> None:
        await self._keyring.refund_call(self._key.id, month)

    async def _used(self, month: str) -> int:
        return await self._keyring.used(self._key.id, month)


def _is_servers_doing(error: Exception) -> bool:
    """Return whether a call failed because the server was busy or stopped, and not for its page."""
    return isinstance(error, BusyError) or (isinstance(error, RequestError) and error.status == 429)


def unauthorized_error() -> RequestError:
    """Return the 401 for a request without a valid key."""
    return RequestError("Unauthorized: invalid or missing API key", 401)


def utc_now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


def _reset(month: str) -> str:
    return f"{reset_time(month, _CALENDAR):%Y-%m-%dT%H:%M:%SZ}"
