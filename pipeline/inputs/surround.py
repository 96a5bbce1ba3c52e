"""Finds what is around a sheet on its scan, the dark lid of the scanner, and punched holes; fills both with paper.

Both are solid areas, wider than any stroke, of another brightness than the paper. What surrounds the sheet reaches the
edge of the image; holes are round, alike, near one side, and at least two. Only these areas and their soft outlines are
filled: what stands on them or beside them, such as text in a black border, is left alone.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageChops, ImageFilter

_CELL_PX: Final = 8
"""An area is made of cells of 8 × 8 px, 1.4 mm on a page measured at 150 dpi: no stroke of a text fills one."""
_OTHER_LEVELS: Final = 50
"""Grey levels between the paper and what surrounds it."""
_MAX_DEPTH: Final = 0.14
"""How far an area may reach into the page from an edge of the image, as a fraction of that side."""
_HOLE: Final = (0.012, 0.036)
"""Diameter of a hole in lengths of the page: 4 to 10 mm of A4."""
_HOLE_DEPTH: Final = 0.12
"""Most distance of its centre from the edge of the page, as a fraction of that side."""
_ROUND: Final = (0.68, 0.88)
"""The part of its bounding box that a disc fills: π/4, within the accuracy of pixels."""
_IS_STROKE: Final = [0] * 12 + [255] * 244
"""Within a solid area no pixel differs from its neighbours by as much."""
_SOLID: Final = 255
_CLEAR: Final = 0
_ALMOST_CLEAR: Final = 64

_Cell = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Fill:
    """Areas to be filled, and the paper that fills them.

    Attributes:
        mask: 255 where a pixel is replaced; in the size of the page.
        border: 255 where a pixel is of what surrounds the sheet.
    """

    mask: Image.Image
    border: Image.Image

    def invert(self) -> "Fill":
        """Return what fills the sheet with the brightness of its surroundings: a label may stand on these."""
        inside = self.border.filter(ImageFilter.MinFilter(9))
        return Fill(ImageChops.invert(inside), self.border)

    def apply(self, band: Image.Image) -> Image.Image:
        """Return a channel of the page with the areas filled with the brightness of the paper next to them."""
        paper = Image.composite(Image.new("L", band.size), band, self.mask)
        kept = ImageChops.invert(self.mask)
        size = (max(1, band.width // 32), max(1, band.height // 32))
        sums = paper.resize(size, Image.Resampling.BOX).tobytes()
        weights = kept.resize(size, Image.Resampling.BOX).tobytes()
        least = min(96, max(weights) // 2)
        levels: list[float | None] = [
            value * 255 / weight if weight > least else None for value, weight in zip(sums, weights, strict=True)
        ]
        filled = Image.frombytes("L", size, bytes(_spread(levels, size[0])))
        return Image.composite(filled.resize(band.size, Image.Resampling.BILINEAR), band, self.mask)


def find_surround(grey: Image.Image) -> Fill | None:
    """Return what surrounds the sheet and its holes; None when there is neither.

    Args:
        grey: The page in mode L, measured at 100 to 200 dpi.
    """
    paper = grey.resize((64, 64), Image.Resampling.BOX)
    level = sorted(paper.tobytes())[2048]
    other = grey.point([255 * (abs(value - level) > _OTHER_LEVELS) for value in range(256)])
    cells = other.reduce(_CELL_PX)
    strokes = ImageChops.difference(grey, grey.filter(ImageFilter.BoxBlur(1))).point(_IS_STROKE).reduce(_CELL_PX)
    solid = {
        (place % cells.width, place // cells.width)
        for place, (value, stroke) in enumerate(zip(cells.tobytes(), strokes.tobytes(), strict=True))
        if value == _SOLID and stroke == 0
    }
    if not solid or len(solid) > 0.5 * cells.width * cells.height:
        return None
    chosen: set[_Cell] = set()
    holes: list[tuple[set[_Cell], tuple[float, float, float]]] = []
    for area in _areas(solid):
        if _is_border(area, cells.size) and _is_sharp(area, strokes):
            chosen |= area
        elif (disc := _measure_disc(area, other)) is not None:
            holes.append((area, disc))
    chosen |= _slivers(chosen, other, cells.size)
    holes_found = set[_Cell]().union(*_rows_of_holes(holes, grey.size))
    chosen |= holes_found
    if not chosen:
        return None
    outline = {cell for cell in _around(chosen, cells.size) if cell not in solid and _is_outline(cell, chosen, cells)}
    mask = Image.new("L", cells.size)
    mask.putdata([0] * (cells.width * cells.height))
    for cell in chosen | outline:
        mask.putpixel(cell, 255)
    border = mask.copy()
    for cell in holes_found | (_around(holes_found, cells.size) & outline):
        border.putpixel(cell, 0)
    whole, rim = (
        image.resize((cells.width * _CELL_PX, cells.height * _CELL_PX), Image.Resampling.NEAREST).crop(
            (0, 0, *grey.size)
        )
        for image in (mask, border)
    )
    return Fill(ImageChops.darker(whole, other).filter(ImageFilter.MaxFilter(9)), ImageChops.darker(rim, other))


def _areas(solid: set[_Cell]) -> Iterator[set[_Cell]]:
    """Yield the connected areas of cells."""
    left = set(solid)
    while left:
        area, edge = set[_Cell](), [left.pop()]
        while edge:
            x, y = edge.pop()
            area.add((x, y))
            for near in ((x - 1, y), (x + 1, y), (x, y - 1), (x, y + 1)):
                if near in left:
                    left.remove(near)
                    edge.append(near)
        yield area


def _is_border(area: set[_Cell], size: tuple[int, int]) -> bool:
    """Return whether an area reaches the edge of the image, and lies wholly near its edges."""
    width, height = size
    deep_x, deep_y = max(2, _MAX_DEPTH * width), max(2, _MAX_DEPTH * height)
    touches = any(x == 0 or y == 0 or x >= width - 2 or y >= height - 2 for x, y in area)
    return touches and all(min(x, width - 1 - x) < deep_x or min(y, height - 1 - y) < deep_y for x, y in area)


def _slivers(border: set[_Cell], other: Image.Image, size: tuple[int, int]) -> set[_Cell]:
    """Return the cells at the edge where a border goes on, narrower than a cell: the sheet is askew."""
    width, height = size
    found: set[_Cell] = set()
    rows = {
        0: (other.crop((0, 2, other.width, 3)), True),
        height - 1: (other.crop((0, other.height - 3, other.width, other.height - 2)), True),
    }
    columns = {
        0: (other.crop((2, 0, 3, other.height)), False),
        width - 1: (other.crop((other.width - 3, 0, other.width - 2, other.height)), False),
    }
    for lines in (rows, columns):
        for at, (line, is_row) in lines.items():
            data = line.tobytes()
            number = width if is_row else height
            dark = [min(data[place * _CELL_PX : (place + 1) * _CELL_PX]) == _SOLID for place in range(number)]
            for order in (range(number), range(number - 1, -1, -1)):
                goes_on = False
                for place in order:
                    cell = (place, at) if is_row else (at, place)
                    goes_on = cell in border or (goes_on and dark[place])
                    if goes_on:
                        found.add(cell)
    return found


def _is_sharp(area: set[_Cell], strokes: Image.Image) -> bool:
    """Return whether an area ends at an edge; a shadow does not, and to fill it would make one."""
    outline = _around(area, strokes.size)
    return 2 * sum(strokes.getpixel(cell) != _CLEAR for cell in outline) > len(outline)


def _measure_disc(area: set[_Cell], other: Image.Image) -> tuple[float, float, float] | None:
    """Return centre and diameter of a round area in px; None for another one."""
    xs, ys = [x for x, _ in area], [y for _, y in area]
    box = (
        (min(xs) - 1) * _CELL_PX, (min(ys) - 1) * _CELL_PX, (max(xs) + 2) * _CELL_PX, (max(ys) + 2) * _CELL_PX,
    )  # fmt: skip
    part = other.crop(box)
    inner = part.getbbox()
    if inner is None or max(part.size) > 0.06 * max(other.size):
        return None
    width, height = inner[2] - inner[0], inner[3] - inner[1]
    filled = part.histogram()[255] / (width * height)
    length = max(other.size)
    is_round = _ROUND[0] < filled < _ROUND[1] and 0.85 < width / height < 1.18
    if not is_round or not _HOLE[0] < max(width, height) / length < _HOLE[1]:
        return None
    return box[0] + (inner[0] + inner[2]) / 2, box[1] + (inner[1] + inner[3]) / 2, float(max(width, height))


def _rows_of_holes(
    holes: Sequence[tuple[set[_Cell], tuple[float, float, float]]], size: tuple[int, int]
) -> Iterator[set[_Cell]]:
    """Yield the areas of holes that are in a row along one side; a single disc may be a sign."""
    length = max(size)
    for side, (along, span) in enumerate(((0, size[0]), (0, size[0]), (1, size[1]), (1, size[1]))):
        depth = _HOLE_DEPTH * span
        row = [(area, disc) for area, disc in holes if (disc[along] if side % 2 == 0 else span - disc[along]) < depth]
        if len(row) < 2:
            continue
        middle = sorted(disc[along] for _, disc in row)[len(row) // 2]
        width = sorted(disc[2] for _, disc in row)[len(row) // 2]
        alike = [
            area
            for area, disc in row
            if abs(disc[along] - middle) < 0.015 * length and math.isclose(disc[2], width, rel_tol=0.2)
        ]
        if len(alike) >= 2:
            yield from alike


def _around(area: set[_Cell], size: tuple[int, int]) -> set[_Cell]:
    return {
        (x + dx, y + dy)
        for x, y in area
        for dx in (-1, 0, 1)
        for dy in (-1, 0, 1)
        if 0 <= x + dx < size[0] and 0 <= y + dy < size[1]
    } - area


def _is_outline(cell: _Cell, area: set[_Cell], cells: Image.Image) -> bool:
    """Return whether a cell is the outline of an area: paper on one side; else it is something on the area."""
    x, y = cell
    if x in {0, cells.width - 1} or y in {0, cells.height - 1}:
        return True
    if any((x - dx, y - dy) in area and (x + dx, y + dy) in area for dx, dy in ((1, 0), (0, 1))):
        return False
    # The edge of the sheet may fall on the border of two cells: then the next one is almost clear.
    return any(
        _value(cells, x + dx, y + dy) == _CLEAR
        or (_value(cells, x + dx, y + dy) < _ALMOST_CLEAR and _value(cells, x + 2 * dx, y + 2 * dy) == _CLEAR)
        for dx in (-1, 0, 1)
        for dy in (-1, 0, 1)
    )


def _value(cells: Image.Image, x: int, y: int) -> int:
    """Return how much of a cell is of another brightness than paper, 0 to 255; 255 outside the page."""
    is_inside = 0 <= x < cells.width and 0 <= y < cells.height
    return int(cells.getpixel((x, y))) if is_inside else _SOLID  # type: ignore[arg-type]


def _spread(levels: list[float | None], width: int) -> Iterable[int]:
    """Return a grid of levels with each gap filled from its neighbours, ring after ring."""
    height = len(levels) // width
    known = {place: level for place, level in enumerate(levels) if level is not None}
    if not known:
        return [0] * len(levels)  # the whole page is replaced
    while len(known) < len(levels):
        found = {}
        for place in range(len(levels)):
            if place in known:
                continue
            x, y = place % width, place // width
            near = [
                known[(y + dy) * width + x + dx]
                for dx in (-1, 0, 1)
                for dy in (-1, 0, 1)
                if 0 <= x + dx < width and 0 <= y + dy < height and (y + dy) * width + x + dx in known
            ]
            if near:
                found[place] = sum(near) / len(near)
        known |= found
    return [min(255, round(known[place])) for place in range(len(levels))]
