"""A record's lines in px of the source: of the upright page, as a viewer shows the file."""

from dataclasses import dataclass

from pipeline.batch.line_positions import Size, bounds, extent_px, move, parse_size, to_upright, upright_px
from pipeline.errors import UsageError
from pipeline.positions import TextLine
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
        """Return the corners of a line in whole px within the page."""
        width, height = self.size_px
        points = zip(line.box[::2], line.box[1::2], strict=True)
        return tuple((min(max(0, round(x)), width), min(max(0, round(y)), height)) for x, y in points)

    def around(self) -> Box:
        """Return the whole pixels around all lines; the page when it has none."""
        boxes = [self.box(line) for line in self.lines]
        if not boxes:
            return 0, 0, *self.size_px
        lefts, tops, rights, bottoms = zip(*boxes, strict=True)
        return min(lefts), min(tops), max(rights), max(bottoms)


def place(record: ResultLine) -> PlacedPage:
    """Return where the lines of a page are.

    Raises:
        UsageError: the page has a text without positions.
    """
    name = decode_name(record.source_bytes())
    if not record.lines and record.text.strip():
        remedy = "no run can add them"
        if lacks_lines(record):
            remedy = "pagemill run --positions sends such pages again for them"
        raise UsageError(
            f"{name} page {record.page}: its text has no positions, which this format needs; {remedy}, and --where"
            " 'source!=…' leaves it out"
        )
    lines = record.lines or ()
    if record.prep is None:  # given by its URL: the service fetched it
        return PlacedPage(name, record.page, parse_size(record.pixels) or extent_px(lines), lines)
    size_px = upright_px(record.prep, record.pixels)
    by = to_upright(record.prep, size_px)
    return PlacedPage(name, record.page, size_px, tuple(move(line, by) for line in lines))
