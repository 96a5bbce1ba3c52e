"""What a reply means: one pure function from the outcome of a call to a verdict.

Source: the API's contract ("Errors") and the decisions for where it is silent.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Final

from pipeline.errors import (
    KeyRejectedError,
    PermissionDeniedError,
    QuotaExhaustedError,
    RejectedPageError,
    StopError,
    UsageError,
)
from pipeline.wire import WireReply

QUOTA_RETRY_AFTER_S: Final = 3600.0
"""Who asks for more than an hour means the quota, not the rate."""

_QUOTA_WORDS: Final = re.compile(
    r"quota|per month|monthly|this month|subscription|upgrade|insufficient|exceeded your (?:current )?plan",
    re.IGNORECASE,
)
"""Source: the API's contract, "Is the quota's end a 403 or a 429?"."""

_PAGE_STATUSES: Final = frozenset({400, 413, 415, 422})
_MAX_RETRY_AFTER_S: Final = 366 * 86400.0


class Fault(Enum):
    """A call that brought no reply."""

    NOT_SENT = "not sent"
    """Refused, DNS, TLS: the request cannot have reached the service."""

    LOST = "lost"
    """Reset, timeout, truncated: it may have been billed."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one POST brought.

    Attributes:
        status: HTTP status; None when there was no usable reply.
        fault: Why there was none.
        detail: One line for a person, without secrets.
        retry_after_s: What the service asks us to wait, already relative; None when it does not.
        reply: The valid body of a 200; a 200 without one is a failed attempt.
    """

    status: int | None = None
    fault: Fault | None = None
    detail: str = ""
    retry_after_s: float | None = None
    reply: WireReply | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The page is recognised."""

    reply: WireReply


@dataclass(frozen=True, slots=True)
class Refused:
    """The whole account pauses; the page keeps its attempts.

    Attributes:
        wait_s: What the service named; None leaves it to the gate.
    """

    wait_s: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """An attempt of this page is used up.

    Attributes:
        billed: True when the call may have been billed.
        reason: One line for a person.
    """

    billed: bool
    reason: str


@dataclass(frozen=True, slots=True)
class PageRejected:
    """The page failed for what it is and is not retried."""

    error: RejectedPageError


@dataclass(frozen=True, slots=True)
class Stop:
    """The run ends."""

    error: StopError


Verdict = Accepted | Refused | Failed | PageRejected | Stop


def verdict_of(outcome: Outcome) -> Verdict:
    """Return what the outcome of a call means, for the page, the account and the run."""
    status = outcome.status
    if outcome.fault is not None or status is None:
        return Failed(billed=outcome.fault is not Fault.NOT_SENT, reason=outcome.detail)
    if outcome.reply is not None:
        return Accepted(outcome.reply)
    said = f"HTTP {status}" + (f": {outcome.detail}" if outcome.detail else "")
    if status in _PAGE_STATUSES:
        return PageRejected(RejectedPageError(said))
    if status == 401:
        return Stop(KeyRejectedError(f"the API rejected the key ({said})"))
    if status in {404, 405}:
        return Stop(UsageError(f"no text-recognition API at this URL ({said})"))
    return _account_verdict(status, outcome, said)


def _account_verdict(status: int, outcome: Outcome, said: str) -> Verdict:
    """Judge the statuses that may speak of the account: 403, 429, 503; all others used up an attempt."""
    wait_s = outcome.retry_after_s
    if status not in {403, 429, 503}:
        return Failed(billed=True, reason=said)
    speaks_of_quota = status in {403, 429} and _QUOTA_WORDS.search(outcome.detail) is not None
    if speaks_of_quota or (wait_s is not None and wait_s > QUOTA_RETRY_AFTER_S):
        when = "" if wait_s is None else f"; it asks to come back in {wait_s / 3600:.1f} h"
        return Stop(QuotaExhaustedError(f"the API's quota is used up ({said}){when}"))
    if status == 403:
        return Stop(PermissionDeniedError(f"the API denies this key the operation ({said})"))
    if status == 503 and wait_s is None:
        return Failed(billed=True, reason=said)
    return Refused(wait_s, said)


def parse_retry_after(value: str | None, milliseconds: str | None, date: str | None, now: datetime) -> float | None:
    """Return the seconds that the service asks us to wait.

    Args:
        value: `Retry-After`: seconds, or an HTTP date (RFC 9110, 10.2.3).
        milliseconds: `retry-after-ms`, which wins, being the finer one.
        date: The response's own `Date`, against which an HTTP date is measured: clocks differ.
        now: Our clock, for when there is no `Date`.

    Returns:
        Seconds >= 0; None when there is no such header, or it is garbage or negative.
    """
    if milliseconds is not None and (wait_ms := _parse_number(milliseconds)) is not None:
        return wait_ms / 1000
    if value is None:
        return None
    if (wait_s := _parse_number(value)) is not None:
        return wait_s
    until, sent = _parse_date(value), _parse_date(date)
    if until is None:
        return None
    return min(max(0.0, (until - (sent or now)).total_seconds()), _MAX_RETRY_AFTER_S)


def backoff_s(attempt: int, jitter: float, *, base_s: float = 1.0, cap_s: float = 20.0) -> float:
    """Return the wait before the next attempt: full jitter, rand(0, min(cap, base·2ⁿ)).

    Args:
        attempt: Attempts made so far, >= 1.
        jitter: Uniform in [0, 1).
        base_s: Upper bound before the second attempt.
        cap_s: Upper bound of all.
    """
    return jitter * min(cap_s, base_s * 2.0 ** min(attempt - 1, 64))


def _parse_number(text: str) -> float | None:
    stripped = text.strip()
    if not re.fullmatch(r"\d{1,12}(\.\d{1,6})?", stripped):
        return None
    return min(float(stripped), _MAX_RETRY_AFTER_S)


def _parse_date(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
