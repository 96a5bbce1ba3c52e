"""`--where` and `--split`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.export.selection import Split, Where
from pipeline.records import State
from pipeline.workspace.finished_pages import FinishedPage
from tests.factories import DOUBT, QUALITY


def page(source: str, *, in_doubt: bool = False, checked: bool = False, corrected: bool = False) -> FinishedPage:
    name = source.encode("utf-8", "surrogateescape")
    return FinishedPage(name, 1, State.DONE, "2026", in_doubt, "sha256:0#1", 0, checked, corrected)


def test_without_conditions_all_pages_with_a_text_are_taken() -> None:
    where = Where.parse([])
    assert where.states == (State.DONE, State.DUPLICATE)
    assert where.takes(page("a.png", in_doubt=True))
    assert where.takes_quality(None)


def test_all_conditions_must_hold() -> None:
    where = Where.parse(["source=letters/*", "source!=*.gif", "quality!=in-doubt", "state=done"])
    assert where.states == (State.DONE,)
    assert where.takes(page("letters/a.png"))
    assert not where.takes(page("letters/a.gif"))
    assert not where.takes(page("other/a.png"))
    assert not where.takes(page("letters/a.png", in_doubt=True))


def test_pages_are_taken_by_what_a_person_did() -> None:
    pages = [page("a"), page("b", checked=True), page("c", corrected=True), page("d", checked=True, corrected=True)]
    taken = {
        condition: "".join(each.source.decode() for each in pages if Where.parse(condition.split()).takes(each))
        for condition in ("review=checked", "review!=checked", "review=corrected", "review=checked review!=corrected")
    }
    assert taken == {
        "review=checked": "bd",
        "review!=checked": "ac",
        "review=corrected": "cd",
        "review=checked review!=corrected": "b",
    }


def test_a_text_that_a_person_reviewed_has_no_low_score() -> None:
    assert Where.parse(["quality>=0.99"]).takes_reviewed
    assert not Where.parse(["quality<0.1"]).takes_reviewed


def test_scores_are_bounds() -> None:
    assert Where.parse(["quality>=0.8"]).takes_quality(QUALITY)
    assert not Where.parse(["quality>=0.8"]).takes_quality(DOUBT)
    assert Where.parse(["quality<0.8"]).takes_quality(DOUBT)
    assert not Where.parse(["quality<0.8"]).takes_quality(QUALITY)
    assert not Where.parse(["quality>=0"]).takes_quality(None)


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        pytest.param("colour=red", "expected state=", id="unknown-field"),
        pytest.param("state=failed", "no text in state 'failed'", id="state-without-text"),
        pytest.param("state>=done", "cannot be compared", id="operator"),
        pytest.param("quality>=9", "from 0 to 1", id="score"),
        pytest.param("quality>=nan", "from 0 to 1", id="nan"),
        pytest.param("source=", "expected state=", id="no-value"),
        pytest.param("review=liked", "corrected, or checked", id="review"),
        pytest.param("review>=checked", "cannot be compared", id="review-operator"),
    ],
)
def test_a_wrong_condition_is_named(condition: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Where.parse([condition])


@pytest.mark.parametrize("text", ["train", "train=0.9", "a=0.5,a=0.5", "a=0,b=1", "a=x,b=1", "../a=1", ""])
def test_a_wrong_split_is_named(text: str) -> None:
    with pytest.raises(UsageError, match="--split"):
        Split.parse(text, 0)


def test_shares_are_about_as_asked_for_and_depend_on_the_seed() -> None:
    split, other = Split.parse("train=0.8,test=0.2", 0), Split.parse("train=0.8,test=0.2", 1)
    chosen = [split.choose(str(number)) for number in range(5000)]
    assert 0.78 < chosen.count("train") / 5000 < 0.82
    assert chosen != [other.choose(str(number)) for number in range(5000)]


@given(st.text(), st.integers())
def test_every_key_has_one_split(key: str, seed: int) -> None:
    split = Split.parse("a=0.1,b=0.2,c=0.7", seed)
    assert split.choose(key) in {"a", "b", "c"}
    assert split.choose(key) == split.choose(key)
