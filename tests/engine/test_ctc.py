"""CTC decoding: best path, inserted spaces, positions and confidence."""

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine.ctc import ZERO_THRESHOLD, Reading, ctc_decode, restrict

CHARACTERS = ["blank", *"lo字 ).7%01OcCtTFzQ|I"]
SPACE = CHARACTERS.index(" ")


def output(*steps: Mapping[int, float]) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    """Return a recogniser's output whose steps have these probabilities."""
    probabilities = np.zeros((len(steps), len(CHARACTERS)), np.float32)
    for i, chances in enumerate(steps):
        for character, chance in chances.items():
            probabilities[i, character] = chance
    return probabilities


def read(*steps: Mapping[int, float], space_threshold: float = 0.25) -> Reading:
    """Return what an output says, a step being a tenth of the line."""
    return ctc_decode(output(*steps), CHARACTERS, 0.1, space_index=SPACE, space_threshold=space_threshold)


def test_repeats_are_one_character_unless_a_blank_separates_them() -> None:
    """A space has no position, and counts for the confidence as every character does."""
    best = (0, 1), (1, 0.5), (1, 0.75), (0, 1), (1, 1), (4, 1), (2, 1), (2, 0.25), (3, 0.5), (0, 0.25)
    reading = read(*({character: chance} for character, chance in best))
    assert reading.text == "ll o字"
    assert reading.positions == pytest.approx((0.15, 0.45, 0.65, 0.85))
    assert reading.confidence == pytest.approx((0.5 + 1 + 1 + 1 + 0.5) / 5)
    assert reading.min_confidence == 0.5


@pytest.mark.parametrize("letters", ["lo", "字l", "l字", "l)", ".字"])
def test_a_space_above_the_threshold_is_inserted(letters: str) -> None:
    """An inserted space does not count for the confidence."""
    before, after = map(CHARACTERS.index, letters)
    reading = read({before: 1.0}, {0: 1.0}, {0: 0.75, SPACE: 0.25}, {0: 1.0}, {after: 1.0})
    assert reading.text == f"{letters[0]} {letters[1]}"
    assert (reading.confidence, reading.min_confidence, len(reading.positions)) == (1.0, 1.0, 2)
    below = read({before: 1.0}, {0: 0.75, SPACE: 0.25}, {after: 1.0}, space_threshold=0.26)
    assert below.text == letters


@pytest.mark.parametrize("letters", ["77", "%7"])
def test_a_faint_space_separates_two_numbers(letters: str) -> None:
    """Two numbers glued are a wrong number."""
    before, after = map(CHARACTERS.index, letters)
    assert read({before: 1.0}, {0: 0.9, SPACE: 0.1}, {after: 1.0}).text == f"{letters[0]} {letters[1]}"
    assert read({before: 1.0}, {0: 0.96, SPACE: 0.04}, {after: 1.0}).text == letters


@pytest.mark.parametrize("letters", ["字字", "字)", ")字", ".)"])
def test_no_space_is_inserted_between_wide_characters_or_between_marks(letters: str) -> None:
    before, after = map(CHARACTERS.index, letters)
    assert read({before: 1.0}, {0: 0.5, SPACE: 0.5}, {after: 1.0}).text == letters


def test_white_beside_a_space_inserts_no_second_one() -> None:
    white = {0: 0.5, SPACE: 0.5}
    for letters in ("lo", "字l", "l字"):
        before, after = map(CHARACTERS.index, letters)
        reading = read({before: 1.0}, white, {SPACE: 1.0}, white, {after: 1.0})
        assert reading.text == f"{letters[0]} {letters[1]}"


def test_no_space_is_inserted_between_adjacent_steps() -> None:
    assert read({1: 0.7, SPACE: 0.3}, {2: 0.7, SPACE: 0.3}).text == "lo"


def test_blanks_alone_have_no_text() -> None:
    assert read({0: 1.0}, {0: 0.7, SPACE: 0.3}) == Reading()


LOOK_ALIKES = {"O": "0", "o": "0", "Q": "0", "l": "1", "I": "1", "|": "1"}


def spell(text: str, digit_chance: float, *, gap: float = 0.0) -> str:
    """Return how a text is read whose letters that look like digits have this probability of being one."""
    steps: list[dict[int, float]] = []
    for letter in text:
        chances = {CHARACTERS.index(LOOK_ALIKES.get(letter, letter)): digit_chance if letter in LOOK_ALIKES else 0.0}
        chances[CHARACTERS.index(letter)] = 1.0 - (digit_chance if letter in LOOK_ALIKES else 0.0)
        steps += [chances, {0: 1.0 - gap, SPACE: gap}]
    return read(*steps).text


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("7O", "70"),
        ("7O%", "70%"),
        ("7.7O7", "7.707"),
        ("字7O", "字70"),
        (")7O", ")70"),
        ("7OO", "700"),
        ("1OCl", "10Cl"),
    ],
)
def test_within_a_number_an_o_is_a_digit_with_less(text: str, number: str) -> None:
    assert spell(text, ZERO_THRESHOLD + 0.01) == number
    assert spell(text, ZERO_THRESHOLD - 0.01) == text


@pytest.mark.parametrize("text", ["l7O", "lol", "OO", "O7"])
def test_a_letter_in_a_word_stays_a_letter(text: str) -> None:
    """A number that a letter precedes is part of a name: H2O, SM0OTH."""
    assert spell(text, 0.4) == text


@pytest.mark.parametrize("text", ["11Oct7", "7OCT", "1OF7", "1Oz"])
def test_an_o_that_begins_a_word_after_a_number_stays_a_letter(text: str) -> None:
    assert spell(text, 0.4) == text


@pytest.mark.parametrize("text", ["7l", "7I", "7|7", "7Q1", "7.7l", "7oC"])
def test_other_letters_that_look_like_digits_stay_letters(text: str) -> None:
    """Litres, a rule between two numbers, the first quarter of a year, a degree sign."""
    assert spell(text, 0.4) == text


def test_a_letter_after_a_space_stays_a_letter() -> None:
    assert spell("7O", 0.4, gap=0.25) == "7 O"


@given(st.text(sorted(set(CHARACTERS[1:]) - set("701 ")), min_size=1, max_size=12), st.floats(0.0, 0.49))
def test_a_text_without_digits_stays_without_digits(text: str, digit_chance: float) -> None:
    assert spell(text, digit_chance) == text


def test_without_some_characters_the_others_share_their_probability() -> None:
    is_narrow = np.array([character != "字" for character in CHARACTERS])
    restricted = restrict(output({3: 0.6, 2: 0.3, 0: 0.1}, {3: 1.0}, {1: 1.0}), is_narrow)
    assert restricted[:, [0, 1, 2, 3]] == pytest.approx(np.array([[0.25, 0, 0.75, 0], [0, 0, 0, 0], [0, 1, 0, 0]]))
    assert ctc_decode(restricted, CHARACTERS, 0.1, space_index=SPACE, space_threshold=0.25).text == "ol"
