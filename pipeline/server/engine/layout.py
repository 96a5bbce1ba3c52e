"""The order in which lines are read, and the text that they make."""

import itertools
from collections.abc import Iterable, Sequence

from pipeline.server.engine.columns import regions
from pipeline.server.engine.punctuation import is_wide
from pipeline.server.engine.rows import Box, rows, straighten
from pipeline.server.recognition import Line

WORD_SPACE = 0.5
"""Chinese lines this close, in heights of the line, are one: the detector parted them at a comma."""

Placed = tuple[Line, Box]


def reading_text(lines: Iterable[Line]) -> str:
    """Return the lines' text: a newline between rows, a space between the lines of one row."""
    return "\n".join(_join(row) for row in _placed_rows(list(lines)))


def reading_rows(lines: Iterable[Line]) -> list[list[Line]]:
    """Return the lines in rows, in reading order: column by column, each from the top, each row from the left."""
    return [[line for line, _ in row] for row in _placed_rows(list(lines))]


def _placed_rows(lines: Sequence[Line]) -> list[list[Placed]]:
    boxes = straighten([line.corners for line in lines])
    return [[(lines[box.number], box) for box in row] for region in regions(boxes) for row in rows(region)]


def _join(row: Sequence[Placed]) -> str:
    text = row[0][0].text
    for (_, before), (line, box) in itertools.pairwise(row):
        is_parted = box.left - before.right >= WORD_SPACE * min(box.height, before.height)
        text += " " if is_parted or not (is_wide(text[-1:]) and is_wide(line.text[:1])) else ""
        text += line.text
    return text
