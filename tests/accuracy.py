"""The character error rate of a recognised text."""

from rapidfuzz.distance import Levenshtein


def character_error_rate(truth: str, text: str) -> float:
    """Return the edits that turn `text` into `truth`, per character of the truth; white space is ignored.

    An empty truth counts as one character: the rate of an empty text is 0.0, that of a text of three characters 3.0.

    Source:
        Levenshtein distance over code points, no Unicode normalisation.
    """
    wanted, got = "".join(truth.split()), "".join(text.split())
    return edit_distance(wanted, got) / max(1, len(wanted))


def spaced_text(text: str) -> str:
    """Return the text with each run of white space as one space, and none at the ends."""
    return " ".join(text.split())


def edit_distance(left: str, right: str) -> int:
    """Return the Levenshtein distance: the least number of characters to insert, delete or replace."""
    return Levenshtein.distance(left, right)
