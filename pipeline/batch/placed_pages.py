"""A record's lines in px of the source: of the upright page, as a viewer shows the file."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from pipeline.batch.line_positions import Size, bounds, extent_px, move, parse_size, to_upright, upright_px
from pipeline.errors import UsageError
from pipeline.positions import TextLine
from pipeline.records import Record
from pipeline.workspace.page_rows import lacks_lines
from pipeline.workspace.result_lines import ResultLine
from pipeline.workspace.source_names import decode_name

Box = tuple[int, int, int, int]
"""(left, top, right, bottom) in whole px, within the page."""

_UNKNOWN_PX: Final = (2480, 3508)
"""Of a page whose image cannot be read: A4 at 300 dpi."""


@dataclass(frozen=True, slots=True)
class PlacedPage:
    """A page and its lines.

    Attributes:
        name: Of the source.
        page: 1-based.
        size_px: (width, height) of the upright source.
        lines: In reading order, in px of the upright source.
        unplaced: The lines of a text without positions, which stand for the page as a whole.
    """

    name: str
    page: int
    size_px: Size
    lines: tuple[TextLine, ...]
    unplaced: tuple[str, ...] = ()

    def box(self, line: TextLine) -> Box:
        """Return the whole pixels around a line, at least one."""
        left, top, right, bottom = bounds(line)
        width, height = self.size_px
        x, y = min(max(0, int(left)), width - 1), min(max(0, int(top)), height - 1)
        return x, y, min(max(x + 1, -int(-right // 1)), width), min(max(y + 1, -int(-bottom // 1)), height)

    def corners(self, line: TextLine) -> tuple[tuple[int, int], ...]:
        """Return the corners of a line in whole px within the page; those of its box when they enclose nothing."""
        width, height = self.size_px
        points = zip(line.box[::2], line.box[1::2], strict=True)
        found = tuple((min(max(0, round(x)), width), min(max(0, round(y)), height)) for x, y in points)
        if sum(x * y2 - x2 * y for (x, y), (x2, y2) in zip(found, (*found[1:], found[0]), strict=True)) != 0:
            return found
        left, top, right, bottom = self.box(line)
        return (left, top), (right, top), (right, bottom), (left, bottom)

    def around(self) -> Box:
        """Return the whole pixels around all lines; the page when it has none."""
        boxes = [self.box(line) for line in self.lines]
        if not boxes:
            return 0, 0, *self.size_px
        lefts, tops, rights, bottoms = zip(*boxes, strict=True)
        return min(lefts), min(tops), max(rights), max(bottoms)


def count_unplaced(records: Iterable[ResultLine]) -> tuple[int, ResultLine | None]:
    """Return the number of pages whose texts have no positions that a run could add, and the first of them.

    Raises:
        UsageError: a run can add those of others.
    """
    can_be_added, first = Counter[bool](), dict[bool, ResultLine]()
    for record in filter(_lacks_positions, records):
        is_added = lacks_lines(record)
        can_be_added[is_added] += 1
        first.setdefault(is_added, record)
    if can_be_added[True]:
        raise UsageError(
            f"{name_pages(first[True], can_be_added[True])}: no positions of the text, which this format needs; "
            "pagemill run --positions sends such pages again for them, and --where 'source!=…' leaves them out"
        )
    return can_be_added[False], first.get(False)


def name_pages(first: ResultLine, number: int) -> str:
    """Return words for some pages: the first one's name, and the number of the others."""
    others = f" and {number - 1:,} others" if number > 1 else ""
    return f"{decode_name(first.source_bytes())} page {first.page}{others}"


def lacks_size(record: ResultLine) -> bool:
    """Return whether a page needs a size and its record tells none: no call has read it, so it has no positions."""
    return record.prep is None and parse_size(record.pixels) is None and _lacks_positions(record)


def place(record: ResultLine, size_px: Size | None = None) -> PlacedPage:
    """Return where the lines of a page are, or the lines of a text whose positions no run can add.

    Args:
        record: Of the page.
        size_px: (width, height) of the upright page, for a record that `lacks_size`; None when that is not known.

    Raises:
        UsageError: a run can add the positions.
    """
    count_unplaced([record])
    page = place_lines(record, decode_name(record.source_bytes()))
    if not _lacks_positions(record):
        return page
    if lacks_size(record):
        page = replace(page, size_px=size_px or _UNKNOWN_PX)
    return replace(page, unplaced=tuple(filter(str.strip, record.text.splitlines())))


def place_lines(record: ResultLine | Record, name: str) -> PlacedPage:
    """Return where the lines of a page are that has positions, or no text.

    Args:
        record: Of the page.
        name: Of its source.
    """
    lines = record.lines or ()
    if record.prep is None:  # given by its URL: the service fetched it
        return PlacedPage(name, record.page, parse_size(record.pixels) or extent_px(lines), lines)
    size_px = upright_px(record.prep, record.pixels)
    by = to_upright(record.prep, size_px)
    return PlacedPage(name, record.page, size_px, tuple(move(line, by) for line in lines))


def _lacks_positions(record: ResultLine) -> bool:
    return not record.lines and bool(record.text.strip())
