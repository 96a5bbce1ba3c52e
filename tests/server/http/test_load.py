"""Bounds on what is under way."""

import pytest

from pipeline.server.http.load import RETRY_AFTER_S, Load, LoadStatistics
from pipeline.server.http.requests import RequestError


def test_a_place_is_free_again_when_its_block_ends() -> None:
    """However it ends."""
    load = Load(1)
    with pytest.raises(ZeroDivisionError), load.place():
        raise ZeroDivisionError
    with load.place():
        assert load.statistics() == LoadStatistics(places=1, body_bytes=0, shed=0)
    assert load.statistics() == LoadStatistics(places=0, body_bytes=0, shed=0)


def test_the_place_too_many_is_refused_with_the_time_to_come_back() -> None:
    """429 with Retry-After, and the refusal is counted."""
    load = Load(2)
    with load.place():
        load.check()
        with load.place():
            with pytest.raises(RequestError, match="the server is busy") as caught:
                load.check()
            with pytest.raises(RequestError), load.place():
                pass
    assert (caught.value.status, caught.value.retry_after_s) == (429, RETRY_AFTER_S)
    assert load.statistics() == LoadStatistics(places=0, body_bytes=0, shed=2)


def test_bodies_share_one_bound() -> None:
    """The one whose bytes are too many goes, the other stays; both are off the account in the end."""
    load = Load(bodies_max_bytes=10)
    with load.body() as hold:
        hold(6)
        with load.body() as hold_more:
            hold_more(4)
            with pytest.raises(RequestError, match="busy"):
                hold_more(1)
        assert load.statistics().body_bytes == 6
        hold(4)
        assert repr(load) == "<Load 0 of 16 places, 10 body bytes>"
    assert load.statistics() == LoadStatistics(places=0, body_bytes=0, shed=1)
