"""Reading order: from the boxes of lines to the text of a page, by a recursive XY-cut.

The XY-cut projects the boxes of a region onto both axes and cuts it at a gap of a projection profile: a gap in the
vertical extent separates what is above from what is below, a gap in the horizontal extent is a gutter and separates
columns. The parts are cut in turn; the leaves, from left to right in the tree of cuts, are in reading order (Nagy and
Seth 1984, "Hierarchical representation of optically scanned documents"; on boxes of lines instead of pixels: Ha,
Haralick and Phillips 1995, "Recursive X-Y cut using bounding boxes of connected components").

A cut along a whole projection fails on newspapers and journals, where a heading across the columns hides the gutter.
Here a gutter is a white strip that such a heading ends (`gutters.py`), and a cut at a gutter has up to six parts:

    ┌─────────────────────┐
    │ above               │   1  boxes above the gutter
    ├─────────────────────┤
    │ insets at the head  │   2  an introduction between the heads of the columns
    ├──────────┬──────────┤
    │ left     │ right    │   3  4
    ├──────────┴──────────┤
    │ other insets        │   5  captions and quotations between the columns
    ├─────────────────────┤
    │ footnotes, below    │   6  small type at the foot of the left column, and boxes below the gutter
    └─────────────────────┘

A region is cut at its bands first: white across all of it, from a picture or the end of a section. Without bands it is
cut at the tallest gutter that separates columns of text or lists, not cells (`columns.py`). Without such a gutter it is
a leaf, and is read row by row (`rows.py`): a table, a form, a receipt. Its cells may be of several lines (`cells.py`).
A left column that begins later than the text beside it is a caption or a note, and read after it.

The page is straightened first (`skew.py`), text that runs up or down it is set aside (`sideways.py`), and a page of
vertical writing is turned so that its columns become rows. All rules therefore assume horizontal text, read from left
to right.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from pipeline.engine.cells import find_stacks
from pipeline.engine.columns import begins_later, separates_columns
from pipeline.engine.gutters import MIN_BAND_HEIGHT, Gutter, find_gutters, split_at_bands
from pipeline.engine.prose import is_item, is_prose
from pipeline.engine.punctuation import is_wide
from pipeline.engine.recognition import Line
from pipeline.engine.rows import Box, deskew, group_into_rows, hull, type_height_px
from pipeline.engine.sideways import insert_sideways, is_sideways

FOOTNOTE_SCALE: Final = 0.92
FOOTNOTE_GAP: Final = 0.9
"""Footnotes are set in type of at most this share of the region's type height, below white of at least this many type
heights."""

MIN_CELL_GAP: Final = 1.0
"""White between two cells of a row, in line heights; between words there is less."""

MIN_SPACE: Final = 0.2
MIN_SPACE_AT_MARK: Final = 0.5
"""White between two wide characters that is shown as a space, in line heights. The detector splits lines at punctuation
marks, whose cells are half white."""

MAX_COMPARED: Final = 4_000_000
"""Pairs of boxes that are compared at most; a newspaper of a thousand lines needs half of them. Beyond, regions are
read row by row: thousands of boxes without white between them are noise, and would take minutes."""

PlacedLine = tuple[Line, Box]
"""A line and its box on the deskewed page."""


def reading_rows(lines: Iterable[Line]) -> list[list[PlacedLine]]:
    """Return the lines in rows, in reading order: column by column, each from the top, each row from the left."""
    given = list(lines)
    boxes = [
        replace(box, is_prose=is_prose(given[box.index].text), is_item=is_item(given[box.index].text))
        for box in deskew([line.corners for line in given])
    ]
    sideways = [box for box in boxes if is_sideways(box, given[box.index].text)]
    upright = [box for box in boxes if box not in sideways]
    rows = (row for region in cut_into_regions(upright) for row in _rows_of_cells(region))
    placed = insert_sideways(rows, ((box, given[box.index].text) for box in sideways))
    return [[(given[box.index], box) for box in row] for row in placed]


def reading_text(rows: Iterable[Sequence[PlacedLine]]) -> str:
    """Return the text of rows: a newline between rows, a tab between cells, a space between other lines."""
    return "\n".join(map(_join, rows))


def cut_into_regions(boxes: Sequence[Box]) -> list[list[Box]]:
    """Return the leaves of the XY-cut in reading order; each is to be read row by row."""
    stack, leaves, compared = [list(boxes)], [], 0
    while stack:
        region = stack.pop()
        parts: Sequence[list[Box]] = split_at_bands(region, MIN_BAND_HEIGHT * type_height_px(region))
        if len(parts) == 1 and compared <= MAX_COMPARED:
            compared += len(region) ** 2
            parts = [part for part in _cut_at_gutter(region) if part]
        if len(parts) > 1:
            stack += reversed(parts)
        elif region:
            leaves.append(region)
    return leaves


def _rows_of_cells(region: Sequence[Box]) -> Iterator[list[Box]]:
    """Yield the rows of a region, whose cells may be of several lines."""
    cells = {hull(stack): stack for stack in find_stacks(region)}
    for row in group_into_rows(cells):
        yield [box for cell in row for box in cells[cell]]


def _cut_at_gutter(boxes: list[Box]) -> Sequence[list[Box]]:
    """Return the parts of a region in reading order, some of them empty; one part when the region is a leaf."""
    type_px = type_height_px(boxes)
    # Neighbouring axes have the same gutters.
    tallest_first = sorted(dict.fromkeys(find_gutters(boxes, type_px)), key=_rank, reverse=True)
    gutter = next((gutter for gutter in tallest_first if separates_columns(gutter, type_px)), None)
    if gutter is None:
        return [boxes]
    above = [box for box in boxes if box.middle <= gutter.top]
    below = [box for box in boxes if box.middle >= gutter.bottom]
    footnotes = _footnotes(gutter, type_px)
    left = [box for box in gutter.left if box not in footnotes]
    insets_at_head, other_insets = _order_insets(gutter, type_px)
    columns = [left, list(gutter.right)]
    if begins_later(gutter, type_px):
        columns.reverse()
    return above, insets_at_head, *columns, other_insets, footnotes + below


def _rank(gutter: Gutter) -> tuple[float, int]:
    """Rank gutters by height; of equally high ones, by the number of boxes beside them, as none of these crosses it."""
    return gutter.height, len(gutter.left) + len(gutter.right)


def _order_insets(gutter: Gutter, type_px: float) -> tuple[list[Box], list[Box]]:
    """Return the insets to read before the columns, because they are at their head, and those to read after them."""
    head = min(box.top for box in gutter.left + gutter.right) + MIN_BAND_HEIGHT * type_px
    parts = split_at_bands(gutter.insets, MIN_BAND_HEIGHT * type_px)
    first = [box for part in parts for box in part if part[0].top <= head]
    return first, [box for part in parts for box in part if part[0].top > head]


def _footnotes(gutter: Gutter, type_px: float) -> list[Box]:
    """Return the lines of small type at the foot of the left column, if they are below all of the right column."""
    foot = max(box.bottom for box in gutter.right)
    parts = split_at_bands(gutter.left, FOOTNOTE_GAP * type_px)
    if len(parts) < 2 or min(box.middle for box in parts[-1]) < foot:
        return []
    return parts[-1] if type_height_px(parts[-1]) <= FOOTNOTE_SCALE * type_px else []


def _join(row: Sequence[PlacedLine]) -> str:
    text, right = "", -math.inf
    for line, box in row:
        if text:
            text += _white(text, line.text, (box.left - right) / box.height if box.height else 0.0)
        text, right = text + line.text, max(right, box.right)
    return text


def _white(before: str, after: str, gap: float) -> str:
    """Return the white space between two texts of a row, whose boxes are this many line heights apart."""
    if gap >= MIN_CELL_GAP:
        return "\t"
    one, other = before[-1:], after[:1]
    if not (is_wide(one) and is_wide(other)):
        return " "
    return " " if gap >= (MIN_SPACE if one.isalnum() and other.isalnum() else MIN_SPACE_AT_MARK) else ""
