"""Full-width punctuation."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine.punctuation import has_wide, is_wide, set_widths

ADVANCES_EM = {"(": 0.35, ")": 0.35, ",": 0.28, ";": 0.28, " ": 0.25}
INK_EM = {"（": 0.75, "《": 0.75, "，": 0.25, "；": 0.25, "）": 0.25, "》": 0.25, "。": 0.25}


def positions(printed: str, em: float = 5.0) -> list[float]:
    """Return the positions at which a recogniser sees the characters of a printed line, in whole steps of its grid."""
    places, x = [], 0.0
    for character in printed:
        advance = 1.0 if is_wide(character) else ADVANCES_EM.get(character, 0.55)
        if character != " ":
            places.append(float(round((x + INK_EM.get(character, advance / 2)) * em)))
        x += advance
    return places


@pytest.mark.parametrize(
    ("read", "printed"),
    [
        pytest.param("《黄茶医院》(29卷)由移交", "《黄茶医院》（29卷）由移交", id="brackets"),
        pytest.param("据说;尚未,编目", "据说；尚未，编目", id="marks"),
        pytest.param("(29卷)由移交", "（29卷）由移交", id="first-bracket-follows-the-second"),
        pytest.param("一书(新版)", "一书（新版）", id="last-bracket-follows-the-first"),
        pytest.param("(新版", "（新版", id="alone-at-the-end"),
        pytest.param("与Renthorwell(1829年)修建", "与Renthorwell（1829年）修建", id="pair-has-one-width"),
        pytest.param("(787卷）由滁佛编写", "（787卷）由滁佛编写", id="mate-of-a-full-width"),
    ],
)
def test_a_mark_that_takes_an_em_becomes_full_width(read: str, printed: str) -> None:
    assert set_widths(read, positions(printed)) == printed


@pytest.mark.parametrize(
    "printed",
    [
        pytest.param("据说(无栽)桥梁", id="brackets"),
        pytest.param("据说(无栽", id="one-bracket"),
        pytest.param("一书;尚未,编目", id="marks"),
        pytest.param("见 Smith (1890) 一书", id="english-brackets"),
        pytest.param("in (29) May, 1890; (see below)", id="english"),
        pytest.param("(1)", id="no-chinese"),
    ],
)
def test_a_mark_that_takes_less_than_an_em_stays_ascii(printed: str) -> None:
    assert set_widths(printed, positions(printed)) == printed


def test_without_positions_nothing_changes() -> None:
    assert set_widths("据说(无栽)桥梁", []) == "据说(无栽)桥梁"


@given(st.text(alphabet="档案文字ab 1(),;（），", max_size=20), st.lists(st.floats(0, 500), max_size=20))
def test_only_the_form_of_marks_changes(text: str, places: list[float]) -> None:
    narrow = str.maketrans("（），；", "(),;")
    assert set_widths(text, places).translate(narrow) == text.translate(narrow)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Page 3, “see above”", False),
        ("1961", False),
        ("", False),
        ("第三章，1961年", True),
        ("（", True),
        ("größer als 三", True),
    ],
)
def test_only_chinese_characters_and_their_punctuation_are_wide(text: str, *, expected: bool) -> None:
    assert has_wide(text) is expected
