"""Text that runs up or down a page of rows: a number stamped in the margin, a caption beside a picture.

Its box is as high as several rows, so it would hide the bands between them and be level with each of them. It is
therefore left out of the cuts, and read between two rows: below its middle, but not inside a paragraph.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from pipeline.engine.geometry import TALL_ASPECT
from pipeline.engine.punctuation import has_wide
from pipeline.engine.rows import Box, group_into_rows

MIN_CHARACTERS: Final = 3
"""A box of fewer characters may be as tall in a row: 1, I, 《 or a drop capital."""

MAX_LEADING: Final = 0.6
"""White between two lines of a paragraph, in heights of a line."""


def is_sideways(box: Box, text: str) -> bool:
    """Return whether a line on a page of rows is a column of vertical writing, or was turned on its side."""
    return box.height >= TALL_ASPECT * box.width and sum(not letter.isspace() for letter in text) >= MIN_CHARACTERS


def insert_sideways(rows: Iterable[Sequence[Box]], sideways: Iterable[tuple[Box, str]]) -> list[list[Box]]:
    """Return the rows with sideways lines among them, those beside each other as one row.

    Args:
        rows: In reading order.
        sideways: Boxes and their texts. Columns of vertical writing are read from the right.
    """
    texts = dict(sideways)
    read = [list(row) for row in rows]
    for beside in reversed(group_into_rows(texts)):
        if has_wide("".join(texts[box] for box in beside)):
            beside.reverse()
        middle = sum(box.middle for box in beside) / len(beside)
        places = (i for i, row in enumerate(read) if row[0].top >= middle and not _continues(read[i - 1 : i], row))
        read.insert(next(places, len(read)), beside)
    return read


def _continues(before: Sequence[Sequence[Box]], row: Sequence[Box]) -> bool:
    """Return whether a row goes on with the paragraph of the row before it, if there is one."""
    if not before:
        return False
    last, first = before[0][-1], row[0]
    return last.is_prose and first.is_prose and 0 <= first.middle - last.middle <= (1 + MAX_LEADING) * first.height
