"""Which connections are closed when there are too many."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.server.http.eviction import OpenConnection, Stage, choose_evicted, find_overdue

NOW_S = 1000.0

connections = st.builds(
    OpenConnection,
    st.sampled_from(["192.0.2.1", "192.0.2.2", "key"]),
    st.booleans(),
    st.sampled_from(Stage),
    st.floats(NOW_S - 100, NOW_S),
)


def waits(stage: Stage, age_s: float, group: str = "192.0.2.1", *, is_known: bool = False) -> OpenConnection:
    """Return a connection that has been in a stage for this long."""
    return OpenConnection(group, is_known, stage, NOW_S - age_s)


WORST_FIRST = [
    pytest.param(waits(Stage.HEADERS, 2), waits(Stage.IDLE, 50), id="silent-before-one-that-spoke"),
    pytest.param(waits(Stage.PIPELINED, 0), waits(Stage.IDLE, 50), id="pipelined-before-one-that-waits"),
    pytest.param(waits(Stage.REJECTED, 0), waits(Stage.IDLE, 50), id="refused-before-one-that-spoke"),
    pytest.param(waits(Stage.BODY, 2), waits(Stage.IDLE, 50), id="body-of-an-unknown-caller-before-idle"),
    pytest.param(waits(Stage.IDLE, 0), waits(Stage.HEADERS, 0.5), id="idle-before-one-just-opened"),
    pytest.param(waits(Stage.HEADERS, 0.5), waits(Stage.BODY, 9, is_known=True), id="just-opened-before-slow-body"),
    pytest.param(waits(Stage.BODY, 9, is_known=True), waits(Stage.IDLE, 9, is_known=True), id="slow-body-before-idle"),
    pytest.param(waits(Stage.RESPONSE, 9), waits(Stage.IDLE, 9, is_known=True), id="unread-response-before-idle"),
    pytest.param(waits(Stage.IDLE, 0, is_known=True), waits(Stage.BODY, 1, is_known=True), id="idle-before-a-body"),
]


@pytest.mark.parametrize(("first", "second"), WORST_FIRST)
def test_the_connection_that_is_worth_less_goes_first(first: OpenConnection, second: OpenConnection) -> None:
    assert choose_evicted([second, first, waits(Stage.WORKING, 99)], NOW_S) == [1]


@pytest.mark.parametrize("stage", [Stage.HEADERS, Stage.IDLE])
def test_among_equals_the_oldest_goes_first(stage: Stage) -> None:
    assert choose_evicted([waits(stage, age_s) for age_s in (20, 40, 30)], NOW_S) == [1]


def test_among_equals_the_address_with_the_most_connections_gives_one_up() -> None:
    many = [waits(Stage.HEADERS, 2, "192.0.2.9") for _ in range(3)]
    assert choose_evicted([waits(Stage.HEADERS, 50), *many], NOW_S) == [1]


def test_behind_one_address_the_key_with_the_most_connections_gives_one_up() -> None:
    """A proxy's callers have one address; their keys tell them apart."""
    anna, ben = (waits(Stage.IDLE, 50 - i, key, is_known=True) for i, key in enumerate(("anna", "ben")))
    assert choose_evicted([anna, ben, ben], NOW_S) == [1]


def test_a_key_with_a_quarter_of_all_connections_loses_its_idle_ones_first() -> None:
    """Otherwise one key could hold every connection idle."""
    crowd = [waits(Stage.IDLE, 10, "key", is_known=True) for _ in range(33)]
    other = waits(Stage.IDLE, 50, "other", is_known=True)
    assert choose_evicted([other, *crowd], NOW_S) == [1]
    assert choose_evicted([other, *crowd[1:]], NOW_S) == [1]
    assert choose_evicted([other, *crowd[1:], waits(Stage.HEADERS, 0.5)], NOW_S) == [33]


@pytest.mark.parametrize("stage", [Stage.WORKING, Stage.PIPELINED, Stage.BODY, Stage.RESPONSE])
def test_a_request_that_makes_progress_is_never_closed(stage: Stage) -> None:
    assert choose_evicted([waits(stage, 0.5, is_known=True)], NOW_S) == []


def test_silent_connections_are_closed_several_at_a_time_and_others_one_at_a_time() -> None:
    assert len(choose_evicted([waits(Stage.HEADERS, 2)] * 50, NOW_S, 16)) == 16
    assert len(choose_evicted([waits(Stage.IDLE, 2)] * 50, NOW_S, 16)) == 1


@pytest.mark.parametrize(("open_connections", "closed"), [(49, 0), (50, 50)])
def test_headers_have_a_short_deadline_from_half_the_maximum_on(open_connections: int, closed: int) -> None:
    assert len(find_overdue([waits(Stage.HEADERS, 6)] * open_connections, NOW_S, 100)) == closed


def test_the_short_deadline_is_for_headers_only() -> None:
    others = [waits(stage, 50) for stage in (Stage.IDLE, Stage.BODY, Stage.RESPONSE, Stage.WORKING)]
    assert find_overdue([*others, waits(Stage.HEADERS, 4)], NOW_S, 2) == []


@given(st.lists(connections, max_size=30), st.integers(1, 10))
def test_no_more_than_asked_for_are_closed_and_never_one_at_work(held: list[OpenConnection], count: int) -> None:
    chosen = choose_evicted(held, NOW_S, count)
    assert len(chosen) == len(set(chosen)) <= count
    assert all(held[index].stage is not Stage.WORKING for index in chosen)
    assert bool(chosen) or all(
        connection.stage in {Stage.WORKING, Stage.PIPELINED, Stage.BODY, Stage.RESPONSE} for connection in held
    )
