"""Scores of a recognised text against the truth: in order, order-free, by lines, and by amounts."""

import re
from collections import Counter
from typing import Final

import numpy as np

from tests.accuracy import edit_distance

_AMOUNT: Final = re.compile(r"(?<![\d.,])\d{1,3}(?:,?\d{3})*\.\d{2}(?![\d.,])")


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
