"""Verdicts: one pure function from the outcome of a call to what it means for the page, the account and the run.

The same reply means different things early and late in a run: before the first success it speaks about the address,
the key or the service; after it, about this page or this moment. What the run knows is an argument (`Situation`).

Source: the design's table "What each reply means"; the API's contract ("Errors"), and our decisions where the contract
leaves a question open.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from pipeline.billing import Calendar
from pipeline.errors import (
    BlockedPageError,
    KeyRejectedError,
    MisdirectedError,
    NoDescriptorsError,
    PageError,
    PermissionDeniedError,
    QuotaExhaustedError,
    RejectedPageError,
    StopError,
    TemporaryError,
    UsageError,
)
from pipeline.remote.named_limits import Limit, describe_end, find_limit
from pipeline.remote.outcome import Fault, Hint, Outcome
from pipeline.wire import BodyKind, WireReply

QUOTA_RETRY_AFTER_S: Final = 3600.0
"""A longer Retry-After means that the quota is used up or the service is down, not that the rate is too high."""

_SOON_S: Final = 360.0
"""A quota that is used up does not return within 0.1 h, whatever its replies say: shorter waits are not told."""

SEVERAL: Final = 3
"""Pages in a row, or replies to one page, that show that no page, or not this one, gets through."""

_MAX_BLOCKED_REPLIES: Final = 6
"""Replies from something before the service to one page, after which it fails although another page got one, too."""

_MAX_PAGE_REFUSALS: Final = 8
"""A page refused more often while others are accepted has its own reason. A limiter that refuses one call in twenty
does this to one page in 2·10¹⁰."""

_MAX_CUT_OFF_SHARE: Final = 0.1
"""A connection that ends in less than this share of the fastest reply's time cannot have carried a recognised page."""

_PAGE_STATUSES: Final = frozenset({400, 413, 415, 422})
_ADDRESS_STATUSES: Final = frozenset({*range(300, 400), 404, 405})
"""Statuses of a wrong address, which depend on no page."""

_RATE_STATUSES: Final = frozenset({400, 403})
"""Statuses with which services refuse calls, as the words say: AWS's ThrottlingException is a 400."""

_GATEWAY_STATUSES: Final = frozenset({407, 410, 421, 426})
"""Statuses of a proxy or a host, which depend on no page."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What the run knows when an outcome arrives.

    Attributes:
        now: The client's clock.
        has_succeeded: A call of this run brought a text.
        calls_left: Calls that the ledger leaves in the month; None when they are not limited.
        pages_blocked: Pages in a row that something before the service answered, this one included.
        replies_blocked: Such replies to this page in a row, this one included.
        refusals: Refusals of this page so far.
        refusals_overtaken: Refusals of this page after which another page got its text.
        others_in_flight: Other calls in flight.
        fastest_reply_s: Shortest time to a text; None until several texts have arrived.
        calendar: When the plan's month ends.
    """

    now: datetime
    has_succeeded: bool = False
    calls_left: int | None = None
    pages_blocked: int = 1
    replies_blocked: int = 1
    refusals: int = 0
    refusals_overtaken: int = 0
    others_in_flight: int = 0
    fastest_reply_s: float | None = None
    calendar: Calendar = field(default_factory=Calendar)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The service recognised the page."""

    reply: WireReply


@dataclass(frozen=True, slots=True)
class Refused:
    """The call was refused for now: the whole account pauses, and the page keeps its attempts.

    Attributes:
        wait_s: Seconds to wait, as the service asks; None lets the gate decide.
        reason: One line for the user.
        is_limit: The status says that there were too many calls.
    """

    wait_s: float | None
    reason: str
    is_limit: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Failed:
    """The call failed in a way that the service may recover from.

    Attributes:
        billed: The call may have been billed.
        reason: One line for the user.
        reached: The call may have reached the service, so it uses up one attempt of the page.
    """

    billed: bool
    reason: str
    reached: bool = True


@dataclass(frozen=True, slots=True)
class Blocked:
    """Something before the service answered, and it is not known yet whether it does so for every page.

    Nothing is counted; the page is sent again.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class PageRejected:
    """The page fails; the call is not counted, and the page is not sent again in this run.

    Attributes:
        error: Why.
        by_service: The service itself answered.
    """

    error: PageError
    by_service: bool = True


@dataclass(frozen=True, slots=True)
class Stop:
    """The run must end."""

    error: StopError


Verdict = Accepted | Refused | Failed | Blocked | PageRejected | Stop


def verdict_of(outcome: Outcome, situation: Situation) -> Verdict:
    """Return what the outcome of one call means for the page, the account and the run."""
    status = outcome.status
    if outcome.fault is not None or status is None:
        return _fault_verdict(outcome, situation)
    if outcome.reply is not None:
        return Accepted(outcome.reply)
    reason = f"HTTP {status}" + (f": {outcome.detail}" if outcome.detail else "")
    if 200 <= status < 300:
        return _success_verdict(outcome, situation, reason)
    if status == 401:
        return Stop(KeyRejectedError(f"the API rejected the key ({reason})"))
    return (
        _quota_verdict(status, outcome, situation, reason)
        or _refusal_verdict(status, outcome, situation, reason)
        or _error_verdict(status, outcome, situation, reason)
    )


def _fault_verdict(outcome: Outcome, situation: Situation) -> Verdict:
    """Return the verdict on a call without a reply; a limiter may refuse the connection of one call among others."""
    if outcome.fault is Fault.NO_DESCRIPTOR:
        return Stop(NoDescriptorsError(outcome.detail))
    is_among_others = situation.has_succeeded and situation.others_in_flight > 0
    if outcome.fault is Fault.NOT_SENT:
        if outcome.was_refused and is_among_others:
            return Refused(None, outcome.detail)
        return Failed(billed=False, reason=outcome.detail, reached=False)
    too_early_s = _MAX_CUT_OFF_SHARE * (situation.fastest_reply_s or 0.0)
    if is_among_others and outcome.cut_off_s is not None and outcome.cut_off_s < too_early_s:
        return Refused(None, f"{outcome.detail}, as soon as it was open")
    return Failed(billed=True, reason=outcome.detail)


def _success_verdict(outcome: Outcome, situation: Situation, reason: str) -> Verdict:
    """Return the verdict on a success without a text: a page from another machine, or a reply that is broken."""
    if outcome.body is not BodyKind.PAGE:
        return Failed(billed=True, reason=reason)
    if situation.has_succeeded or outcome.hint is Hint.OUTAGE:
        return Failed(billed=False, reason=reason)
    return _blocked_verdict(outcome, situation, reason)


def _quota_verdict(status: int, outcome: Outcome, situation: Situation, reason: str) -> Stop | None:
    """Return a stop when the reply says that the quota is used up, or that the service is down for hours.

    Words of a quota lose to a Retry-After of up to an hour, unless the page gets the same reply again and again.
    """
    wait_s = outcome.retry_after_s
    is_long = wait_s is not None and wait_s > QUOTA_RETRY_AFTER_S
    if status >= 500 and is_long:
        return Stop(TemporaryError(f"the service is down ({reason}){_when(outcome, situation)}"))
    limit = find_limit(outcome.detail)
    if status != 402:
        lasts = situation.refusals - situation.refusals_overtaken >= _MAX_PAGE_REFUSALS
        names_quota = limit in {Limit.DAY, Limit.PLAN} and (wait_s is None or lasts)
        if status not in {403, 429} or not (is_long or names_quota):
            return None
    used_up = "calls of the day are" if limit is Limit.DAY else "quota is"
    end = _when(outcome, situation) or describe_end(limit, outcome.date or situation.now, situation.calendar)
    message = f"the API's {used_up} used up ({reason}){end}"
    if situation.calls_left and limit is not Limit.DAY:
        message += (
            f"; the ledger still has {situation.calls_left} calls left, so the tier is set too high or other programs "
            "use the key: set --tier or --quota to the plan's, or pagemill quota --already-used to what it has used"
        )
    return Stop(QuotaExhaustedError(message))


def _refusal_verdict(status: int, outcome: Outcome, situation: Situation, reason: str) -> Refused | None:
    """Return a refusal when the call is to be repeated after a pause of the whole account."""
    wait_s = outcome.retry_after_s
    if status == 429:
        return Refused(wait_s, reason, is_limit=True)
    asks_to_wait = wait_s is not None and wait_s <= QUOTA_RETRY_AFTER_S
    names_rate = status in _RATE_STATUSES and find_limit(outcome.detail) is Limit.RATE
    is_bare = outcome.body is not BodyKind.API and situation.has_succeeded
    limits = asks_to_wait or names_rate or (status in {403, 503} and is_bare)
    refusals = situation.refusals_overtaken
    if status == 403 and not (asks_to_wait or names_rate):
        refusals = situation.refusals
    return Refused(wait_s, reason) if limits and refusals < _MAX_PAGE_REFUSALS else None


def _error_verdict(status: int, outcome: Outcome, situation: Situation, reason: str) -> Verdict:
    """Return the verdict on an error that is neither about the quota nor a refusal."""
    if status >= 500 or status == 408:
        return Failed(billed=True, reason=reason)
    if status == 403 and outcome.body is BodyKind.API:
        return Stop(PermissionDeniedError(f"the API denies this key permission ({reason})"))
    is_json = outcome.body in {BodyKind.API, BodyKind.JSON}
    if status in _PAGE_STATUSES and (is_json or status == 413):
        return PageRejected(RejectedPageError(reason))
    if 300 <= status < 500:
        return _blocked_verdict(outcome, situation, reason)
    return Failed(billed=True, reason=reason)


def _blocked_verdict(outcome: Outcome, situation: Situation, reason: str) -> Stop | PageRejected | Blocked:
    """Return the verdict on a reply that is not the service's: the run ends, this page fails, or it is sent again."""
    status = outcome.status or 0
    depends_on_page = status not in _ADDRESS_STATUSES | _GATEWAY_STATUSES
    if not situation.has_succeeded:
        several = max(situation.pages_blocked, situation.replies_blocked) >= SEVERAL
        return Stop(_misdirection(outcome, reason)) if several or not depends_on_page else Blocked(reason)
    if situation.pages_blocked >= SEVERAL:
        return Stop(_misdirection(outcome, reason))
    replies = situation.replies_blocked
    if (replies >= SEVERAL and situation.pages_blocked == 1) or replies >= _MAX_BLOCKED_REPLIES:
        message = f"{reason}: not the API's answer; something before the service blocks this page"
        return PageRejected(BlockedPageError(message), by_service=False)
    return Blocked(reason)


def _misdirection(outcome: Outcome, reason: str) -> StopError:
    """Return the error of a run whose calls do not arrive at the API."""
    status = outcome.status or 0
    if outcome.hint is Hint.TLS_PORT:
        return MisdirectedError(f"the port speaks TLS ({reason}); begin --api-url with https://")
    if 300 <= status < 400:
        return UsageError(
            f"the URL {outcome.detail or 'redirects'} (HTTP {status}), which is not followed; fix --api-url"
        )
    if status in _ADDRESS_STATUSES:
        return UsageError(f"no text-recognition API at this URL ({reason}); check --api-url")
    if status == 407:
        return MisdirectedError(f"the proxy demands a login ({reason}); put user and password into the proxy's URL")
    message = f"not the API's answer ({reason}): the address or something before the service (proxy, firewall) is wrong"
    return MisdirectedError(message)


def _when(outcome: Outcome, situation: Situation) -> str:
    """Return when the service says to come back, by a Retry-After or by a used-up allowance, for a message's end."""
    wait_s, allowance = outcome.retry_after_s, outcome.allowance
    if wait_s is None and allowance is not None and allowance.remaining == 0 and allowance.reset_s:
        wait_s = allowance.reset_s
    if wait_s is None or wait_s < _SOON_S:
        return ""
    moment = situation.now + timedelta(seconds=wait_s)
    return f"; the service says to come back in {wait_s / 3600:.1f} h, at {moment:%Y-%m-%d %H:%M} UTC"
