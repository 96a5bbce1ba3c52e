"""Where the characters of a line stand says where it ends, and whether it is two: pure geometry.

The detector's boxes reach over their ink, by more than a height where the next column is near, and some run across
the white between two columns. The recogniser knows better: it saw each character at its place.
"""

import itertools
from collections.abc import Iterator, Sequence

from pipeline.engine.geometry import height, is_tall, length, slice_quad
from pipeline.engine.punctuation import is_wide
from pipeline.engine.recognition import Line

REACH_WIDE = 0.55
REACH_NARROW = 0.35
"""How far a character's ink reaches from where the recogniser saw it, in heights of the line; measured are at most
0.54 and 0.35."""

WHITE = 0.7
"""White inside a line, in heights, that makes two of it: more than a space, less than between columns."""


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
