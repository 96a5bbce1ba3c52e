"""The order in which lines are read, and the text that they make."""

import itertools
from collections.abc import Iterable, Sequence

from pipeline.engine.punctuation import is_wide
from pipeline.engine.reading_order import regions
from pipeline.engine.recognition import Line
from pipeline.engine.rows import Box, rows, straighten

WORD_SPACE = 0.5
"""Chinese lines this close, in heights of the line, are one: the detector parted them at a comma."""

Placed = tuple[Line, Box]
"""A line, and where it stands on the straightened page."""


def reading_rows(lines: Iterable[Line]) -> list[list[Placed]]:
    """Return the lines in rows, in reading order: column by column, each from the top, each row from the left."""
    given = list(lines)
    boxes = straighten([line.corners for line in given])
    return [[(given[box.number], box) for box in row] for region in regions(boxes) for row in rows(region)]


def reading_text(placed: Iterable[Sequence[Placed]]) -> str:
    """Return the text of rows: a newline between them, a space between the lines of one."""
    return "\n".join(map(_join, placed))


def _join(row: Sequence[Placed]) -> str:
    text = row[0][0].text
    for (_, before), (line, box) in itertools.pairwise(row):
        is_parted = box.left - before.right >= WORD_SPACE * min(box.height, before.height)
        text += " " if is_parted or not (is_wide(text[-1:]) and is_wide(line.text[:1])) else ""
        text += line.text
    return text
