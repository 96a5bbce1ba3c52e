"""Admission control: the bounds on queued requests, fetches and buffered bytes, and whose requests give way."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from pipeline.server.http import admission as admission_module
from pipeline.server.http.admission import RETRY_AFTER_S, AdmissionControl, AdmissionStatistics, Share
from pipeline.server.http.requests import RequestError
from tests.clocks import Clock

IDLE = AdmissionStatistics(slots_taken=0, body_bytes=0, shed_requests=0)


def test_a_slot_is_free_again_after_its_block_also_after_an_exception() -> None:
    admission = AdmissionControl(1)
    with admission.share("anna") as share:
        with pytest.raises(ZeroDivisionError), admission.queue_slot(share):
            raise ZeroDivisionError
        with admission.queue_slot(share):
            assert admission.statistics() == AdmissionStatistics(slots_taken=1, body_bytes=0, shed_requests=0)
        assert admission.statistics() == IDLE


def test_a_full_queue_sheds_a_request_with_429_and_retry_after() -> None:
    admission = AdmissionControl(2)
    with admission.share("anna") as first, admission.share("anna") as second, admission.share("anna") as third:
        with admission.queue_slot(first):
            admission.check_queue(second)
            with admission.queue_slot(second):
                with pytest.raises(RequestError, match="the server is busy") as caught:
                    admission.check_queue(third)
                with pytest.raises(RequestError), admission.queue_slot(third):
                    pass
        assert (caught.value.status, caught.value.retry_after_s) == (429, RETRY_AFTER_S)
        assert admission.statistics() == AdmissionStatistics(slots_taken=0, body_bytes=0, shed_requests=2)


def test_all_bodies_share_one_limit() -> None:
    admission = AdmissionControl(bodies_max_bytes=10)
    with admission.share("anna") as share:
        admission.count_bytes(share, 6)
        with admission.share("anna") as other:
            admission.count_bytes(other, 4)
            with pytest.raises(RequestError, match="busy"):
                admission.count_bytes(other, 1)
        assert admission.statistics().body_bytes == 6
        admission.count_bytes(share, 4)
        assert repr(admission) == "<AdmissionControl 0 of 16 slots, 10 body bytes>"
    assert admission.statistics() == AdmissionStatistics(slots_taken=0, body_bytes=0, shed_requests=1)


@contextmanager
def shares(admission: AdmissionControl, *callers: str) -> Iterator[list[Share]]:
    """Give these callers a share each."""
    with ExitStack() as stack:
        yield [stack.enter_context(admission.share(caller)) for caller in callers]


async def test_the_caller_that_holds_most_memory_gives_way_to_another() -> None:
    admission = AdmissionControl(bodies_max_bytes=100)
    with shares(admission, "ben", "ben", "ben", "anna") as (first, second, third, anna):
        for share, number in ((first, 30), (second, 40), (third, 30)):
            admission.count_bytes(share, number)
        admission.count_bytes(anna, 30)
        assert [share.gave_way for share in (first, second, third, anna)] == [False, True, False, False]
        assert admission.statistics() == AdmissionStatistics(slots_taken=0, body_bytes=90, shed_requests=1)
        with pytest.raises(RequestError, match="busy"):
            admission.count_bytes(second, 1)
    assert admission.statistics().body_bytes == 0


async def test_without_shares_one_caller_keeps_all_others_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control of the test above."""
    monkeypatch.setattr(admission_module, "choose_to_give_way", lambda *_: None)
    admission = AdmissionControl(bodies_max_bytes=100)
    with shares(admission, "ben", "anna") as (ben, anna):
        admission.count_bytes(ben, 100)
        with pytest.raises(RequestError, match="busy"):
            admission.count_bytes(anna, 1)


async def test_a_caller_cannot_take_more_than_the_one_it_takes_it_from() -> None:
    admission = AdmissionControl(bodies_max_bytes=100)
    with shares(admission, "ben", "anna") as (ben, anna):
        admission.count_bytes(ben, 50)
        admission.count_bytes(anna, 50)
        with pytest.raises(RequestError, match="busy"):
            admission.count_bytes(anna, 1)
        assert not ben.gave_way


async def test_a_stalled_body_gives_way_to_another_one_of_its_caller_and_an_arriving_one_does_not() -> None:
    """Without a key all callers on one address are one caller."""
    clock = Clock()
    admission = AdmissionControl(bodies_max_bytes=100_000, clock_s=lambda: clock.uptime_s)
    with shares(admission, "anyone", "anyone", "anyone") as (stalled, arriving, new):
        admission.count_bytes(stalled, 50_000)
        clock.uptime_s += 4
        admission.count_bytes(arriving, 50_000)
        with pytest.raises(RequestError, match="busy"):
            admission.count_bytes(new, 1)
        clock.uptime_s += 2
        admission.count_bytes(new, 20_000)
        assert (stalled.gave_way, arriving.gave_way) == (True, False)


async def test_a_drip_of_bytes_is_no_progress() -> None:
    clock = Clock()
    admission = AdmissionControl(bodies_max_bytes=100_000, clock_s=lambda: clock.uptime_s)
    with shares(admission, "anyone", "anyone") as (dripping, new):
        admission.count_bytes(dripping, 50_000)
        for _ in range(60):
            clock.uptime_s += 0.1
            admission.count_bytes(dripping, 1)
        admission.count_bytes(new, 99_000)
        assert dripping.gave_way


async def test_a_page_that_is_being_read_does_not_give_way() -> None:
    admission = AdmissionControl(bodies_max_bytes=100)
    with shares(admission, "ben", "anna") as (ben, anna):
        admission.count_bytes(ben, 100)
        ben.keep()
        with pytest.raises(RequestError, match="busy"):
            admission.count_bytes(anna, 1)
        assert not ben.gave_way


async def test_a_waiting_page_gives_its_slot_to_a_caller_that_has_fewer() -> None:
    admission = AdmissionControl(2)
    with shares(admission, "ben", "ben", "anna") as (first, second, anna), ExitStack() as stack:
        stack.enter_context(admission.queue_slot(first))
        first.keep()
        stack.enter_context(admission.queue_slot(second))
        stack.enter_context(admission.queue_slot(anna))
        assert (first.gave_way, second.gave_way) == (False, True)
        assert admission.statistics().slots_taken == 2


async def test_one_caller_never_has_every_slot() -> None:
    """All pages of a caller may be being read, and then none of them gives way."""
    admission = AdmissionControl(16)
    with shares(admission, *["ben"] * 15, "anna") as (*bens, anna), ExitStack() as stack:
        for share in bens[:14]:
            stack.enter_context(admission.queue_slot(share))
            share.keep()
        with pytest.raises(RequestError, match="busy"):
            admission.check_queue(bens[14])
        stack.enter_context(admission.queue_slot(anna))
    assert admission.statistics().slots_taken == 0


async def test_a_fetch_gives_way_and_the_other_begins_when_it_has_ended() -> None:
    admission = AdmissionControl(fetches=2)
    ended: list[str] = []

    async def fetch() -> None:
        with admission.share("ben") as share:
            try:
                async with share.until_given_way(), admission.fetch_slot(share):
                    await asyncio.Event().wait()
            except RequestError as exc:
                ended.append(f"{exc.status}")

    fetches = [asyncio.create_task(fetch()) for _ in range(2)]
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        with admission.share("anna") as anna:
            async with admission.fetch_slot(anna):
                assert ended == ["429"]
    for task in fetches:
        task.cancel()
    await asyncio.wait(fetches)


async def test_eight_fetches_of_one_caller_shed_its_ninth() -> None:
    admission = AdmissionControl()
    with shares(admission, *["ben"] * 9) as (*fetching, ninth):
        for share in fetching:
            share.is_fetching = True
        with pytest.raises(RequestError, match="busy"):
            async with admission.fetch_slot(ninth):
                pass


async def test_a_request_that_gave_way_before_it_waits_ends_at_its_next_wait() -> None:
    with AdmissionControl().share("ben") as share:
        share.give_way()
        with pytest.raises(RequestError, match="busy"):
            async with share.until_given_way():
                await asyncio.Event().wait()


async def test_a_timeout_inside_the_work_stays_a_timeout_error() -> None:
    with AdmissionControl().share("ben") as share, pytest.raises(TimeoutError):
        async with share.until_given_way(), asyncio.timeout(0.01):
            await asyncio.Event().wait()
