"""The estimate of the rate that an account permits, by the model of a token bucket, from the times of refused calls."""

from typing import Final

from pipeline.remote.pace.calls import Token

FIRST_RATE_PER_S: Final = 50.0
"""Before anything is known. At 100 calls/s, 64 slots would be full 0.15 s sooner, but buckets be overrun too far."""

MIN_RATE_PER_S, MAX_RATE_PER_S = 0.05, 100_000.0

MIN_ERROR, MAX_ERROR = 0.01, 0.4
"""Bounds of an estimate's relative error. At the minimum an epoch is about 150 calls, so 0.7 % of calls are refused."""

_SURE: Final = 0.1

CLOSED_AGAIN_S: Final = 5.0
_CLOSED_AGAIN_CALLS: Final = 20
"""A rate does not explain a closure that lasts so long, and so many of its gaps."""

_SMALL_BURST: Final = 2.0
"""A bucket of less may have refused a call for two close sends, so that few calls measure its rate badly."""

_MAX_SEND_TIMES: Final = 64
"""Send times kept per epoch; 256 give no better estimates."""


class Epoch:
    """The calls sent since a refusal; their send times are thinned to a bounded number.

    Args:
        began_s: When the epoch began.
        serial: Calls sent before the epoch.
        refused_calls: Calls of the epoch that are known to be refused.
        paused: The epoch began with a pause that the service asked for.
    """

    def __init__(self, began_s: float, serial: int, *, refused_calls: int, paused: bool) -> None:
        self.began_s = began_s
        self.paused = paused
        self.refused_calls = refused_calls
        self._first_serial = serial
        self._sends: list[tuple[float, int]] = []
        self._stride = 1

    def add(self, token: Token) -> None:
        """Note a call that was sent."""
        if token.serial % self._stride == 0:
            self._sends.append((token.sent_s, token.serial))
            if len(self._sends) > _MAX_SEND_TIMES:
                self._sends, self._stride = self._sends[::2], self._stride * 2

    def accepted_calls(self, end: Token) -> int:
        """Return the calls accepted before `end`; calls in flight count, because a refusal comes back at once."""
        return end.serial - self._first_serial - self.refused_calls

    def elapsed_s(self, end: Token) -> float:
        """Return the time from the epoch's beginning, a pause included, to the sending of `end`."""
        return max(1e-6, end.sent_s - self.began_s)

    def burst_at(self, rate: float, end: Token) -> float:
        """Return the burst of the token bucket of this rate that is full when the epoch begins and empty at `end`.

        Source: network calculus; the largest excess of the last n sends over rate × time, for any n.
        """
        return max((end.serial - serial - rate * (end.sent_s - sent_s) for sent_s, serial in self._sends), default=0.0)

    def rate_at(self, burst: float, end: Token, highest: float) -> float:
        """Return the rate, at most `highest`, of the token bucket of this burst that is empty at `end`."""
        low, high = 0.0, highest
        for _ in range(30):
            middle = (low + high) / 2
            low, high = (middle, high) if self.burst_at(middle, end) > burst else (low, middle)
        return high


class Estimate:
    """The permitted rate, under the model that the account is a token bucket which is empty at each refusal.

    As long as the bucket never overflows, its rate is accepted calls / time. After a pause, or after a climb from far
    below its rate, it has overflowed. Then its burst, which is unknown, must also explain where the ramp was refused;
    the two conditions together give rate and burst.
    """

    def __init__(self) -> None:
        self.rate_per_s = FIRST_RATE_PER_S
        self.error = MAX_ERROR
        self._ramp: tuple[Epoch, Token] | None = None

    @property
    def is_sure(self) -> bool:
        """True when the rate is known to about a tenth."""
        return self.error <= _SURE

    def start_from_ramp(self, ramp: Epoch, end: Token) -> None:
        """Take 0.4 of the ramp's last rate: bursts of 1, 10 and 100 overrun 50 calls/s by 1.1, 2.6 and 9 times."""
        self._ramp = ramp, end
        self._set(0.4 * end.rate_per_s, MAX_ERROR)

    def settle(self, rate: float, error: float) -> None:
        """Take a rate that was found by other means; what the ramp has shown does not count any more."""
        self._ramp = None
        self._set(rate, error)

    def measure(self, epoch: Epoch, end: Token) -> None:
        """Refine the estimate by an epoch of at least one accepted call."""
        calls = epoch.accepted_calls(end)
        rate, error = calls / epoch.elapsed_s(end), 1 / calls
        if not epoch.paused:
            rate, error = self._merge(calls, epoch.elapsed_s(end))
        rate, burst = min(rate, end.rate_per_s), 1.0
        likely = highest = self._highest_rate(epoch, end, rate)
        for _ in range(4):  # converges: the climb is slower than the ramp, so its rate depends less on the burst
            burst = max(1.0, self._ramp[0].burst_at(likely, self._ramp[1]) if self._ramp else 1.0)
            likely = max(rate, epoch.rate_at(burst, end, highest))
        # Measured for bursts of 5 to 20: after two refusals the rate is within 1 %. A factor of 2 in place of 1.25
        # would claim errors of 11 to 18 %.
        least, most = (max(rate, epoch.rate_at(burst * factor, end, highest)) for factor in (1.25, 0.8))
        if (likely if epoch.paused else least) > rate:
            rate, error = likely, max((most - least) / 2 / likely, 1 / calls if burst < _SMALL_BURST else 0.0)
        if epoch.paused:  # a rate far from the estimate may be chance
            error = max(error, abs(rate / self.rate_per_s - 1) / 2)
        # an epoch of few calls may have been cut short by another process that shares the account
        self._set(max(rate, 0.5 * self.rate_per_s if calls < 16 else 0.0), error)

    def _highest_rate(self, epoch: Epoch, end: Token, rate: float) -> float:
        """Return the highest rate of a bucket that is empty both at the ramp's end and at `end`."""
        highest = min(end.rate_per_s, self._ramp[1].rate_per_s if self._ramp else MAX_RATE_PER_S)
        # without a pause the bucket can only have overflowed during the climb
        return max(rate, highest if epoch.paused else min(highest, 2 * rate))

    def _merge(self, calls: int, elapsed_s: float) -> tuple[float, float]:
        """Return rate and error from these calls and the estimate so far, which counts less if they contradict it."""
        expected_calls = self.rate_per_s * elapsed_s
        prior_calls = 0.5 / self.error
        if abs(calls - expected_calls) > 2 + self.error * expected_calls:
            prior_calls = min(prior_calls, calls if calls < 16 else 1.0)
        return (prior_calls + calls) / (prior_calls / self.rate_per_s + elapsed_s), 1 / (prior_calls + calls)

    def _set(self, rate: float, error: float) -> None:
        self.rate_per_s = min(MAX_RATE_PER_S, max(MIN_RATE_PER_S, rate))
        self.error = min(MAX_ERROR, max(MIN_ERROR, error))


def is_beyond(rate_per_s: float, closed_s: float) -> bool:
    """Return whether a closure is far longer than a limit of this rate causes."""
    return closed_s >= max(CLOSED_AGAIN_S, _CLOSED_AGAIN_CALLS / rate_per_s)
