"""The pace of calls: finds the rate or the concurrency that an account permits, and stays just under it.

Precedent: congestion control. A ramp (slow start, but with spaced sends) doubles the pacing rate until the first refusal;
after it, each congestion epoch (from one refusal to the next) measures what is permitted, and the pacing rate climbs
through what the measurement leaves open: slowly where a refusal costs a long pause, quickly where it costs one call.
"""

import math
from dataclasses import dataclass
from typing import Final

_RAMP_RATE: Final = 20.0
"""Calls a second before anything is known."""

_DOUBLING_S: Final = 0.25
"""No rate ever grows faster. Measured: 64 calls x 500 ms are in flight after 1.5 s, at 95 % of the ideal for 4,000 pages."""

_MIN_RATE: Final = 0.05
_MAX_RATE: Final = 100_000.0
_MAX_HOLD_S: Final = 20.0
_MAX_PAUSE_S: Final = 366 * 86400.0

_CATCH_UP_S: Final = 0.005
"""A timer may be as late as this without the next call being later too: event loops oversleep by 1 to 2 ms."""

_FINEST: Final = 0.01
"""Relative error below which an estimate is not refined: 1/error calls an epoch, so about 0.7 % of calls are refused."""

_COARSEST: Final = 0.4
_POINTS: Final = 64
_FEW: Final = 4
"""Calls in an epoch that are too few to measure by."""


@dataclass(frozen=True, slots=True)
class Token:
    """A call under way.

    Attributes:
        sent_s: When it went out.
        serial: How many went before it.
        others: How many were in flight when it went out.
    """

    sent_s: float
    serial: int
    others: int


@dataclass(frozen=True, slots=True)
class PaceStatistics:
    """Where the search stands.

    Attributes:
        rate_per_s: Pacing rate.
        window: Calls that may be in flight; math.inf when nothing speaks for such a limit.
        in_flight: Calls under way.
        refused: Calls refused so far.
        ramping: True until the first refusal.
    """

    rate_per_s: float
    window: float
    in_flight: int
    refused: int
    ramping: bool


KR=1.0;ST=.5;GR=1.6;LIM=1.0;EC=.5;DROP=.5
class _Window:
    """The hypothesis that the account limits calls in flight: a call is refused if and only if so many others are.

    It is raised by one now and then; a refusal that follows no raise speaks against it, and two in a row refute it.
    """

    def __init__(self) -> None:
        self.limit: float = math.inf
        self._most_accepted = -1
        self._suspicions = 0
        self._strikes = 0
        self._calls = 0
        self._step = 1
        self._raised = False

    def accept(self, others: int, cost: float) -> None:
        """Count a call; raise the limit when it has held for long, given what a refusal costs in calls."""
        self._most_accepted = max(self._most_accepted, others)
        if self.limit == math.inf:
            return
        self._calls += 1
        if self._raised and others >= self.limit - 1 and self._calls > 3:
            self._raised = False
        if self._calls >= max(100, 25 * self.limit) * cost:
            self.limit += self._step
            self._step *= 2
            self._calls = 0
            self._raised = True

    def refuse(self, others: int, calls: int, *, first: bool) -> bool:
        """Return whether this refusal fits a limited concurrency.

        Args:
            others: In flight when the refused call went out.
            calls: Accepted since the refusal before.
            first: Until now the number in flight only grew, so that any limit would look like this one.
        """
        if self.limit < math.inf:
            fits = self._confirm(others, calls)
        else:
            self._suspicions = self._suspicions + 1 if others > self._most_accepted and calls >= 32 else 0
            fits = first or self._suspicions >= 3
        self._most_accepted = -1
        self.limit = max(1, others) if fits else math.inf
        self._calls, self._step, self._raised = 0, 1, False
        if not fits and self._strikes:
            self._suspicions = self._strikes = 0
        return fits

    def contradict(self, others: int) -> None:
        """Drop the hypothesis when a call is refused with far fewer others in flight."""
        if others < self.limit * 0.75 - 1:
            self.limit = math.inf
            self._suspicions = self._strikes = 0

    def _confirm(self, others: int, calls: int) -> bool:
        if self._raised:
            self._strikes = 0
            return others >= self.limit - 1 - self._step
        self._strikes += 1
        return self._strikes < 2 and others >= self.limit - 1 - self.limit // 8 and calls >= 8


class _Path:
    """The sends of an epoch: (when, serial), thinned to a bounded number."""

    def __init__(self) -> None:
        self._points: list[tuple[float, int]] = []
        self._stride = 1

    def add(self, sent_s: float, serial: int) -> None:
        """Append a send."""
        if serial % self._stride == 0:
            self._points.append((sent_s, serial))
            if len(self._points) > _POINTS:
                self._points = self._points[::2]
                self._stride *= 2

    def burst(self, rate: float, end: Token) -> float:
        """Return the burst of a token bucket of this rate, full at the start, that is empty at the end.

        Source: network calculus; the most that any suffix of the arrivals exceeds rate x time.
        """
        return max((end.serial - n - rate * (end.sent_s - at_s) for at_s, n in self._points), default=0.0)

    def rate(self, burst: float, end: Token, highest: float) -> float:
        """Return the rate, at most the highest, of a bucket of this burst that is empty at the end."""
        low, high = 0.0, highest
        for _ in range(30):
            middle = (low + high) / 2
            low, high = (middle, high) if self.burst(middle, end) > burst else (low, middle)
        return high


class _Estimate:
    """What refusals tell of the permitted rate: the bucket is empty at each.

    While it never overflowed, calls accepted / time is the rate. After a pause, or a climb from too low, it did, and
    its burst is unknown; the same burst must explain where the ramp was refused, which settles both.
    """

    def __init__(self) -> None:
        self.rate_per_s = _RAMP_RATE
        self.error = _COARSEST
        self._ramp: tuple[_Path, Token] | None = None

    def guess(self, path: _Path, end: Token, end_rate: float) -> None:
        """Take a first value from the ramp's end."""
        self._ramp = path, end
        self.rate_per_s = 0.4 * end_rate

    def measure(self, path: _Path, end: Token, calls: int, elapsed_s: float, end_rate: float, *, paused: bool) -> None:
        """Refine by an epoch.

        Args:
            path: Its sends.
            end: The refused call that ended it.
            calls: Accepted in it.
            elapsed_s: Its length since the refusal before, the pause included.
            end_rate: Pacing rate at its end.
            paused: It began with a pause.
        """
        before = self.rate_per_s
        rate, error = calls / elapsed_s, 1 / calls
        if not paused:
            rate, error = self._merge(calls, elapsed_s)
        rate = min(rate, end_rate)
        least, likely, most = self._below(path, end, end_rate, rate)
        if likely > rate if paused else least > rate:
            rate, error = likely, (most - least) / 2 / likely
        if abs(rate - before) > LIM * error * before:
            error = max(error, EC * abs(rate / before - 1))
        self.rate_per_s = min(_MAX_RATE, max(_MIN_RATE, rate, DROP * before))
        self.error = min(_COARSEST, max(_FINEST, error))

    def _merge(self, calls: int, elapsed_s: float) -> tuple[float, float]:
        """Return rate and error from this epoch and what was known, unless they contradict each other."""
        expected = self.rate_per_s * elapsed_s
        known = min(0.5 / self.error, 2.0 * calls)
        if abs(calls - expected) > 2 + self.error * expected:
            known = min(known, 1.0)
        return (known + calls) / (known / self.rate_per_s + elapsed_s), 1 / (known + calls)

    def _below(self, path: _Path, end: Token, end_rate: float, rate: float) -> tuple[float, float, float]:
        """Return the least, likely and highest rate that explain the end of this climb and that of the ramp."""
        burst, likely = 1.0, rate
        for _ in range(4):
            if self._ramp is not None:
                burst = max(1.0, self._ramp[0].burst(likely, self._ramp[1]))
            likely = max(rate, path.rate(burst, end, end_rate))
        least, most = (max(rate, path.rate(burst * factor, end, end_rate)) for factor in (2, 0.5))
        return least, likely, most


class Pace:
    """Tells when the next call may go out; times are seconds on any clock that does not run back.

    Args:
        rate_per_s: The user's upper bound; None sets none.
    """

    def __init__(self, rate_per_s: float | None = None) -> None:
        self._bound = _MAX_RATE if rate_per_s is None else max(1e-9, rate_per_s)
        self._rate = min(_RAMP_RATE, self._bound)
        self._ramping = True
        self._next_s = self._last_s = self._paused_until_s = -math.inf
        self._in_flight = self._serial = self._refused = 0
        self._window = _Window()
        self._estimate = _Estimate()
        # the climb: through 2 x breadth in so many calls
        self._breadth = _COARSEST
        self._stage = self._left = 8.0
        self._cost = 1.0
        # the epoch: began with a refused send
        self._began_s = -math.inf
        self._began_serial = self._void = self._row = 0
        self._event_s = -math.inf
        self._was_paused = False
        self._path = _Path()

    def __repr__(self) -> str:
        window = "" if self._window.limit == math.inf else f", window {self._window.limit:.0f}"
        state = "ramping" if self._ramping else f"estimate {self._estimate.rate_per_s:.4g}/s"
        return f"<Pace {self._rate:.4g}/s, {state}{window}, {self._in_flight} in flight>"

    def statistics(self) -> PaceStatistics:
        """Return where the search stands."""
        return PaceStatistics(self._rate, self._window.limit, self._in_flight, self._refused, self._ramping)

    def ready_at(self, now_s: float) -> float:
        """Return when the next call may go out, at least `now_s`; math.inf: only after one in flight has ended."""
        if self._in_flight >= self._window.limit:
            return math.inf
        return max(now_s, self._next_s, self._paused_until_s)

    def send(self, now_s: float) -> Token:
        """Note that a call goes out."""
        gap_s = 1 / self._rate
        late_s = now_s - max(self._next_s, self._paused_until_s)
        if self._serial == 0:
            self._began_s = now_s
        if late_s <= gap_s:  # otherwise it is not the pace that limits
            self._grow(max(0.0, now_s - self._last_s), gap_s)
        behind = 0 <= now_s - self._next_s <= max(gap_s / 4, _CATCH_UP_S)
        self._next_s = (self._next_s if behind else now_s) + 1 / self._rate
        self._last_s = now_s
        token = Token(now_s, self._serial, self._in_flight)
        self._path.add(now_s, self._serial)
        self._serial += 1
        self._in_flight += 1
        return token

    def accepted(self, now_s: float, token: Token) -> None:  # noqa: ARG002 - the same shape as its siblings
        """Note that a call was answered."""
        self._leave()
        if token.sent_s > self._event_s:
            self._row = 0
            self._window.accept(token.others, self._cost)

    def ended(self, now_s: float, token: Token) -> None:  # noqa: ARG002
        """Note that a call ended in any other way, which says nothing of the permitted pace."""
        self._leave()

    def refused(self, now_s: float, token: Token, wait_s: float | None) -> None:
        """Note that a call was refused.

        Args:
            now_s: When the refusal arrived.
            token: What `send` returned.
            wait_s: What the service named; None when it named nothing.
        """
        self._leave()
        self._refused += 1
        pause_s = min(wait_s, _MAX_PAUSE_S) if wait_s is not None and wait_s > 0 else 0.0
        self._paused_until_s = max(self._paused_until_s, now_s + pause_s)
        calls = token.serial - self._began_serial - self._void
        self._void += 1
        if token.sent_s <= self._event_s:  # it was on the wire: the same event
            return
        self._event_s = now_s
        if not self._ramping and (calls <= 0 or (calls < _FEW and not pause_s)):
            self._row += 1
            self._window.contradict(token.others)
            if calls > 0:
                self._rate = self._clamp(0.7 * self._rate)
        else:
            self._row = 1
            self._learn(token, calls, pause_s)
        if not pause_s:
            self._next_s = now_s + min(_MAX_HOLD_S, 2.0 ** min(self._row - 1, 30) / self._rate)

    def _learn(self, token: Token, calls: int, pause_s: float) -> None:
        """End the epoch: take the hypothesis that fits, and the measure that it allows."""
        first, self._ramping = self._ramping, False
        elapsed_s = max(1e-6, token.sent_s - self._began_s)
        fits_window = self._window.refuse(token.others, calls, first=first)
        if first:
            self._estimate.guess(self._path, token, self._rate)
        elif self._was_paused or not fits_window:
            self._estimate.measure(self._path, token, calls, elapsed_s, self._rate, paused=self._was_paused)
        self._cost = 1 + self._estimate.rate_per_s * pause_s
        if pause_s or not fits_window:
            self._climb_from(self._estimate.error)
            self._rate = self._clamp(self._estimate.rate_per_s * (1 - ST * self._estimate.error))
        else:
            self._climb_from(_COARSEST if first else 0.05)
        self._path = _Path()
        self._began_s, self._began_serial, self._void = token.sent_s, token.serial, 1
        self._was_paused = pause_s > 0

    def _climb_from(self, breadth: float) -> None:
        self._breadth = breadth
        factor = 1.0 if self._cost == 1 else KR
        self._stage = self._left = max(8.0, factor * self._cost / breadth)

    def _grow(self, since_s: float, gap_s: float) -> None:
        """Raise the rate: double it in the ramp; later climb, in stages that grow steeper while nothing is refused."""
        if self._ramping:
            self._rate = self._clamp(self._rate * 2 ** (min(since_s, _DOUBLING_S) / _DOUBLING_S))
        elif self._row <= 1:
            growth = min(2 * self._breadth / self._stage, gap_s / _DOUBLING_S * math.log(2))
            self._rate = self._clamp(self._rate * (1 + growth))
            self._left -= 1
            if self._left <= 0:
                self._climb_from(min(0.5, self._breadth * GR))

    def _clamp(self, rate: float) -> float:
        return min(self._bound, _MAX_RATE, max(_MIN_RATE, rate))

    def _leave(self) -> None:
        self._in_flight = max(0, self._in_flight - 1)
