"""Verdicts: one pure function from the outcome of a call to what it means for the page, the account and the run.

Source: the API's contract ("Errors"), and our decisions where the contract leaves a question open.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Final

from pipeline.errors import (
    KeyRejectedError,
    NoDescriptorsError,
    PermissionDeniedError,
    QuotaExhaustedError,
    RejectedPageError,
    StopError,
    UsageError,
)
from pipeline.wire import WireReply

QUOTA_RETRY_AFTER_S: Final = 3600.0
"""A longer Retry-After means that the quota is used up, not that the rate is too high."""

_QUOTA_WORDS: Final = re.compile(
    r"quota|per month|monthly|this month|subscription|upgrade|insufficient|exceeded your (?:current )?plan",
    re.IGNORECASE,
)
"""Words of a used-up quota, not of a rate limit. Source: the API's contract, "Is the quota's end a 403 or a 429?"."""

_PAGE_STATUSES: Final = frozenset({400, 413, 415, 422})
_MAX_RETRY_AFTER_S: Final = 366 * 86400.0


class Fault(Enum):
    """Why a call brought no reply."""

    NOT_SENT = "not sent"
    """Connection refused, DNS, TLS: the request cannot have reached the service."""

    NO_DESCRIPTOR = "no descriptor"
    """This process cannot open a socket: not sent, and neither the page nor the service is at fault."""

    LOST = "lost"
    """Connection reset, timeout, truncated reply: the call may have been billed."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one POST, before it is interpreted.

    Attributes:
        status: HTTP status; None when no usable reply was received.
        fault: Why no usable reply was received; None when one was.
        detail: One line for the user, without secrets.
        retry_after_s: Seconds that the service asks the client to wait; None when it does not ask.
        reply: The parsed body of a valid 200; None otherwise.
    """

    status: int | None = None
    fault: Fault | None = None
    detail: str = ""
    retry_after_s: float | None = None
    reply: WireReply | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The service recognised the page."""

    reply: WireReply


@dataclass(frozen=True, slots=True)
class Refused:
    """The service refused the call for now: the whole account pauses, and the page keeps its attempts.

    Attributes:
        wait_s: Seconds to wait, as the service asks; None lets the gate decide.
        reason: One line for the user.
    """

    wait_s: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The call failed and uses up one attempt of the page.

    Attributes:
        billed: The call may have been billed.
        reason: One line for the user.
    """

    billed: bool
    reason: str


@dataclass(frozen=True, slots=True)
class PageRejected:
    """The service rejected the page itself; it is not retried."""

    error: RejectedPageError


@dataclass(frozen=True, slots=True)
class Stop:
    """The run must end."""

    error: StopError


Verdict = Accepted | Refused | Failed | PageRejected | Stop


def verdict_of(outcome: Outcome) -> Verdict:
    """Return what the outcome of one call means for the page, the account and the run."""
    status = outcome.status
    if outcome.fault is not None or status is None:
        return _fault_verdict(outcome)
    if outcome.reply is not None:
        return Accepted(outcome.reply)
    reason = f"HTTP {status}" + (f": {outcome.detail}" if outcome.detail else "")
    if status in _PAGE_STATUSES:
        return PageRejected(RejectedPageError(reason))
    if status == 401:
        return Stop(KeyRejectedError(f"the API rejected the key ({reason})"))
    if status in {404, 405}:
        return Stop(UsageError(f"no text-recognition API at this URL ({reason}); check --api-url"))
    return _account_verdict(status, outcome, reason)


def _fault_verdict(outcome: Outcome) -> Verdict:
    """Return the verdict on a call that brought no reply."""
    if outcome.fault is Fault.NO_DESCRIPTOR:
        return Stop(NoDescriptorsError(outcome.detail))
    return Failed(billed=outcome.fault is not Fault.NOT_SENT, reason=outcome.detail)


def _account_verdict(status: int, outcome: Outcome, reason: str) -> Verdict:
    """Return the verdict on 403, 429 and 503, which may concern the whole account, and on all remaining statuses."""
    wait_s = outcome.retry_after_s
    if status not in {403, 429, 503}:
        return Failed(billed=True, reason=reason)
    names_quota = status in {403, 429} and _QUOTA_WORDS.search(outcome.detail) is not None
    if names_quota or (wait_s is not None and wait_s > QUOTA_RETRY_AFTER_S):
        when = "" if wait_s is None else f"; the service says to come back in {wait_s / 3600:.1f} h"
        return Stop(QuotaExhaustedError(f"the API's quota is used up ({reason}){when}"))
    if status == 403:
        return Stop(PermissionDeniedError(f"the API denies this key permission ({reason})"))
    if status == 503 and wait_s is None:
        return Failed(billed=True, reason=reason)
    return Refused(wait_s, reason)


def parse_retry_after(value: str | None, milliseconds: str | None, date: str | None, now: datetime) -> float | None:
    """Return the seconds that the service asks the client to wait.

    Args:
        value: `Retry-After`: seconds, or an HTTP date (RFC 9110, 10.2.3).
        milliseconds: `retry-after-ms`; it wins over `value` because it is finer.
        date: The response's `Date`; an HTTP date in `value` is relative to it, because the two clocks differ.
        now: The client's clock, used when `date` is absent or invalid.

    Returns:
        Seconds >= 0, at most a year; None when both headers are absent, invalid or negative.
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
    """Return the wait before the next attempt: full jitter, rand(0, min(cap_s, base_s·2ⁿ)).

    Args:
        attempt: Attempts made so far, >= 1; n is one less.
        jitter: A random number, uniform in [0, 1).
        base_s: Longest wait before the second attempt.
        cap_s: Longest wait before any attempt.
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
