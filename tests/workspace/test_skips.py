"""Which skipped pages are settled, and by what rule."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.records import State
from pipeline.skipped import BLANK, SMALLER, Skipped
from pipeline.workspace.index import Index
from pipeline.workspace.paths import RESULTS
from pipeline.workspace.result_lines import encode_record
from pipeline.workspace.skips import SkipRule
from tests.factories import make_record, on_disk, page_id

BLANK_PAGE = replace(make_record("a.png", 1), text="", attempts=(), prep=None, skipped=Skipped(BLANK, 0.25))
SMALL_PAGE = replace(BLANK_PAGE, skipped=Skipped(SMALLER, 90.0))


@pytest.mark.parametrize(
    ("skipped", "rule", "expected"),
    [
        (Skipped(BLANK, 0.5), SkipRule(skips_blank=True, smaller_px=0), True),
        (Skipped(BLANK, 0.5), SkipRule(skips_blank=False, smaller_px=900), False),
        (Skipped(SMALLER, 99.0), SkipRule(skips_blank=False, smaller_px=100), True),
        (Skipped(SMALLER, 100.0), SkipRule(skips_blank=True, smaller_px=100), False),
        (Skipped("of a later release", 1.0), SkipRule(skips_blank=True, smaller_px=900), False),
    ],
)
def test_a_rule_covers_what_it_would_skip(skipped: Skipped, rule: SkipRule, *, expected: bool) -> None:
    assert rule.covers(skipped) is expected


@given(st.integers(1, 5000), st.integers(0, 5000), st.integers(0, 5000))
def test_a_higher_bound_covers_what_a_lower_one_does(edge_px: int, first: int, second: int) -> None:
    skipped = Skipped(SMALLER, float(edge_px))
    low, high = (SkipRule(skips_blank=False, smaller_px=bound) for bound in sorted((first, second)))
    assert high.covers(skipped) or not low.covers(skipped)


def test_a_skipped_page_is_settled_while_its_rule_is(tmp_path: Path) -> None:
    (tmp_path / RESULTS).write_bytes(encode_record(SMALL_PAGE))
    file = on_disk("a.png")
    with Index.open(tmp_path) as index:
        index.add_file(file, 1)
        assert index.settled_states(file) == {State.SKIPPED: 1}
        for bound, is_settled in ((91, True), (90, False), (0, False)):
            index.skips.rule = SkipRule(skips_blank=True, smaller_px=bound)
            assert (index.settled_states(file) is not None) == is_settled
            assert index.has_result(file, 1, page_id(1)) == is_settled
            assert (index.find_record(page_id(1)) is not None) == is_settled
        assert index.skips.count(b"a.png") == {SMALLER: 1}


def test_a_text_after_a_skip_is_what_copies_take(tmp_path: Path) -> None:
    text = make_record("a.png", 1, added=5)
    (tmp_path / RESULTS).write_bytes(encode_record(BLANK_PAGE) + encode_record(text))
    with Index.open(tmp_path) as index:
        index.skips.rule = SkipRule(skips_blank=False, smaller_px=0)
        assert index.find_record(page_id(1)) == text
        assert index.skips.count(b"a.png") == {}
        assert index.skips.find_now(b"a.png", 1) is None
