"""What refusals tell of the rate that an account permits; see `rules/pace.py` for what is done with it."""

from typing import Final, NamedTuple

FIRST_RATE: Final = 50.0
"""Calls a second before anything is known. 100 would fill 64 slots 0.15 s sooner, and overrun a bucket too far."""

MIN_RATE, MAX_RATE = 0.05, 100_000.0

FINEST, COARSEST = 0.01, 0.4
"""Bounds of an estimate's relative error; at the finest an epoch is some 150 calls, so 0.7 % of calls are refused."""

_POINTS: Final = 64
"""Send times kept of an epoch; 256 are no better."""


class Token(NamedTuple):
    """A call under way: when it went out, how many before it, how many were in flight then, and the pacing rate."""

    sent_s: float
    serial: int
    others: int
    rate_per_s: float


class Epoch:
    """The sends since a refusal; their times are thinned to a bounded number."""

    def __init__(self, began_s: float, serial: int, *, void: int, paused: bool) -> None:
        self.began_s = began_s
        self.paused = paused
        self.void = void
        self._serial = serial
        self._sends: list[tuple[float, int]] = []
        self._stride = 1

    def add(self, token: Token) -> None:
        """Note a send."""
        if token.serial % self._stride == 0:
            self._sends.append((token.sent_s, token.serial))
            if len(self._sends) > _POINTS:
                self._sends, self._stride = self._sends[::2], self._stride * 2

    def calls(self, end: Token) -> int:
        """Return the calls accepted before this one: those in flight were, for a refusal comes back at once."""
        return end.serial - self._serial - self.void

    def elapsed_s(self, end: Token) -> float:
        """Return the epoch's length, a pause included."""
        return max(1e-6, end.sent_s - self.began_s)

    def burst(self, rate: float, end: Token) -> float:
        """Return the burst of the token bucket of this rate, full at first, that is empty at the end.

        Source: network calculus; the most by which the last sends, however many, exceed rate x time.
        """
        return max((end.serial - serial - rate * (end.sent_s - sent_s) for sent_s, serial in self._sends), default=0.0)

    def rate(self, burst: float, end: Token, highest: float) -> float:
        """Return the rate, at most the highest, of the bucket of this burst that is empty at the end."""
        low, high = 0.0, highest
        for _ in range(30):
            middle = (low + high) / 2
            low, high = (middle, high) if self.burst(middle, end) > burst else (low, middle)
        return high


class Estimate:
    """What refusals tell of the permitted rate: the bucket is empty at each.

    As long as it never overflowed, the rate is calls accepted / time. After a pause, or a climb from too low, it did;
    then its unknown burst must also explain where the ramp was refused, and the two settle rate and burst.
    """

    def __init__(self) -> None:
        self.rate_per_s = FIRST_RATE
        self.error = COARSEST
        self._ramp: tuple[Epoch, Token] | None = None

    def guess(self, ramp: Epoch, end: Token) -> None:
        """Take a first value from the ramp's end: bursts of 1, 10, 100 overrun 50 calls/s by 1.1, 2.6 and 9 times."""
        self._ramp = ramp, end
        self._set(0.4 * end.rate_per_s, COARSEST)

    def lower(self, rate: float, error: float) -> None:
        """Take what was admitted over a long time, when it is less than was thought."""
        if rate < self.rate_per_s:
            self._set(rate, max(0.05, error))

    def measure(self, epoch: Epoch, end: Token) -> None:
        """Refine by an epoch of at least one call."""
        calls = epoch.calls(end)
        rate, error = calls / epoch.elapsed_s(end), 1 / calls
        if not epoch.paused:
            rate, error = self._merge(calls, epoch.elapsed_s(end))
        rate, burst = min(rate, end.rate_per_s), 1.0
        likely = highest = self._highest(epoch, end, rate)
        for _ in range(4):  # it converges: the climb is slower than the ramp, so its rate depends less on the burst
            burst = max(1.0, self._ramp[0].burst(likely, self._ramp[1]) if self._ramp else 1.0)
            likely = max(rate, epoch.rate(burst, end, highest))
        # measured, bursts 5 to 20: after two refusals the rate is within 1 %; doubling the burst would claim 11 to 18 %
        least, most = (max(rate, epoch.rate(burst * factor, end, highest)) for factor in (1.25, 0.8))
        if (likely if epoch.paused else least) > rate:
            rate, error = likely, (most - least) / 2 / likely
        if epoch.paused:  # a surprise may be an accident
            error = max(error, abs(rate / self.rate_per_s - 1) / 2)
        # few calls may be another process's doing
        self._set(max(rate, 0.5 * self.rate_per_s if calls < 16 else 0.0), error)

    def _highest(self, epoch: Epoch, end: Token, rate: float) -> float:
        """Return the highest rate that a bucket refused at the ramp's end and at this one can have."""
        highest = min(end.rate_per_s, self._ramp[1].rate_per_s if self._ramp else MAX_RATE)
        return max(rate, highest if epoch.paused else min(highest, 2 * rate))  # no pause: it overflowed in a climb only

    def _merge(self, calls: int, elapsed_s: float) -> tuple[float, float]:
        """Return rate and error by these calls and by what was known, unless they contradict each other."""
        expected = self.rate_per_s * elapsed_s
        known = 0.5 / self.error
        if abs(calls - expected) > 2 + self.error * expected:
            known = min(known, calls if calls < 16 else 1.0)
        return (known + calls) / (known / self.rate_per_s + elapsed_s), 1 / (known + calls)

    def _set(self, rate: float, error: float) -> None:
        self.rate_per_s = min(MAX_RATE, max(MIN_RATE, rate))
        self.error = min(COARSEST, max(FINEST, error))
