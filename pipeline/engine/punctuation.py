"""Widths of characters, and the full-width form of punctuation marks that were printed in full width.

A *wide* character (Unicode Standard Annex #11, East Asian Width W or F) is set in a square cell of one em, as Chinese
characters and their punctuation are. Seven ASCII marks have a full-width twin, as ( has （. The recogniser writes
nearly every bracket, and some of the other marks, in the ASCII form, whatever was printed.

Between Chinese characters the room that a mark takes decides: a full-width mark takes one em, an ASCII mark about a
third of it. The em is measured on the line itself, as the mean distance between neighbouring Chinese characters. The
room of a mark is the distance between its neighbours' positions, less what their own cells take of it. Positions are
those of the ink, and ink is not in the middle of every cell: 《 has it in the right half, ， in the left.

Marks that cannot be measured follow others: of a pair of brackets both have the wider form; a mark at the end of a line
has the form of the narrowest mark measured in the line.
"""

import statistics
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

WIDE_FORMS: Final[Mapping[str, str]] = dict(zip("(),;:!?", "（），；：！？", strict=True))

WIDE_BRACKETS: Final = "（）"

OPENING: Final = "（《“〈「『【"
CLOSING: Final = "，。；：、）》”〉」』】！？"

MIN_WIDE_EM: Final = 0.65
"""Room from which a mark is full-width; ASCII marks were measured at 0.3 to 0.5 em, full-width marks at 0.9 to 1.2."""

NARROW_EM: Final = 0.55
"""Width of a digit, and about that of a Latin letter."""

MAX_STEP_RATIO: Final = 1.5
"""Distances between neighbours above this multiple of the median are gaps in the line, not an em."""


def is_wide(character: str) -> bool:
    """Return whether a character fills a square of one em; "" does not."""
    return bool(character) and unicodedata.east_asian_width(character) in "WF"


def has_wide(text: str) -> bool:
    """Return whether a text has wide characters: Chinese characters or their punctuation."""
    return any(map(is_wide, text))


def set_widths(text: str, positions: Sequence[float]) -> str:
    """Return the text with its marks in full-width form where they take the room of one.

    Args:
        text: A line as it was recognised.
        positions: Of each character that is not white space, along the line, in any unit. Without a position for each
            of them, or without neighbouring Chinese characters, the text is returned unchanged.
    """
    shown = [(i, character) for i, character in enumerate(text) if not character.isspace()]
    em = _measure_em([character for _, character in shown], positions)
    if len(shown) != len(positions) or em is None:
        return text
    positions_em = {i: position / em for (i, _), position in zip(shown, positions, strict=True)}
    marks = [i for i, character in enumerate(text) if character in WIDE_FORMS]
    rooms_em = _measure_rooms_em(text, marks, positions_em)
    letters = list(text)
    for i in marks:
        if i in rooms_em or 0 < i < len(text) - 1:
            room_em = rooms_em.get(i, 0.0)
        else:
            # A mark at the end of the line has one neighbour only: it follows the other marks of the line.
            room_em = min(rooms_em.values(), default=1.0 if _touches_wide(text, i) else 0.0)
        if room_em >= MIN_WIDE_EM:
            letters[i] = WIDE_FORMS[text[i]]
    return "".join(letters)


def _measure_em(characters: Sequence[str], positions: Sequence[float]) -> float | None:
    """Return the distance between neighbouring Chinese characters, None where there are none."""
    steps = [
        positions[i + 1] - positions[i]
        for i in range(min(len(characters), len(positions)) - 1)
        if _is_ideograph(characters[i]) and _is_ideograph(characters[i + 1]) and positions[i + 1] > positions[i]
    ]
    if not steps:
        return None
    # Positions are multiples of the recogniser's steps, so the mean is more exact than the median.
    longest = MAX_STEP_RATIO * statistics.median(steps)
    return statistics.fmean(step for step in steps if step <= longest)


def _measure_rooms_em(text: str, marks: Sequence[int], positions_em: Mapping[int, float]) -> dict[int, float]:
    """Return the room of each mark that can be measured, by index in the text."""
    rooms_em = {i: _room_em(text, i, positions_em) for i in marks if 0 < i < len(text) - 1 and _touches_wide(text, i)}
    rooms_em |= {i: 1.0 for i, character in enumerate(text) if character in WIDE_BRACKETS}
    for pair in _bracket_pairs(text):
        # Both brackets of a pair have one width; beside white space, a Latin letter or the line's end only one of them
        # can be measured.
        known_em = [rooms_em[i] for i in pair if i in rooms_em]
        if known_em:
            rooms_em |= dict.fromkeys(pair, max(known_em))
    return rooms_em


def _bracket_pairs(text: str) -> Iterator[tuple[int, int]]:
    """Yield the indices of each opening bracket and its closing one, in either form."""
    opened: list[int] = []
    for i, character in enumerate(text):
        if character in "(（":
            opened.append(i)
        elif character in ")）" and opened:
            yield opened.pop(), i


def _touches_wide(text: str, i: int) -> bool:
    return is_wide(text[max(0, i - 1) : i]) or is_wide(text[i + 1 : i + 2])


def _room_em(text: str, i: int, positions_em: Mapping[int, float]) -> float:
    """Return the room between a mark's neighbours; 0 beside white space."""
    if i - 1 not in positions_em or i + 1 not in positions_em:
        return 0.0
    return positions_em[i + 1] - positions_em[i - 1] - _after_ink_em(text[i - 1]) - _before_ink_em(text[i + 1])


def _before_ink_em(character: str) -> float:
    """Return the distance from the beginning of a character's cell to the middle of its ink."""
    if character in OPENING:
        return 0.75
    if character in CLOSING:
        return 0.25
    return 0.5 if is_wide(character) else NARROW_EM / 2


def _after_ink_em(character: str) -> float:
    """Return the distance from the middle of a character's ink to the end of its cell."""
    return (1.0 if is_wide(character) else NARROW_EM) - _before_ink_em(character)


def _is_ideograph(character: str) -> bool:
    return is_wide(character) and character.isalpha()
