"""A record's lines in px of the source: of the upright page, as a viewer shows the file."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain

from pipeline.batch.line_positions import Size, bounds, extent_px, move, parse_size, to_upright, upright_px
from pipeline.errors import UsageError
from pipeline.positions import TextLine
from pipeline.records import Record
from pipeline.workspace.page_rows import lacks_lines
from pipeline.workspace.result_lines import ResultLine
from pipeline.workspace.source_names import decode_name

Box = tuple[int, int, int, int]
"""(left, top, right, bottom) in whole px, within the page."""


@dataclass(frozen=True, slots=True)
class PlacedPage:
    """A page and its lines.

    Attributes:
        name: Of the source.
        page: 1-based.
        size_px: (width, height) of the upright source.
        lines: In reading order, in px of the upright source.
    """

    name: str
    page: int
    size_px: Size
    lines: tuple[TextLine, ...]

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


def require_positions(records: Iterable[ResultLine]) -> None:
    """Return when all texts have positions.

    Raises:
        UsageError: some have none.
    """
    without = (record for record in records if _lacks_positions(record))
    if (first := next(without, None)) is None:
        return
    can_be_added = Counter(map(lacks_lines, chain([first], without)))
    others = can_be_added.total() - 1
    which = f"{decode_name(first.source_bytes())} page {first.page}{f' and {others:,} others' if others else ''}"
    remedy = _remedy(can_be_added)
    if not can_be_added[True] and first.lines is not None:
        remedy = "the service returned none when it was asked for them"
    raise UsageError(
        f"{which}: no positions of the text, which this format needs; {remedy}, and --where 'source!=…' leaves them out"
    )


def place(record: ResultLine) -> PlacedPage:
    """Return where the lines of a page are.

    Raises:
        UsageError: the page has a text without positions.
    """
    require_positions([record])
    return place_lines(record, decode_name(record.source_bytes()))


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


def _remedy(can_be_added: Counter[bool]) -> str:
    """Return how pages get positions.

    Args:
        can_be_added: Number of pages by whether the service read them without positions.
    """
    if not can_be_added[True]:
        return "no run can add them"
    which = f"{can_be_added[True]:,} of these pages" if can_be_added[False] else "such pages"
    return f"pagemill run --positions sends {which} again for them"


def _lacks_positions(record: ResultLine) -> bool:
    return not record.lines and bool(record.text.strip())
