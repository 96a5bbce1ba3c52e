"""The least time in which a client that knows the limit gets so many calls accepted, from first to last arrival."""

from collections.abc import Callable
from typing import Final

Ideal = Callable[[int, float, int], float]
"""From the number of accepted calls, the service's latency in seconds, and the calls that the client has in flight at
most, to the least seconds between the first arrival and the last."""

TOLERANCE: Final = 1e-9
"""Of a count that rounding has left just above the limit."""


def windows(*limits: tuple[int, float]) -> Ideal:
    """Return the ideal of windows that must all admit a call, refused calls not counted.

    Each call is sent as soon as all windows admit it, because windows that are stacked take more than the longest of
    their times: behind 5 per second and 100 per minute, the last 100 of 300 calls take 19 s more once the third minute
    has begun, 139 s in all, and not the 120 s of the minutes alone. The client's calls in flight are one more window,
    as long as a call takes. Sliding windows, and fixed ones that begin with a call, come to the same.

    Args:
        limits: (calls, seconds) of each window.
    """

    def ideal_s(accepted: int, latency_s: float, jobs: int) -> float:
        stacked = [*limits, (jobs, latency_s)]
        arrived_s: list[float] = []
        for number in range(accepted):
            free_s = [arrived_s[number - calls] + window_s for calls, window_s in stacked if number >= calls]
            arrived_s.append(max(free_s, default=0.0))
        return arrived_s[-1]

    return ideal_s


def concurrency(calls: int) -> Ideal:
    """Return the ideal of a limit of calls at once."""
    return lambda accepted, latency_s, jobs: windows((calls, latency_s))(accepted, latency_s, jobs)


def bucket(rate_per_s: float, burst: int) -> Ideal:
    """Return the ideal of a token bucket that is full at the start."""
    return lambda accepted, _latency_s, _jobs: max(0, accepted - burst) / rate_per_s


def counter(calls: int, window_s: float) -> Ideal:
    """Return the ideal of a sliding-window counter, such as HAProxy's rates: the last window's count fades linearly.

    A call is admitted while last·(1 − share of the window that has passed) + those in this window <= `calls`.
    """

    def ideal_s(accepted: int, _latency_s: float, _jobs: int) -> float:
        last, current, begin_s, at_s = 0, 0, 0.0, 0.0
        for _ in range(accepted):
            while current + 1 + last * (1 - (at_s - begin_s) / window_s) > calls + TOLERANCE:
                passed = 1 - (calls - current - 1) / last if last else 1.0
                if passed >= 1 or current >= calls:  # nothing more in this window
                    last, current, begin_s = current, 0, begin_s + window_s
                    at_s = max(at_s, begin_s)
                else:
                    at_s = max(at_s, begin_s + passed * window_s)
            current += 1
        return at_s

    return ideal_s


def slower_of(*ideals: Ideal) -> Ideal:
    """Return the ideal of a limit of calls at once beside a bucket, of which one is the tighter all the time."""
    return lambda accepted, latency_s, jobs: max(ideal(accepted, latency_s, jobs) for ideal in ideals)


def at_once(accepted: int, latency_s: float, jobs: int) -> float:
    """Return the ideal of a client that is held back by its own calls in flight alone."""
    return windows()(accepted, latency_s, jobs)
