"""Columns before rows, where the white between them is a gutter: a recursive XY-cut over the boxes of lines.

The tallest gutter of a region cuts it into what stands above, left, right and below (Nagy and Seth, "Hierarchical
representation of optically scanned documents", 1984, cut along whole projections; here a heading across the columns
ends a gutter instead of hiding it). A region without a gutter is read row by row, and so is a table: the white between
its cells is as wide as that between columns, but its cells are short and level.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from pipeline.engine.punctuation import is_wide
from pipeline.engine.recognition import Line
from pipeline.engine.rows import Box, is_level, rows, straighten, type_height

GUTTER = 0.2
"""Narrowest gutter, in heights of the region's type: the boxes of a detector reach over their ink from both sides."""

SHORTEST = 1.6
"""Least height of a gutter, in heights of type: two rows."""

BAND = 2.5
"""White across a whole region that parts it in two, in heights of type: a picture, or the end of a section."""

TEXT_WIDTH = 5.0
"""Narrowest column of running text, in heights of type."""

GAP_SHARE = 0.5
"""Widest gutter, in parts of the narrower column; the white between cells is often wider than they are."""

RAGGED = 3.0
RAGGED_SHARE = 0.2
"""By so much, in heights of type or in parts of the widest, a line of running text is shorter than the widest."""

FULL_SHARE = 0.5
"""So many lines of running text are as wide as their column."""

LEVEL_SHARE = 0.75
"""So many cells of a table have a neighbour level with them."""

HEADING = 1.25
"""A line of type so much larger that has nothing beside it ends every gutter, be it short."""

HEADING_RATIO = 2.0
"""A heading is at least so many times as wide as high: the detector's box of a word or two characters is higher than
those of whole lines."""

SMALL = 0.92
APART = 0.9
"""Footnotes are set in type of at most this part of the text's height, and have so much white above."""

OVERSHOOT = 0.3
"""By so much, in heights of type, a box may reach over a gutter: columns lean, and boxes reach over their ink."""

USUAL = 0.8
NEAR = 4
"""A column is as wide as most lines are, this part of them, among so many above and below: headings may be wider, and
lines beside a picture are shorter."""

PUSHED = 1.5
"""By so much, in heights of type, an inset pushes a column's lines aside."""

INSET_LINES = 12
"""More lines one below the other are a column, not an inset."""

ON_LINE = 0.25
"""By so much, in heights of the smaller, the axes of two cells of one row may differ."""
WORD_SPACE = 0.5
"""Chinese lines this close, in heights of the line, are one: the detector parted them at a comma."""
Placed = tuple[Line, Box]
"""A line, and where it stands on the straightened page."""


@dataclass(frozen=True, slots=True)
class Gutter:
    """White between two columns, and the boxes that stand beside it.

    Insets are boxes in it that the columns run around: a picture's caption, a quotation set large.
    """

    top: float
    bottom: float
    left: tuple[Box, ...]
    right: tuple[Box, ...]
    insets: tuple[Box, ...]

    @property
    def height(self) -> float:
        """Px in which there are boxes on both sides."""
        lowest = min(max(box.bottom for box in self.left), max(box.bottom for box in self.right))
        return lowest - max(min(box.top for box in self.left), min(box.top for box in self.right))


def regions(boxes: Sequence[Box]) -> list[list[Box]]:
    """Return the boxes in regions, in reading order; each region is read row by row."""
    waiting, ordered = [list(boxes)], []
    while waiting:
        region = waiting.pop()
        parts = [part for part in _cut(region) if part]
        if len(parts) > 1:
            waiting += reversed(parts)
        elif region:
            ordered.append(region)
    return ordered


def _cut(boxes: list[Box]) -> Sequence[list[Box]]:
    """Return the parts of a region in reading order; one part when it has no column and no band."""
    type_px = type_height(boxes)
    if bands := _cut_at_bands(boxes, BAND * type_px):
        return bands
    tallest_first = sorted(_gutters(boxes, type_px), key=_rank, reverse=True)
    gutter = next((gutter for gutter in tallest_first if _parts_columns(gutter, type_px)), None)
    if gutter is None:
        return [boxes]
    above = [box for box in boxes if box.middle <= gutter.top]
    below = [box for box in boxes if box.middle >= gutter.bottom]
    notes = _footnotes(gutter, type_px)
    left = [box for box in gutter.left if box not in notes]
    first, last = _place_insets(gutter, type_px)
    return above, first, left, list(gutter.right), last, notes + below


def _place_insets(gutter: Gutter, type_px: float) -> tuple[list[Box], list[Box]]:
    """Return the insets to be read before the columns, since they stand at their head, and those to be read after."""
    head = min(box.top for box in gutter.left + gutter.right) + BAND * type_px
    parts = _parts(gutter.insets, BAND * type_px)
    first = [box for part in parts for box in part if part[0].top <= head]
    return first, [box for part in parts for box in part if part[0].top > head]


def _rank(gutter: Gutter) -> tuple[float, int]:
    """Taller gutters come first, of equal ones that with most boxes beside it: no line sticks out into it."""
    return gutter.height, len(gutter.left) + len(gutter.right)


def _footnotes(gutter: Gutter, type_px: float) -> list[Box]:
    """Return the small lines at the foot of the left column that stand below the right one: they end the page."""
    foot = max(box.bottom for box in gutter.right)
    parts = _cut_at_bands(gutter.left, APART * type_px)
    if not parts or min(box.middle for box in parts[-1]) < foot:
        return []
    return parts[-1] if type_height(parts[-1]) <= SMALL * type_px else []


def _cut_at_bands(boxes: Sequence[Box], least_px: float) -> list[list[Box]]:
    """Return the parts between bands of white at least so high; none when there is no band."""
    parts = _parts(boxes, least_px)
    return parts if len(parts) > 1 else []


def _parts(boxes: Sequence[Box], least_px: float) -> list[list[Box]]:
    """Return the boxes from the top, parted where white at least so high stands across all of them."""
    parts: list[list[Box]] = []
    bottom = -float("inf")
    for box in sorted(boxes, key=lambda box: box.top):
        if box.top - bottom >= least_px:
            parts.append([])
        parts[-1].append(box)
        bottom = max(bottom, box.bottom)
    return parts


def _gutters(boxes: Sequence[Box], type_px: float) -> Iterator[Gutter]:
    """Yield the white strips that begin where boxes end, as far up and down as no box crosses them."""
    least, over = GUTTER * type_px, OVERSHOOT * type_px
    edges = {round(box.right / least): box.right for box in sorted(boxes, key=lambda box: box.right)}
    headings = [box for box in boxes if _is_heading(box, type_px) and _is_alone(box, boxes)]
    pushed = {box: _pushed(box, boxes, PUSHED * type_px) for box in boxes}
    for edge in edges.values():
        axis = edge + least / 2
        left = [box for box in boxes if box.right <= axis + over and box.left + box.right < 2 * axis]
        right = [box for box in boxes if box.left >= axis - over and box.left + box.right >= 2 * axis]
        crossing = set(boxes).difference(left, right)
        pushing = [box for box in crossing if axis <= pushed[box][1] + over or axis >= pushed[box][0] - over]
        insets = [box for part in _parts(pushing, BAND * type_px) if len(part) <= INSET_LINES for box in part]
        # Between the cells of a table no inset stands, so a gutter that ends where one begins is a choice, too.
        for inset in (insets, []) if insets else ([],):
            for top, bottom in _free([*crossing.difference(inset), *headings]):
                beside = (tuple(box for box in each if top < box.middle < bottom) for each in (left, right, inset))
                gutter = Gutter(top, bottom, *beside)
                if min(len(gutter.left), len(gutter.right)) > 1 and gutter.height >= SHORTEST * type_px:
                    yield gutter


def _pushed(box: Box, boxes: Sequence[Box], least_px: float) -> tuple[float, float]:
    """Return the right edge of the column whose lines a box pushes left, and the left edge of that pushed right.

    They are infinitely far right and left when there is none. Lines are pushed when one level with the box ends beside
    it, and another of its column would reach into it.
    """
    level = [other for other in boxes if is_level(box, other)]
    before = max((other.right for other in level if other.right <= box.left), default=-math.inf)
    after = min((other.left for other in level if other.left >= box.right), default=math.inf)
    left = (other.right for other in boxes if other.left < before and box.left + least_px < other.right < box.right)
    right = (other.left for other in boxes if other.right > after and box.left < other.left < box.right - least_px)
    return min(left, default=math.inf), max(right, default=-math.inf)


def _is_heading(box: Box, type_px: float) -> bool:
    return box.height >= HEADING * type_px and box.width >= HEADING_RATIO * box.height


def _is_alone(box: Box, boxes: Sequence[Box]) -> bool:
    """Return whether no other box reaches into the same height."""
    return sum(other.top < box.bottom and other.bottom > box.top for other in boxes) == 1


def _free(crossing: Sequence[Box]) -> Iterator[tuple[float, float]]:
    """Yield the spans of height that no box covers."""
    bottom = -1e9
    for box in sorted(crossing, key=lambda box: box.top):
        if box.top > bottom:
            yield bottom, box.top
        bottom = max(bottom, box.bottom)
    yield bottom, 1e9


def _parts_columns(gutter: Gutter, type_px: float) -> bool:
    """Return whether columns of text stand beside a gutter, rather than the cells of a table."""
    left = _flank(gutter.left, lambda box: box.right)
    right = _flank(gutter.right, lambda box: -box.left)
    white = min(box.left for box in right) - max(box.right for box in left)
    column = min(max(box.width for box in flank) for flank in (left, right))
    if white <= GAP_SHARE * column and _is_running(left, type_px) and _is_running(right, type_px):
        return True
    if gutter.insets or white < GUTTER * type_px:
        return False
    few, many = sorted((left, right), key=len)
    level = sum(any(_is_on_line(box, other) for other in many) for box in few)
    return level < LEVEL_SHARE * len(few)


def _is_running(flank: Sequence[Box], type_px: float) -> bool:
    """Return whether boxes one below the other are running text: wide, and most lines as wide as the column."""
    widths = [box.width for box in sorted(flank, key=lambda box: box.middle)]
    usual = [_usual(widths[max(0, i - NEAR) : i + NEAR + 1]) for i in range(len(widths))]
    full = sum(
        column >= TEXT_WIDTH * type_px and width >= column - max(RAGGED * type_px, RAGGED_SHARE * column)
        for width, column in zip(widths, usual, strict=True)
    )
    return full >= FULL_SHARE * len(flank)


def _usual(widths: Sequence[float]) -> float:
    return sorted(widths)[int(USUAL * len(widths))]


def _flank(boxes: Sequence[Box], nearness: Callable[[Box], float]) -> list[Box]:
    """Return the boxes that no other parts from the gutter."""
    nearest_first = sorted(boxes, key=nearness, reverse=True)
    return [
        box
        for i, box in enumerate(nearest_first)
        if not any(nearness(other) > nearness(box) and is_level(box, other) for other in nearest_first[:i])
    ]


def _is_on_line(one: Box, other: Box) -> bool:
    return abs(one.middle - other.middle) <= ON_LINE * min(one.height, other.height)


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
