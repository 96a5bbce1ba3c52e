"""Who gives way when a shared resource runs out."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from pipeline.server.http.sharing import Holding, choose_to_give_way

CALLERS = ("anna", "ben", "carla")

holdings = st.builds(
    Holding, st.sampled_from(CALLERS), st.integers(0, 9), st.integers(0, 99), st.booleans(), st.booleans()
)


def totals(held: list[Holding]) -> Counter[str]:
    """Return what each caller holds."""
    found = Counter[str]()
    for holding in held:
        found[holding.caller] += holding.amount
    return found


def test_the_newest_request_of_the_largest_caller_gives_way() -> None:
    held = [Holding("ben", 1, 1.0), Holding("ben", 1, 2.0), Holding("carla", 1, 3.0)]
    assert choose_to_give_way(held, "anna", 1) == 1


def test_of_its_requests_a_slow_one_gives_way_first() -> None:
    held = [Holding("ben", 5, 1.0), Holding("ben", 1, 2.0, is_slow=True), Holding("ben", 9, 3.0)]
    assert choose_to_give_way(held, "anna", 1) == 1


def test_nobody_gives_way_to_a_caller_that_would_hold_as_much() -> None:
    assert choose_to_give_way([Holding("ben", 5, 1.0), Holding("anna", 4, 2.0)], "anna", 1) is None


@given(st.lists(holdings, max_size=12), st.sampled_from(CALLERS), st.integers(1, 9))
def test_only_a_caller_that_would_still_hold_more_loses_a_request(
    held: list[Holding], caller: str, needed: int
) -> None:
    index = choose_to_give_way(held, caller, needed)
    if index is None:
        return
    chosen = held[index]
    assert chosen.may_give_way
    assert chosen.amount > 0
    if chosen.caller == caller:
        assert chosen.is_slow
    else:
        assert totals(held)[chosen.caller] > totals(held)[caller] + needed


@given(st.lists(holdings, max_size=12), st.integers(1, 9))
def test_a_newcomer_gets_what_it_needs_while_another_caller_holds_more(held: list[Holding], needed: int) -> None:
    """Max-min fairness: requests give way one by one until the newcomer holds as much as the others."""
    free = [holding for holding in held if holding.caller != "anna" and holding.may_give_way]
    while (index := choose_to_give_way(free, "anna", needed)) is not None:
        del free[index]
    assert all(amount <= needed for amount in totals(free).values())
