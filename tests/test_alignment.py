"""Where the words of corrected texts are."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.alignment import _find_common, align
from pipeline.positions import TextLine


def line(text: str, top: float, confidence: float | None = 0.9) -> TextLine:
    """Return a line of 20 px height."""
    return TextLine(text, (10, top, 200, top, 200, top + 20, 10, top + 20), confidence)


PAGE = (line("Dear Sir,", 0), line("I rec eived your", 30), line("letter of May.", 60), line("Yours", 90))


def placed(text: str, lines: tuple[TextLine, ...] = PAGE) -> list[tuple[str, float]]:
    """Return the corrected lines as their texts and tops."""
    return [(each.text, each.box[1]) for each in align(lines, text)]


def test_a_line_that_changes_alone_keeps_its_place_and_loses_its_confidence() -> None:
    aligned = align(PAGE, "Dear Sir,\nI received your\nletter of May.\nYours\n")
    assert aligned == (PAGE[0], replace(PAGE[1], text="I received your", confidence=None), *PAGE[2:])


def test_a_line_whose_spaces_alone_change_keeps_its_confidence() -> None:
    assert align(PAGE, "Dear  Sir,\nI rec eived your\nletter of May.\n Yours ") == PAGE


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "Dear Sir,\nI received your letter of May.\nYours",
            [("Dear Sir,", 0), ("I received your", 30), ("letter of May.", 60), ("Yours", 90)],
            id="two-lines-joined",
        ),
        pytest.param(
            "Dear\nSir,\nI rec eived your\nletter of May.\nYours",
            [("Dear Sir,", 0), ("I rec eived your", 30), ("letter of May.", 60), ("Yours", 90)],
            id="a-line-split",
        ),
        pytest.param(
            "Dear Sir,\nletter of May.\nYours", [("Dear Sir,", 0), ("letter of May.", 60), ("Yours", 90)], id="removed"
        ),
        pytest.param(
            "Dear Sir,\nI rec eived your\nletter of May.\nthe 5th\nYours",
            [("Dear Sir,", 0), ("I rec eived your", 30), ("letter of May.", 60), ("the 5th", 60), ("Yours", 90)],
            id="added",
        ),
        pytest.param(
            "London\n" + "\n".join(each.text for each in PAGE),
            [("London", 0), *((each.text, each.box[1]) for each in PAGE)],
            id="added-first",
        ),
        pytest.param("", [], id="all-removed"),
        pytest.param(" \n\n", [], id="white-space"),
    ],
)
def test_words_take_the_places_of_those_that_they_stand_for(text: str, expected: list[tuple[str, float]]) -> None:
    assert placed(text) == expected


def test_cells_of_a_row_that_the_text_joins_keep_their_places() -> None:
    cells = (line("品名", 0), line("数量", 1), line("单价", 2), line("钢笔", 30), line("2支", 31), line("3.50", 32))
    assert placed("品名 数量 单价\n蓝铅笔 2支半 3.60", cells) == [
        ("品名", 0), ("数量", 1), ("单价", 2), ("蓝铅笔", 30), ("2支半", 31), ("3.60", 32),
    ]  # fmt: skip


def test_chinese_without_spaces_is_shared_out_by_character() -> None:
    lines = (line("中华人民", 0), line("共和国", 30))
    assert placed("中华人民共和國", lines) == [("中华人民", 0), ("共和國", 30)]


def test_a_page_that_had_no_lines_is_shared_out_from_top_to_bottom() -> None:
    aligned = align((), "one\n\ntwo", (100, 40))
    assert [(each.text, each.box[1], each.box[5]) for each in aligned] == [("one", 0, 20), ("two", 20, 40)]
    assert [each.text for each in align((), "one\ntwo")] == ["one", "two"]


@given(
    st.lists(st.text("ab中文 .", min_size=1).filter(str.strip), max_size=6),
    st.text("ab中文 .\n\u3000\x0b", max_size=60),
)
def test_every_word_is_somewhere_in_its_order(former: list[str], text: str) -> None:
    aligned = align([line(each, at) for at, each in enumerate(former)], text, (10, 10))
    assert "".join("".join(each.text.split()) for each in aligned) == "".join(text.split())
    assert all(each.text.strip() and "\n" not in each.text for each in aligned)


@pytest.mark.parametrize(
    ("former", "text"),
    [
        pytest.param(["ab" * 30] * 2000, "\n".join("ba" * 30 + str(at % 7) for at in range(2001)), id="lines"),
        pytest.param(["ab" * 150_000], "ba" * 150_000 + "c", id="one-long-line"),
        pytest.param(["ab" * 1300, "x"], "b".join(["aa"] * 900), id="repeated-characters"),
    ],
)
def test_a_hostile_text_is_compared_in_bounded_steps(former: list[str], text: str) -> None:
    """Comparing all with all would take hours; the words are spread evenly instead."""
    aligned = align([line(each, at) for at, each in enumerate(former)], text)
    assert sum(len("".join(each.text.split())) for each in aligned) == len("".join(text.split()))


@given(st.text("abc", max_size=40), st.text("abc", max_size=40))
def test_what_two_texts_have_in_common_is_a_longest_common_subsequence(one: str, other: str) -> None:
    runs = _find_common(one, other)
    assert all(one[i : i + length] == other[j : j + length] for i, j, length in runs)
    assert all(i + n <= k and j + n <= m for (i, j, n), (k, m, _) in itertools.pairwise(runs))
    lengths = [0] * (len(other) + 1)
    for character in one:
        before = lengths
        lengths = [0]
        for at, each in enumerate(other, 1):
            lengths.append(before[at - 1] + 1 if each == character else max(before[at], lengths[-1]))
    assert sum(length for _, _, length in runs) == lengths[-1]
