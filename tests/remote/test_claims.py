"""Claims: headers that tell the truth hold calls back until the reset; headers that contradict themselves do not."""

import pytest

from pipeline.remote.allowance import Allowance
from pipeline.remote.claims import Claims


def claim(
    claims: Claims,
    now_s: float,
    allowance: Allowance,
    *,
    sent_s: float | None = None,
    serial: int = 0,
    sent_since: int = 0,
) -> float | None:
    """Report an accepted call that took 0.1 s; return for how long all calls have to wait."""
    sent_s = now_s - 0.1 if sent_s is None else sent_s
    spent = claims.judge(now_s, sent_s, allowance, serial=serial, sent_since=sent_since, accepted=True)
    assert spent is None or spent.remaining == 0
    return None if spent is None else spent.reset_s


@pytest.mark.parametrize(
    ("allowance", "sent_since", "pause_s"),
    [
        pytest.param(Allowance(0, 30.0, 60), 0, 30.0, id="nothing-left"),
        pytest.param(Allowance(1, 30.0, 60), 0, None, id="one-left"),
        pytest.param(Allowance(3, 30.0, 60), 2, None, id="one-left-beside-those-in-flight"),
        pytest.param(Allowance(3, 30.0, 60), 3, 30.0, id="those-in-flight-use-it-up"),
        pytest.param(Allowance(0, None, 60), 0, None, id="no-reset"),
        pytest.param(Allowance(0, 0.0, 60), 0, None, id="reset-now"),
        pytest.param(Allowance(0, 1.0, 60), 0, None, id="as-short-as-its-rounding"),
        pytest.param(Allowance(0, 3600.0, 60), 0, 3600.0, id="an-hour"),
        pytest.param(Allowance(0, 3601.0, 60), 0, None, id="longer-than-an-hour"),
        pytest.param(Allowance(0, 12 * 86400.0, 30), 0, None, id="a-month"),
    ],
)
def test_calls_wait_when_nothing_is_left_for_up_to_an_hour(
    allowance: Allowance, sent_since: int, pause_s: float | None
) -> None:
    assert claim(Claims(), 0.0, allowance, sent_since=sent_since) == pause_s


@pytest.mark.parametrize(("remaining", "pause_s"), [(44, None), (58, 30.0)], ids=["when-sent", "when-it-arrived"])
def test_calls_in_flight_are_not_subtracted_twice(remaining: int, pause_s: float | None) -> None:
    """After a lone call, sixteen go out at once: the reply to the first of them may count them all, or itself."""
    claims = Claims()
    claim(claims, 0.0, Allowance(59, 60.0, 60), serial=0)
    claim(claims, 0.2, Allowance(remaining, 60.0, 60), serial=1, sent_since=15)
    assert claim(claims, 0.3, Allowance(9, 30.0, 60), serial=50, sent_since=15) == pause_s


@pytest.mark.parametrize("limit", [1, 2, 60])
def test_honest_windows_are_believed_for_ever(limit: int) -> None:
    """Each window's replies arrive in the reverse of their order, and refusals among them."""
    claims = Claims()
    for window in range(50):
        begun_s = window * 60.0
        for remaining in range(limit):
            arrived_s = begun_s + 1.0 + remaining / 100
            pause_s = claim(
                claims, arrived_s, Allowance(remaining, 59.0, limit), sent_s=begun_s + 0.1 - remaining / 1e4
            )
            assert (pause_s == 59.0) is (remaining == 0)
        claims.judge(begun_s + 1.9, begun_s + 0.1, Allowance(0, 58.0, limit), serial=0, sent_since=0, accepted=False)
    assert not claims.is_disbelieved


@pytest.mark.parametrize("limit", [None, 60])
def test_a_header_that_always_says_zero_holds_back_three_calls(limit: int | None) -> None:
    """Calls that go one at a time, each after the reset of the one before."""
    claims = Claims()
    pauses = [claim(claims, call * 60.0, Allowance(0, 50.0, limit)) for call in range(6)]
    assert pauses == [50.0, 50.0, 50.0, None, None, None]
    assert claims.is_disbelieved


def test_calls_beside_one_another_unmask_it_at_once() -> None:
    """A window has one last call; here, four that were sent one after another claim to be it."""
    claims = Claims()
    pauses = [claim(claims, 1.0 + call / 100, Allowance(0, 50.0, 60)) for call in range(4)]
    assert pauses == [50.0, 50.0, 50.0, None]


def test_one_false_claim_between_honest_ones_is_forgiven() -> None:
    """Another program that uses the account may take a window's other calls, now and then."""
    claims = Claims()
    for window in range(30):
        at_s = window * 60.0
        if window % 3 == 0:
            assert claim(claims, at_s + 1, Allowance(59, 59.0, 60)) is None
        assert claim(claims, at_s + 2, Allowance(0, 50.0, 60)) == 50.0
    assert not claims.is_disbelieved


@pytest.mark.parametrize(
    ("reset_s", "pause_s"),
    [pytest.param(0.0, None, id="now"), pytest.param(0.5, 0.5, id="soon"), pytest.param(3601.0, None, id="late")],
)
def test_a_refusals_reset_is_waited_for_however_short(reset_s: float, pause_s: float | None) -> None:
    """As a Retry-After would be; token buckets name the time to the next token."""
    claims = Claims()
    for call in range(20):
        spent = claims.judge(call * 2.0, call * 2.0, Allowance(0, reset_s, 60), serial=0, sent_since=0, accepted=False)
        assert (None if spent is None else spent.reset_s) == pause_s
        assert claim(claims, call * 2.0 + 1, Allowance(0, 1.0, 60)) is None
    assert not claims.is_disbelieved


def test_refusals_do_not_confirm_a_claim() -> None:
    """A header that always says zero says so on refusals, too, which a limit without headers causes."""
    claims = Claims()
    for call in range(4):
        claim(claims, call * 60.0, Allowance(0, 50.0))
        claims.judge(call * 60.0 + 1, call * 60.0, Allowance(0, 50.0), serial=0, sent_since=0, accepted=False)
    assert claims.is_disbelieved
