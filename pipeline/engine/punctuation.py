"""Full-width punctuation where a full width was printed: pure decisions.

The recogniser writes nearly every bracket, and some other marks, in their ASCII form. Between Chinese characters the
room that a mark takes tells which form it has: one em, or a third of that.
"""

import itertools
import statistics
import unicodedata
from collections.abc import Iterator, Mapping, Sequence

from pipeline.engine.geometry import height, is_tall, length, slice_quad
from pipeline.engine.recognition import Line

WIDE_FORMS: Mapping[str, str] = dict(zip("(),;:!?", "（），；：！？", strict=True))

WIDE_FROM_EM = 0.65
"""A mark that takes so much room is full-width; measured are 0.3 to 0.5 and 0.9 to 1.2."""

WIDE_BRACKETS = "（）"

OPENING = "（《“〈「『【"
CLOSING = "，。；：、）》”〉」』】！？"

NARROW_EM = 0.55
"""Width of a figure, and about that of a letter."""
REACH_WIDE = 0.55
REACH_NARROW = 0.35
"""How far a character's ink reaches from where the recogniser saw it, in heights of the line; measured are at most
0.54 and 0.35."""
WHITE = 0.7
"""White inside a line, in heights, that makes two of it: more than a space, less than between columns."""


def set_widths(text: str, columns: Sequence[float]) -> str:
    """Return the text with marks in their full-width form where they take the room of one.

    Args:
        text: A line as it was recognised.
        columns: Where each character that is not white space stands along the line, in any unit.
    """
    shown = [(i, character) for i, character in enumerate(text) if not character.isspace()]
    em = _em([character for _, character in shown], columns)
    if len(shown) != len(columns) or em is None:
        return text
    places = {i: column / em for (i, _), column in zip(shown, columns, strict=True)}
    marks = [i for i, character in enumerate(text) if character in WIDE_FORMS]
    rooms_em = {i: _room_em(text, i, places) for i in marks if 0 < i < len(text) - 1 and _touches_wide(text, i)}
    rooms_em |= {i: 1.0 for i, character in enumerate(text) if character in WIDE_BRACKETS}
    for pair in _bracket_pairs(text):
        # A pair has one width; beside white space, a Latin letter or the line's end only one of it can be measured.
        known_em = [rooms_em[i] for i in pair if i in rooms_em]
        if known_em:
            rooms_em |= dict.fromkeys(pair, max(known_em))
    letters = list(text)
    for i in marks:
        if i in rooms_em or 0 < i < len(text) - 1:
            room_em = rooms_em.get(i, 0.0)
        else:
            # There is no neighbour to measure from: such a mark follows the others of its line.
            room_em = min(rooms_em.values(), default=1.0 if _touches_wide(text, i) else 0.0)
        if room_em >= WIDE_FROM_EM:
            letters[i] = WIDE_FORMS[text[i]]
    return "".join(letters)


def is_wide(character: str) -> bool:
    """Return whether a character fills a square, as Chinese ones and their punctuation do; "" does not."""
    return bool(character) and unicodedata.east_asian_width(character) in "WF"


def _em(characters: Sequence[str], columns: Sequence[float]) -> float | None:
    """Return the distance between neighbours that are Chinese characters, None where there are none."""
    steps = [
        columns[i + 1] - columns[i]
        for i in range(min(len(characters), len(columns)) - 1)
        if _is_ideograph(characters[i]) and _is_ideograph(characters[i + 1]) and columns[i + 1] > columns[i]
    ]
    if not steps:
        return None
    # The places are steps of the recogniser, so the mean tells more than the median; a gap in the line is no step.
    longest = 1.5 * statistics.median(steps)
    return statistics.fmean(step for step in steps if step <= longest)


def _bracket_pairs(text: str) -> Iterator[tuple[int, int]]:
    """Yield where brackets open and close, those that the recogniser wrote in either form."""
    opened: list[int] = []
    for i, character in enumerate(text):
        if character in "(（":
            opened.append(i)
        elif character in ")）" and opened:
            yield opened.pop(), i


def _touches_wide(text: str, i: int) -> bool:
    return is_wide(text[max(0, i - 1) : i]) or is_wide(text[i + 1 : i + 2])


def _room_em(text: str, i: int, places: Mapping[int, float]) -> float:
    """Return the room between a mark's neighbours; 0 beside white space."""
    if i - 1 not in places or i + 1 not in places:
        return 0.0
    return places[i + 1] - places[i - 1] - _after_ink(text[i - 1]) - _before_ink(text[i + 1])


def _before_ink(character: str) -> float:
    """Return where in its cell a character's ink stands, in em."""
    if character in OPENING:
        return 0.75
    if character in CLOSING:
        return 0.25
    return 0.5 if is_wide(character) else NARROW_EM / 2


def _after_ink(character: str) -> float:
    """Return what of its cell is left behind its ink, in em."""
    return (1.0 if is_wide(character) else NARROW_EM) - _before_ink(character)


def _is_ideograph(character: str) -> bool:
    return is_wide(character) and character.isalpha()


def cut_line(line: Line, shares: Sequence[float]) -> Iterator[Line]:
    """Yield the parts of a line that white keeps apart, each as long as its text.

    Args:
        line: As it was detected and read.
        shares: Where each character that is not white space stands, in parts of the line's length.
    """
    shown = [i for i, character in enumerate(line.text) if not character.isspace()]
    if len(shown) != len(shares) or not shown or is_tall(line.corners):
        yield line  # on its side, or without places
        return
    one_height = height(line.corners) / length(line.corners)
    reaches = [one_height * (REACH_WIDE if is_wide(line.text[i]) else REACH_NARROW) for i in shown]
    white = WHITE * one_height
    cuts = [i for i in range(1, len(shown)) if shares[i] - reaches[i] - shares[i - 1] - reaches[i - 1] >= white]
    for first, after in itertools.pairwise([0, *cuts, len(shown)]):
        last = after - 1
        text = line.text[shown[first] : shown[last] + 1]
        start, end = max(0.0, min(shares[first], 1.0) - reaches[first]), min(1.0, shares[last] + reaches[last])
        yield Line(text, line.confidence, slice_quad(line.corners, start, end))
