"""Columns or rows: whether a gutter separates columns of text, or cells of a table.

White between the cells of a table, between a form's labels and its values, or between a receipt's items and its prices
is as wide and as high as a gutter, but is read across, row by row. Rows are the rule, and columns need evidence:
*running text* on at least one side, judged by the boxes nearest to the gutter, its flanks. Running text shows twice:

- in its geometry: it fills its column, that is, at least half of its lines are as long as the column is wide, but for
  a ragged edge, and the column is wide;
- in its words (`prose.py`): a label in capitals, a name or an amount is not a line of a sentence. Many lines that are
  justified need no words.

Running text on both sides of white that is narrow for its columns makes two columns. With running text on one side, the
other is a margin, a caption or a merged cell when its lines are not level with the text's; numbers and labels of
paragraphs are level with them, or with a cell of several lines as a whole (`cells.py`).

Items of lists, as on slides, are short, level with each other and often without a word of a sentence. Bullets on both
sides make two columns.

Lengths are in type heights of the region (`rows.type_height_px`), about one em, so they hold at any resolution.
"""

from collections.abc import Callable, Sequence
from typing import Final

from pipeline.engine.cells import find_stacks
from pipeline.engine.gutters import MIN_BAND_HEIGHT, MIN_GUTTER_WIDTH, Gutter
from pipeline.engine.rows import Box, ByAxis, hull

MIN_COLUMN_WIDTH: Final = 5.0
"""Width of the narrowest column of running text, in type heights."""

MIN_COLUMN_LINES: Final = 3
MIN_SHORT_GUTTER_WIDTH: Final = 1.0
"""White between fewer lines than this is a gutter from this width in type heights; less is a gap in two lines, each of
which the detector split at a bracket."""

MAX_GUTTER_SHARE: Final = 0.5
"""Width of the widest gutter as a share of the narrower column; white between cells is often wider than the cells."""

MAX_RAGGED: Final = 3.0
MAX_RAGGED_SHARE: Final = 0.2
"""A line of running text is full when it is shorter than its column by at most this many type heights, or by this share
of the column's width, whichever is more."""

MIN_FULL_SHARE: Final = 0.5
"""Share of the lines of running text that are full."""

MIN_PROSE_SHARE: Final = 1 / 3
"""Share of the lines of running text that read as a part of a sentence; a line of eight Chinese characters may be
without a punctuation mark, and headings are in capitals."""

MIN_BLOCK_LINES: Final = 8
MIN_BLOCK_SHARE: Final = 2 / 3
MIN_BLOCK_WIDTH: Final = 8.0
MAX_BLOCK_RAGGED: Final = 0.5
"""This many justified lines of at least this width are running text whatever their words, if they are this share of all
lines: in capitals, in verse, in another language. Lengths are in type heights; names differ by whole characters."""

MIN_PARAGRAPH_LINES: Final = 4
MIN_PARAGRAPH_SHARE: Final = 0.5
"""A paragraph beside cells has at least this many lines that are full and read as a part of a sentence, and they are at
least this share of its lines."""

MIN_ITEMS: Final = 2
MIN_ITEMS_SHARE: Final = 0.2
"""Lines of a list that begin with a bullet: items go on in further lines, and bullets are overlooked."""

NEIGHBOURS: Final = 4
COLUMN_WIDTH_QUANTILE: Final = 0.8
"""The width of a column at a line is this quantile of the widths of that line and this many lines above and below:
headings may be wider, and lines beside a picture are shorter."""

LEVEL_SHARE: Final = 0.75
"""Share of the labels of paragraphs that are level with a line of the text."""

AXIS_TOLERANCE: Final = 0.25
"""Distance of the axes of two cells of one row, as a share of the smaller height."""


def separates_columns(gutter: Gutter, type_px: float) -> bool:
    """Return whether a gutter separates columns of text, rather than cells of a table.

    Args:
        gutter: Has boxes on both sides.
        type_px: The region's type height.
    """
    left = _flank(gutter.left, lambda box: box.right)
    right = _flank(gutter.right, lambda box: -box.left)
    white_px = min(box.left for box in right) - max(box.right for box in left)
    column_px = min(max(box.width for box in flank) for flank in (left, right))
    is_high = min(len(left), len(right)) >= MIN_COLUMN_LINES
    if (
        (is_high or white_px >= MIN_SHORT_GUTTER_WIDTH * type_px)
        and white_px <= MAX_GUTTER_SHARE * column_px
        and is_running_text(left, type_px)
        and is_running_text(right, type_px)
    ):
        return True
    if gutter.insets or white_px < MIN_GUTTER_WIDTH * type_px:
        return False
    if is_list(gutter.left) and is_list(gutter.right):
        return True
    if not is_paragraph(left, type_px) and not is_paragraph(right, type_px):
        return False
    few, many = sorted((left, right), key=len)
    cells = [hull(stack) for stack in find_stacks([*left, *right]) if len(stack) > 1 and stack[0] in many]
    level = sum(any(_have_common_axis(box, other) for other in (*many, *cells)) for box in few)
    return level < LEVEL_SHARE * len(few)


def begins_later(gutter: Gutter, type_px: float) -> bool:
    """Return whether the left side is a note or a caption beside a text that begins before it."""
    left = _flank(gutter.left, lambda box: box.right)
    right = _flank(gutter.right, lambda box: -box.left)
    starts = (min(box.top for box in flank) for flank in (left, right))
    is_later = next(starts) - next(starts) >= MIN_BAND_HEIGHT * type_px
    return is_later and is_paragraph(right, type_px) and not is_paragraph(left, type_px)


def is_running_text(flank: Sequence[Box], type_px: float) -> bool:
    """Return whether boxes below each other are running text: wide, most lines as wide as the column, and of words."""
    justified = _full_lines(flank, MIN_BLOCK_WIDTH * type_px, lambda _: MAX_BLOCK_RAGGED * type_px)
    if len(justified) >= max(MIN_BLOCK_LINES, MIN_BLOCK_SHARE * len(flank)):
        return True
    full = _full_lines_of_text(flank, type_px)
    prose = [box for box in flank if box.is_prose]
    return len(full) >= MIN_FULL_SHARE * len(flank) and len(prose) >= MIN_PROSE_SHARE * len(flank)


def is_paragraph(flank: Sequence[Box], type_px: float) -> bool:
    """Return whether boxes below each other are running text beyond doubt, whatever is beside them."""
    lines = sum(box.is_prose for box in _full_lines_of_text(flank, type_px))
    return lines >= max(MIN_PARAGRAPH_LINES, MIN_PARAGRAPH_SHARE * len(flank))


def is_list(side: Sequence[Box]) -> bool:
    """Return whether boxes on a side of a gutter are the items of a list, by the first box of each of their rows."""
    firsts = _flank(side, lambda box: -box.left)
    items = sum(box.is_item for box in firsts)
    return items >= max(MIN_ITEMS, MIN_ITEMS_SHARE * len(firsts))


def _full_lines_of_text(flank: Sequence[Box], type_px: float) -> list[Box]:
    """Return the lines that are as wide as a column of running text, but for a ragged edge."""
    return _full_lines(
        flank, MIN_COLUMN_WIDTH * type_px, lambda column_px: max(MAX_RAGGED * type_px, MAX_RAGGED_SHARE * column_px)
    )


def _full_lines(flank: Sequence[Box], min_column_px: float, ragged_px: Callable[[float], float]) -> list[Box]:
    """Return the lines that are as wide as their column.

    Args:
        flank: Boxes below each other.
        min_column_px: Width of the narrowest column that counts.
        ragged_px: By how much a full line may be shorter than its column, whose width is given.
    """
    lines = sorted(flank, key=lambda box: box.middle)
    widths = [box.width for box in lines]
    columns = [_column_width(widths[max(0, i - NEIGHBOURS) : i + NEIGHBOURS + 1]) for i in range(len(widths))]
    return [
        box
        for box, column in zip(lines, columns, strict=True)
        if column >= min_column_px and box.width >= column - ragged_px(column)
    ]


def _flank(boxes: Sequence[Box], nearness: Callable[[Box], float]) -> list[Box]:
    """Return the boxes next to a gutter: those with no level box between them and the gutter."""
    from_top = ByAxis(boxes)
    return [
        box
        for box in sorted(boxes, key=nearness, reverse=True)
        if not any(nearness(other) > nearness(box) for other in from_top.level_with(box))
    ]


def _column_width(widths: Sequence[float]) -> float:
    return sorted(widths)[int(COLUMN_WIDTH_QUANTILE * len(widths))]


def _have_common_axis(one: Box, other: Box) -> bool:
    return abs(one.middle - other.middle) <= AXIS_TOLERANCE * min(one.height, other.height)
