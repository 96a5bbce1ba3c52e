"""Scores of a recognised text against the truth: in order, order-free, by lines, and by amounts."""

import re
from collections import Counter
from dataclasses import astuple, dataclass
from typing import Final

import numpy as np

from tests.accuracy import edit_distance, spaced_text

_LEADER: Final = re.compile(r"([-–—―=_*.·•~][^\S\n]*){4,}|…+")
_BOXES: Final = re.compile("[□☐☑☒]")
_AMOUNT: Final = re.compile(r"(?<![\d.,])\d{1,3}(?:,?\d{3})*\.\d{2}(?![\d.,])")


@dataclass(frozen=True, slots=True)
class Score:
    """Characters and errors of a page, or of several pages: scores are added.

    Attributes:
        characters: Of the truth, each run of white space counting as one.
        errors: Edits that turn the text into the truth, runs of white space counting as one character.
        letters: Characters of the truth without white space.
        wrong_letters: Edits between the texts without white space.
        unordered_errors: Letters that differ when order does not count.
        amounts: Amounts of money in the truth.
        missed_amounts: Those of them that are not in the text as whole tokens.
    """

    characters: int = 0
    errors: int = 0
    letters: int = 0
    wrong_letters: int = 0
    unordered_errors: int = 0
    amounts: int = 0
    missed_amounts: int = 0

    def __add__(self, other: "Score") -> "Score":
        return Score(*(one + another for one, another in zip(astuple(self), astuple(other), strict=True)))

    def percent(self, errors: str) -> float:
        """Return the rate of the errors of this name in %."""
        return 100 * int(getattr(self, errors)) / max(1, self.characters if errors == "errors" else self.letters)


def score_page(truth: str, text: str) -> Score:
    """Return the score of a page's text; leaders and boxes to tick, in either text, do not count."""
    wanted, got = without_marks(truth), without_marks(text)
    missed, amounts = missed_amounts(wanted, got)
    return Score(
        characters=len(spaced_text(wanted)),
        errors=edit_distance(spaced_text(wanted), spaced_text(got)),
        letters=len(letters(wanted)),
        wrong_letters=errors_in_order(wanted, got),
        unordered_errors=errors_order_free(wanted, got),
        amounts=amounts,
        missed_amounts=missed,
    )


def without_marks(text: str) -> str:
    """Return the text without boxes to tick and without leaders: four dots, dashes, stars or the like in a row.

    An engine may read a line of dashes as any number of dashes or leave it out: neither is wrong.
    """
    return _BOXES.sub("", _LEADER.sub(" ", text))


def letters(text: str) -> str:
    """Return the text without white space."""
    return "".join(text.split())


def errors_in_order(truth: str, text: str) -> int:
    """Return the edits that turn the text into the truth, white space ignored."""
    return edit_distance(letters(truth), letters(text))


def errors_order_free(truth: str, text: str, *, complete: bool = True) -> int:
    """Return the characters that differ when order does not count: a wrong one counts once.

    Args:
        truth: The text as it is.
        text: The text as it was recognised.
        complete: The truth holds all of the page's text, so that a character beyond it is an error.
    """
    wanted, got = Counter(letters(truth)), Counter(letters(text))
    missing, extra = (wanted - got).total(), (got - wanted).total()
    return max(missing, extra) if complete else missing


def errors_by_lines(truth: str, text: str) -> int:
    """Return the edits between each line of the truth and the part of the text that is most like it.

    Text beyond the truth does not count, so the score suits a truth that leaves something out, or has no order.
    """
    got = letters(text)
    return sum(_errors_in_part(letters(line), got) for line in truth.splitlines())


def missed_amounts(truth: str, text: str) -> tuple[int, int]:
    """Return how many amounts, such as 1,234.50, are not in the text as whole tokens, and how many there are."""
    wanted, got = Counter(_AMOUNT.findall(truth)), Counter(_AMOUNT.findall(text))
    return (wanted - got).total(), wanted.total()


def _errors_in_part(line: str, text: str) -> int:
    """Return the least edit distance of a line to any part of the text (Sellers 1980)."""
    codes = np.array([ord(character) for character in text], np.int64)
    places = np.arange(len(text) + 1)
    distances = np.zeros(len(text) + 1, np.int64)  # a part may begin anywhere
    for number, character in enumerate(line, start=1):
        kept = np.minimum(distances[1:] + 1, distances[:-1] + (codes != ord(character)))
        reached = np.concatenate(([number], kept))
        distances = np.minimum.accumulate(reached - places) + places
    return int(distances.min())
