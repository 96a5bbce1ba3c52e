"""What was learned of the limit, in a person's words, and when it is worth telling."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.remote.learned import Learned, describe_refusals

MINUTE = ((60, 60.0),)


@pytest.mark.parametrize(
    ("learned", "words"),
    [
        pytest.param(Learned(), "", id="nothing"),
        pytest.param(Learned(rate_per_s=5.03), "about 5 calls a second", id="second"),
        pytest.param(Learned(rate_per_s=5.53), "about 5.5 calls a second", id="two-digits"),
        pytest.param(Learned(rate_per_s=1234.0), "about 1,200 calls a second", id="thousands"),
        pytest.param(Learned(rate_per_s=99.7), "about 100 calls a second", id="rounded-up"),
        pytest.param(Learned(rate_per_s=1.0), "about 60 calls a minute", id="minute"),
        pytest.param(Learned(rate_per_s=0.27), "about 16 calls a minute", id="slow"),
        pytest.param(Learned(rate_per_s=0.01), "about 36 calls an hour", id="hour"),
        pytest.param(Learned(rate_per_s=1 / 3600), "about 1 call an hour", id="one"),
        pytest.param(Learned(in_flight=8), "8 calls at once", id="in-flight"),
        pytest.param(Learned(in_flight=1), "1 call at once", id="one-in-flight"),
        pytest.param(Learned(rate_per_s=5.0, in_flight=8), "about 5 calls a second, 8 calls at once", id="both"),
        pytest.param(Learned(windows=MINUTE), "about 60 calls a minute, in windows of 60 s", id="window"),
        pytest.param(Learned(0.97, windows=MINUTE), "about 60 calls a minute, in windows of 60 s", id="window-wins"),
        pytest.param(Learned(windows=((20, 10.0),)), "about 2 calls a second, in windows of 10 s", id="short-window"),
        pytest.param(
            Learned(windows=((5, 1.0), (100, 60.0))),
            "about 5 calls a second and 100 calls a minute, in windows of 1 s and 60 s",
            id="stacked",
        ),
        pytest.param(
            Learned(in_flight=8, windows=((1000, 3600.0),)),
            "about 17 calls a minute, in windows of 3,600 s, 8 calls at once",
            id="window-and-in-flight",
        ),
    ],
)
def test_a_limit_is_told_in_a_persons_words(learned: Learned, words: str) -> None:
    assert learned.describe() == words
    assert learned.is_known is bool(words)


@given(st.floats(1e-6, 1e6), st.integers(1, 10**6))
def test_any_rate_is_told_by_a_number_near_it(rate_per_s: float, calls: int) -> None:
    number, _, unit = Learned(rate_per_s=rate_per_s).describe().removeprefix("about ").partition(" call")
    seconds = 1 if "second" in unit else 60 if "minute" in unit else 3600
    assert math.isclose(float(number.replace(",", "")), rate_per_s * seconds, rel_tol=0.051)
    assert f"{calls} call" in Learned(in_flight=calls).describe()


@pytest.mark.parametrize(
    ("before", "after", "differs"),
    [
        pytest.param(Learned(5.0), Learned(5.9), False, id="a-little-more"),
        pytest.param(Learned(5.0), Learned(6.1), True, id="more"),
        pytest.param(Learned(5.0), Learned(3.9), True, id="less"),
        pytest.param(Learned(5.0), Learned(in_flight=5), True, id="another-kind"),
        pytest.param(Learned(), Learned(5.0), True, id="first"),
        pytest.param(Learned(windows=MINUTE), Learned(0.5, windows=MINUTE), False, id="told-by-the-window"),
        pytest.param(Learned(windows=MINUTE), Learned(windows=((60, 30.0),)), True, id="another-length"),
        pytest.param(Learned(windows=MINUTE), Learned(windows=(*MINUTE, (5, 1.0))), True, id="one-more-window"),
    ],
)
def test_a_fifth_more_or_less_is_worth_telling(before: Learned, after: Learned, *, differs: bool) -> None:
    assert after.differs_from(before) is differs


def test_refusals_are_told_beside_the_limit() -> None:
    assert describe_refusals(Learned(1.0), 12, 1600) == (
        "the service allows about 60 calls a minute; refused 12 of 1,600 calls"
    )
    assert describe_refusals(Learned(), 1, 2) == "refused 1 of 2 calls"
