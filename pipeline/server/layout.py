"""The order in which lines are read: pure geometry, so that a better reading can take its place."""

from collections.abc import Iterable, Sequence

from pipeline.server.recognition import Line, Point

ROW_OVERLAP = 0.5
"""Lines that share this much of the smaller one's height stand in one row."""


def reading_text(lines: Iterable[Line]) -> str:
    """Return the lines' text: a newline between rows, a space between the lines of one row."""
    return "\n".join(" ".join(line.text for line in row) for row in reading_rows(lines))


def reading_rows(lines: Iterable[Line]) -> list[list[Line]]:
    """Return the lines in rows from top to bottom, each row from left to right.

    A line joins the row in which its nearest neighbour stands level with it. Comparing neighbours, along the
    slope of their own lines, keeps the rows of a page apart that was scanned at a small angle.
    """
    rows: list[list[Line]] = []
    for line in sorted(lines, key=_middle_y):
        row = next((row for row in reversed(rows) if _is_level(_nearest(row, line), line)), None)
        if row is None:
            rows.append([line])
        else:
            row.append(line)
    for row in rows:
        row.sort(key=_left)
    return sorted(rows, key=lambda row: sum(map(_middle_y, row)) / len(row))


def _is_level(one: Line, other: Line) -> bool:
    """Return True when two lines share `ROW_OVERLAP` of the smaller height where they come closest."""
    x = (max(_left(one), _left(other)) + min(_right(one), _right(other))) / 2
    one_y, other_y = _y_at(one, x), _y_at(other, x)
    one_half, other_half = _height(one) / 2, _height(other) / 2
    shared = min(one_y + one_half, other_y + other_half) - max(one_y - one_half, other_y - other_half)
    return shared >= ROW_OVERLAP * 2 * min(one_half, other_half)


def _nearest(row: Sequence[Line], line: Line) -> Line:
    def gap(other: Line) -> tuple[float, float]:
        across = max(_left(other) - _right(line), _left(line) - _right(other), 0.0)
        return across, abs(_middle_y(other) - _middle_y(line))

    return min(row, key=gap)


def _y_at(line: Line, x: float) -> float:
    """Return the height of the line's axis at x; beyond its ends, that of the nearer end."""
    (left_x, left_y), (right_x, right_y) = _ends(line)
    if right_x <= left_x:
        return (left_y + right_y) / 2
    share = min(max((x - left_x) / (right_x - left_x), 0.0), 1.0)
    return left_y + share * (right_y - left_y)


def _ends(line: Line) -> tuple[Point, Point]:
    top_left, top_right, bottom_right, bottom_left = line.corners
    return _between(top_left, bottom_left), _between(top_right, bottom_right)


def _between(one: Point, other: Point) -> Point:
    return (one[0] + other[0]) / 2, (one[1] + other[1]) / 2


def _height(line: Line) -> float:
    top_left, top_right, bottom_right, bottom_left = line.corners
    return (abs(bottom_left[1] - top_left[1]) + abs(bottom_right[1] - top_right[1])) / 2


def _middle_y(line: Line) -> float:
    return sum(y for _, y in line.corners) / 4


def _left(line: Line) -> float:
    return min(x for x, _ in line.corners)


def _right(line: Line) -> float:
    return max(x for x, _ in line.corners)
