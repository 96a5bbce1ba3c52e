"""Which request gives way when a resource that all callers share runs out: pure.

Shares are max-min fair: a caller that needs more takes it from the caller that holds most, as long as that one holds
more than the first would then have. So a lone caller may use everything, and nobody keeps others out. Within one
caller only a request that makes no progress gives way; otherwise the requests in progress would end each other.

Precedent: D. Bertsekas and R. Gallager, "Data Networks", 6.5.2, max-min flow control.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Holding:
    """A request's part of a resource.

    Attributes:
        caller: Whose request it is.
        amount: Bytes, or 1 for a place.
        begun_s: When the request began.
        may_give_way: Whether it can still be ended without loss of work.
        is_slow: Whether it waits for its caller, and makes no progress.
    """

    caller: str
    amount: int
    begun_s: float
    may_give_way: bool = True
    is_slow: bool = False


def choose_to_give_way(holdings: Sequence[Holding], caller: str, needed: int) -> int | None:
    """Return the index of the holding that gives way to a caller; None when the caller has to go without.

    Args:
        holdings: All holdings of the resource.
        caller: The caller that needs more.
        needed: How much more.
    """
    totals = Counter[str]()
    for holding in holdings:
        totals[holding.caller] += holding.amount
    then = totals[caller] + needed
    larger = [
        index
        for index, holding in enumerate(holdings)
        if holding.may_give_way and holding.amount and holding.caller != caller and totals[holding.caller] > then
    ]
    if larger:
        most = max(totals[holdings[index].caller] for index in larger)
        chosen = [index for index in larger if totals[holdings[index].caller] == most]
        return max(chosen, key=lambda index: _worst(holdings[index]))
    own_slow = [
        index
        for index, holding in enumerate(holdings)
        if holding.may_give_way and holding.amount and holding.caller == caller and holding.is_slow
    ]
    return min(own_slow, key=lambda index: holdings[index].begun_s, default=None)


def _worst(holding: Holding) -> tuple[bool, int, float]:
    """Order the holdings of the caller that holds most: slow ones, large ones, new ones give way first."""
    return holding.is_slow, holding.amount, holding.begun_s
