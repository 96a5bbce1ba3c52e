"""CTC decoding: from a recogniser's probabilities to the text of a line.

A recogniser divides a line into time steps of equal width, and gives for each step the probabilities of all characters
and of the *blank*, which means "no new character". Connectionist temporal classification (Graves et al. 2006) defines
the text of a path, that is, of one symbol per step: merge repeated symbols, then drop blanks. Two equal letters in a
row therefore need a blank between them. Best-path decoding takes the likeliest symbol of each step:

    step      0   1   2   3   4   5   6
    symbol    l   l   -   l   o   o   -
    text      l           l   o            = "llo"

The path also gives a character's position along the line: the centre of the first step of its run. CTC does not train
this alignment, so positions are accurate to about one step.

Spaces need a rule of their own. White between words is weak evidence, and mostly the blank wins over the space; the
best path alone loses spaces. So a space is inserted in a gap between two characters when its probability reaches a
threshold in any step of the gap, except where white is part of the characters: between two wide characters, which are
set in squares of one em, and between two punctuation marks. Between two digits less is enough, as two numbers glued are
a wrong number.

The digit 0 needs another. In many typefaces 0 and O are one shape, and the recogniser halves the probability. Within a
number the digit is what was printed, unless O begins a word that follows numbers, so there it wins with less.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pipeline.engine.punctuation import WIDE_FORMS, is_wide

DIGIT_SPACE_THRESHOLD: Final = 0.06
"""Probability from which a space is inserted between two digits, or between a per cent sign and a digit. In nine
receipts the gaps between two numbers have 0.11 or more, and of 580 gaps inside numbers one has 0.04, the others at most
0.006."""

ZERO_THRESHOLD: Final = 0.1
"""Probability of 0 from which an O within a number is read as one. Of 16 receipts and forms, seven such letters were
digits and had 0.12 to 0.49. The letters o, l, I, Q and | stay: after figures they are degrees, litres, quarters, rules
(5l, 2024Q3, 20|30) more often than digits that were misread."""

WORDS_AFTER_NUMBERS: Final = frozenset(("of", "off", "ohm", "ohms", "old", "on", "or", "oz", "oct", "october", "okt"))
"""Words in O, in lower case, that follow a number without white: 11OCT2024, 2OF3, 16OZ."""

_NUMBER_AT_END: Final = re.compile(r"(?<![0-9A-Za-zÀ-ɏ])\d(?:[\d.,:/-]*\d)?$")
"""A number at the end of a text: digits that no letter precedes, as in H2O."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The text of a line as a recogniser read it.

    Attributes:
        text: May begin or end with white space.
        confidence: In [0, 1]: mean probability of the characters, each in the first step of its run.
        positions: Of each character that is not white space, as shares of the line's length.
        min_confidence: The smallest of the characters' probabilities, each at its maximum; 1.0 without characters.
    """

    text: str = ""
    confidence: float = 0.0
    positions: tuple[float, ...] = ()
    min_confidence: float = 1.0


def ctc_decode(
    probabilities: NDArray[Any],
    characters: Sequence[str],
    step_share: float,
    *,
    space_index: int,
    space_threshold: float,
) -> Reading:
    """Return the best path's text, with spaces inserted where they are likely enough.

    Args:
        probabilities: (steps, characters); index 0 is the blank.
        characters: The recogniser's characters; index 0 is the blank.
        step_share: Width of a step as a share of the line's length.
        space_index: Index of the space among the characters.
        space_threshold: Probability from which a space is inserted between two characters.

    Source:
        Graves et al. 2006, "Connectionist temporal classification", best path decoding.
    """
    best = probabilities.argmax(axis=1)
    chances = probabilities[np.arange(len(best)), best]
    edges = np.flatnonzero(np.diff(best, prepend=-1, append=-1))
    peaks = np.maximum.reduceat(chances, edges[:-1])
    is_shown = best[edges[:-1]] != 0
    if not is_shown.any():
        return Reading()
    begins, ends = edges[:-1][is_shown], edges[1:][is_shown]
    letters = [characters[i] for i in best[begins]]
    is_ink = [not letter.isspace() for letter in letters]
    text = letters[0]
    for i, (end, begin, until) in enumerate(zip(ends[:-1], begins[1:], ends[1:], strict=True)):
        before, letter = letters[i : i + 2]
        gap = probabilities[end:begin, space_index]
        threshold = min(space_threshold, DIGIT_SPACE_THRESHOLD) if _is_number(before, letter) else space_threshold
        if _may_have_space_between(before, letter) and gap.max(initial=0) >= threshold:
            text += " "
        if letter == "O" and _may_be_zero(text, letters[i + 1 :]):
            chance = probabilities[begin:until, characters.index("0")].max()
            letter = "0" if chance >= ZERO_THRESHOLD else letter
        text += letter
    return Reading(
        text,
        float(chances[begins].mean()),
        tuple((step_share * (begins[is_ink] + 0.5)).tolist()),
        float(peaks[is_shown].min()),
    )


def restrict(probabilities: NDArray[Any], is_allowed: NDArray[np.bool_]) -> NDArray[Any]:
    """Return the probabilities under the condition that only some characters occur.

    Args:
        probabilities: (steps, characters); index 0 is the blank.
        is_allowed: (characters,); the blank is allowed. A step that gives no allowed character any chance is blank.
    """
    allowed = np.where(is_allowed, probabilities, 0)
    totals = allowed.sum(axis=1, keepdims=True)
    restricted: NDArray[Any] = np.divide(allowed, totals, out=np.zeros_like(allowed), where=totals > 0)
    return restricted


def _may_be_zero(before: str, letters: Sequence[str]) -> bool:
    """Return whether the first of some letters, an O after a text, may be a digit of a number."""
    word = "".join(takewhile(str.isalpha, letters)).lower()
    return word not in WORDS_AFTER_NUMBERS and _NUMBER_AT_END.search(before) is not None


def _is_number(one: str, other: str) -> bool:
    """Return whether two characters are within a number, or the end of one and the beginning of another."""
    return other.isdigit() and (one.isdigit() or one == "%")


def _may_have_space_between(one: str, other: str) -> bool:
    """Return whether white between two characters can be a space rather than a part of their cells."""
    if one.isspace() or other.isspace():
        return False
    if is_wide(one) or is_wide(other):
        return not (_may_be_wide(one) and _may_be_wide(other))
    return one.isalnum() or other.isalnum()


def _may_be_wide(character: str) -> bool:
    return is_wide(character) or character in WIDE_FORMS
