"""How far a recognised text is from the truth."""

from rapidfuzz.distance import Levenshtein


def character_error_rate(truth: str, text: str) -> float:
    """Return the edits that turn `text` into `truth`, per character of the truth; white space counts nowhere.

    Without any truth each character read is one error to one: 0.0 for an empty text, 3.0 for three characters.

    Source:
        Levenshtein distance over code points, no Unicode normalisation.
    """
    wanted, got = "".join(truth.split()), "".join(text.split())
    return edit_distance(wanted, got) / max(1, len(wanted))


def spaced_text(text: str) -> str:
    """Return the text with each run of white space as one space, none at the ends."""
    return " ".join(text.split())


def edit_distance(left: str, right: str) -> int:
    """Return the least number of characters to insert, delete or replace."""
    return Levenshtein.distance(left, right)
