"""Admission control: the bounds on queued requests and buffered bytes."""

import pytest

from pipeline.server.http.admission import RETRY_AFTER_S, AdmissionControl, AdmissionStatistics
from pipeline.server.http.requests import RequestError

IDLE = AdmissionStatistics(slots_taken=0, body_bytes=0, shed_requests=0)


def test_a_slot_is_free_again_after_its_block_also_after_an_exception() -> None:
    admission = AdmissionControl(1)
    with pytest.raises(ZeroDivisionError), admission.queue_slot():
        raise ZeroDivisionError
    with admission.queue_slot():
        assert admission.statistics() == AdmissionStatistics(slots_taken=1, body_bytes=0, shed_requests=0)
    assert admission.statistics() == IDLE


def test_a_full_queue_sheds_a_request_with_429_and_retry_after() -> None:
    admission = AdmissionControl(2)
    with admission.queue_slot():
        admission.check_queue()
        with admission.queue_slot():
            with pytest.raises(RequestError, match="the server is busy") as caught:
                admission.check_queue()
            with pytest.raises(RequestError), admission.queue_slot():
                pass
    assert (caught.value.status, caught.value.retry_after_s) == (429, RETRY_AFTER_S)
    assert admission.statistics() == AdmissionStatistics(slots_taken=0, body_bytes=0, shed_requests=2)


def test_all_bodies_share_one_limit() -> None:
    admission = AdmissionControl(bodies_max_bytes=10)
    with admission.body_buffer() as count_bytes:
        count_bytes(6)
        with admission.body_buffer() as count_other_bytes:
            count_other_bytes(4)
            with pytest.raises(RequestError, match="busy"):
                count_other_bytes(1)
        assert admission.statistics().body_bytes == 6
        count_bytes(4)
        assert repr(admission) == "<AdmissionControl 0 of 16 slots, 10 body bytes>"
    assert admission.statistics() == AdmissionStatistics(slots_taken=0, body_bytes=0, shed_requests=1)
