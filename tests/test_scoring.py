"""Scores of a recognised text against the truth."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.accuracy import edit_distance
from tests.benchmarks.real_pages import find_pages
from tests.evaluation.scoring import (
    errors_by_lines,
    errors_in_order,
    errors_order_free,
    missed_amounts,
    score_page,
    without_marks,
)

texts = st.text("ab中 \n", max_size=12)


@given(texts, texts)
def test_order_free_errors_are_at_most_those_in_order(truth: str, text: str) -> None:
    assert 0 <= errors_order_free(truth, text) <= errors_in_order(truth, text)


@given(st.text("ab中", max_size=8), st.text("ab中", max_size=8))
def test_a_line_is_compared_with_the_part_that_is_most_like_it(line: str, text: str) -> None:
    parts = [text[start:end] for start in range(len(text) + 1) for end in range(start, len(text) + 1)]
    assert errors_by_lines(line, text) == min(edit_distance(line, part) for part in parts)


def test_lines_are_found_in_any_order_and_text_beyond_them_does_not_count() -> None:
    assert errors_by_lines("one\ntwo", "logo two more 0ne") == 1
    assert errors_in_order("one\ntwo", "two one") > 1


@pytest.mark.parametrize(
    ("text", "complete", "errors"),
    [("cab", True, 0), ("cabd", True, 1), ("cabd", False, 0), ("xb", True, 2), ("", False, 3)],
)
def test_order_free_errors(text: str, complete: bool, errors: int) -> None:  # noqa: FBT001 - a parameter of the test
    assert errors_order_free("abc", text, complete=complete) == errors


@pytest.mark.parametrize(
    ("text", "missed"),
    [
        ("TOTAL 1,234.50 9.99 9.99", 0),
        ("TOTAL 1,234.509.999.99", 3),
        ("TOTAL 1.234.50 9.99 9.99", 1),
        ("TOTAL 1,234.50 9.99", 1),
    ],
)
def test_amounts_count_as_whole_tokens(text: str, missed: int) -> None:
    assert missed_amounts("9.99\n9.99\nTOTAL 1,234.50", text) == (missed, 3)


def test_a_score_counts_errors_with_and_without_white_space() -> None:
    score = score_page("档案 No. 7\n文字", "档案No. 7\n文学")
    assert (score.errors, score.characters) == (2, 11)
    assert (score.wrong_letters, score.letters) == (1, 8)


def test_scores_add_up() -> None:
    one, other = score_page("total 9.99", "9.99 total"), score_page("ab", "b")
    both = one + other
    assert (both.letters, both.unordered_errors, both.amounts, both.missed_amounts) == (11, 1, 1, 0)
    assert both.percent("unordered_errors") == pytest.approx(100 / 11)


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("Deposit ............. 9.99", "Deposit 9.99"),
        ("a\n- - - - - -\n*** b ***", "a\n \n*** b ***"),
        ("☒ yes □ no", " yes no"),
        ("账号…… … 12", "账号 12"),
        ("a—b... 1--2", "a—b... 1--2"),
    ],
)
def test_leaders_and_boxes_to_tick_are_no_text(text: str, rest: str) -> None:
    assert without_marks(text).split() == rest.split()


def test_pages_are_found_with_their_texts_and_what_the_manifest_says(tmp_path: Path) -> None:
    (tmp_path / "forms").mkdir()
    for name in ("forms/b.png", "forms/a.jpg"):
        (tmp_path / name).touch()
        (tmp_path / name).with_suffix(".txt").write_text("\ufeffTotal", "utf-8")
    (tmp_path / "manifest.json").write_text(
        json.dumps([{"file": "forms/b.png", "group": "slips", "complete": False, "casefold": True}])
    )
    first, second = find_pages(tmp_path)
    assert (first.path.name, first.group, first.truth, first.complete) == ("a.jpg", "forms", "Total", True)
    assert (second.group, second.complete, second.errors("TOTAL and more")) == ("slips", False, 0)
    (tmp_path / "forms/a.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"a\.txt"):
        list(find_pages(tmp_path))
