"""The pace: when may the next call go out, by what the refusals so far have shown?

**What it assumes.** The account is guarded by one limiter or by several, each of which admits or refuses a call at
once by the calls before it: a token bucket, a limit of the calls in flight, a window (fixed, of the service's clock
or of the first call, or moving), a sliding counter, or any of these with a penalty. Nobody says which. All that is
seen are refusals, when they came, and sometimes a Retry-After. Limits change seldom.

**What it estimates.** A *closure* is a row of refusals, from the first until a call is accepted again; calls that
were admitted in between end it. Its length, compared with the time that the n calls before it took, chooses the way:

                                       ┌──────────── refused ◄──────────┐
    Ramp ── refused ──► Closure ── short: a bucket, or too many in ──► Climb
    (Rate)                 │  ▲        flight (Rate)                    (Rate)
                      long │  └────────── refused ───────────────┐
                           ▼                                     │
                       Sounding ── refused at the n-th ──► Window (a list: stacked limits)
                       at 4 n/W ── refused before it ────► EvenPace: n/W, a sliding counter or a slow bucket
                                └─ refused after it ─────► EvenPace: n per span of the last n, behind a penalty

- `Rate` doubles its pace until the first refusal, then measures the rate from refusal to refusal (`Estimate`), or finds
  that the calls in flight are limited (`InFlightLimit`), and climbs slowly to the highest rate that is not refused.
- `Gaps` remembers the shortest gap before an admitted call and the longest before a refused one. When they do not
  overlap, the bucket has no burst: then a spacing (`Window` of one call) takes the rate's place, which late timers
  would otherwise teach a lower rate.
- From the third refusal in a row on, or the second where refusals take long to come back, probes go alone, at the
  usual lengths of windows after the first call. A refused probe thus costs one call, and the length W is known to lie
  between the last refused and the first accepted one.
- A long closure ends in a `Sounding`, whose outcome tells the three kinds apart. A closure after one or two calls is a
  spacing, whose length is bisected (`Window`). A named pause is the end of a closure, known beforehand.
- A refusal that no known window explains, after which the account is closed for longer than that window lasts, is a
  second, longer window. One that is soon over contradicts the window, which is dropped for an even pace.

**Why it converges.** Each outcome narrows an interval: a window is refused exactly at the n-th call or opens exactly
after W; an even pace is lowered by 1.5 % at each refusal and climbs between them, so that it stays within a few per
cent of what is admitted; a spacing is bisected, then follows a staircase. A hypothesis that a later refusal contradicts
is dropped, and a window is measured anew after ten minutes, or ten of its lengths. The rate is restored to what it was
before a closure that it did not cause.

**Where it fails, and what that costs** (share of what is permitted; `python -m tests.benchmarks.pace`, `neighbours`):

- The first closure of an unknown length is probed, so short runs pay: 86 % of three windows of 20 calls a minute where
  refused calls count. A penalty must be met twice before its window is known: 80 % of 3,000 pages.
- Calls that go out while a refusal comes back are refused, too: of the calls to all gateways that count, 2.5 % are
  refused at a round trip of 3 ms, 6 % at 50 ms, 11 % at 200 ms, and counters that count them reach 66 %.
- A refusal that comes only when the work is done (a service that checks late) cannot be placed: 5 to 90 %.
- Nothing is sent inside a Retry-After, however far beyond the window's end it lies; such a window is taken for longer.
- Windows of odd lengths (7 s) are taken for the next usual one where it was open, too: two thirds.
- Windows of a second with more than 100 calls, behind half a second of latency: 49 % at worst, 94 % in the middle.
- A bucket without a burst needs even arrivals: late by up to 2 ms, 88 % at 50 calls a second, 61 % at 180; late by up
  to 20 ms, 85 % at 5 a second. Behind a real nginx on an idle machine 93 % at 50 calls a second.
- Processes that share a key see one another's calls as chance; each finds its share as a rate. Of eight, 2.4 % of the
  calls are refused, 3.4 % in the worst of twenty draws, half of them in the first five seconds.
"""

import math
from typing import Final

from pipeline.remote.learned import Learned
from pipeline.remote.pace.bucket import MAX_RATE_PER_S
from pipeline.remote.pace.calls import Token
from pipeline.remote.pace.hypotheses import Hypotheses
from pipeline.remote.pace.rate import Rate

_LONGEST_PAUSE_S: Final = 366 * 86400.0


class Pace:
    """Decides when the next call may be sent; all times are seconds on one clock.

    Args:
        rate_per_s: The user's upper bound, > 0; None sets none.
    """

    def __init__(self, rate_per_s: float | None = None) -> None:
        self._hypotheses = Hypotheses(Rate(MAX_RATE_PER_S if rate_per_s is None else rate_per_s))
        self._paused_until_s = -math.inf
        self._in_flight = self._sent_calls = 0
        self._calls_before_refusal = 0
        """Calls sent before the last refusal was known."""

    def __repr__(self) -> str:
        return f"<Pace {repr(self._hypotheses)[12:-1]}, {self._in_flight} in flight>"

    @property
    def rate_per_s(self) -> float:
        """The pacing rate."""
        return self._hypotheses.rate_per_s

    def ready_at(self, now_s: float) -> float:
        """Return when the next call may be sent, >= `now_s`; infinity when a call in flight must end first."""
        return max(now_s, self._paused_until_s, self._hypotheses.ready_at(self._in_flight))

    def report_sent(self, now_s: float) -> Token:
        """Note that a call is sent; its end is reported with the token."""
        token = Token(now_s, self._sent_calls, self._in_flight, self.rate_per_s)
        self._hypotheses.report_sent(token, self._paused_until_s)
        self._sent_calls += 1
        self._in_flight += 1
        return token

    def report_accepted(self, now_s: float, token: Token) -> None:
        """Note that a call was answered."""
        self.report_ended(now_s, token)
        if token.serial >= self._calls_before_refusal:
            self._hypotheses.report_accepted(now_s, token)

    def report_ended(self, now_s: float, token: Token) -> None:
        """Note that a call ended in a way that says nothing about the permitted rate."""
        self._in_flight = max(0, self._in_flight - 1)

    def report_refused(self, now_s: float, token: Token, wait_s: float | None) -> None:
        """Note that a call was refused; `wait_s` is the service's Retry-After, None when it sent none."""
        self.report_ended(now_s, token)
        pause_s = min(wait_s, _LONGEST_PAUSE_S) if wait_s is not None and wait_s > 0 else 0.0
        self._paused_until_s = max(self._paused_until_s, now_s + pause_s)
        if token.serial < self._calls_before_refusal:
            self._hypotheses.report_refused_too(token)
            return
        self._hypotheses.report_refused(now_s, token, pause_s)
        self._calls_before_refusal = self._sent_calls

    def pause(self, until_s: float) -> None:
        """Send no call before this time: a reply's headers say that nothing is left until then."""
        self._paused_until_s = max(self._paused_until_s, until_s)

    def learned(self) -> Learned:
        """Return the limits that the calls have met so far."""
        return self._hypotheses.learned()
