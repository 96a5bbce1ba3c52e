"""Measures how much a page shows that may be text, so that blank pages need no call.

The rule is conservative: a page is blank only when nothing on it could be ink. Text has contrast on the scale of
strokes; paper, light and shadow change slowly. The page is compared with its own surroundings at three scales: strokes
of a few pixels, the same after noise was averaged, and the wide strokes of watermarks and of text that shines through.
The number of pixels that differ is counted in windows of the size of a character, and the fullest window decides. So a
faint page number counts as much as a full page, and noise that could hide one makes the page count as one with text.

What surrounds the sheet (the dark lid of a scanner) and holes that were punched are left out, see `surround`. Measured
per A4 page of 300 dpi, beside its decoding: with text 29 ms (grey) and 68 ms (colour), blank 92 and 219 ms.
"""

from collections.abc import Sequence
from functools import reduce
from typing import Final

from PIL import Image, ImageChops, ImageFilter

from pipeline.inputs.surround import find_surround

_SHORT_EDGE_PX: Final = 1200
_MAX_FACTOR: Final = 3
"""Pages of 300 dpi are measured at half, of 600 dpi at a third of their size, so that strokes keep a pixel of width."""

_CELL_PX: Final = 10
"""A window has two by two cells: a character of 10 points on a page that is measured at 150 dpi."""
_QUIET_LEVELS: Final = 4
_FINE_LEVELS: Final = 7
_SMOOTH_LEVELS: Final = 3
_COARSE_LEVELS: Final = 3
"""Grey levels by which a pixel differs from its surroundings: as it is (twice); after 3 × 3, 4 × 4 were averaged."""
_QUIET_PIXELS: Final = 18
_FINE_PIXELS: Final = 12
_SMOOTH_PIXELS: Final = 20
_COARSE_PIXELS: Final = 20
"""So many in one window are ink."""
_GRAIN: Final = 1.5
"""At the lowest level, grain is seen as well: this many times the mean of all windows is expected in the fullest."""
_SPOT_LEVELS: Final = 24
"""One spot of 3 × 3 px that differs by as much is ink: a full stop."""
_SHADE_LEVELS: Final = 40
"""Within the page, light may change by as much; beyond, it is a picture without edges."""
_CENTRE: Final = 0.15
"""The centre begins at this fraction of the page; what `surround` fills is nearer to the edges."""
_EDGE: Final = 0.1
_EDGE_PARTS: Final = 8
"""Within a tenth of the page from an edge, the light is averaged along it over an eighth of its length."""
_FRAME_PX: Final = 2
"""The outermost pixels are often a line that the scanner adds."""


def measure_ink(page: Image.Image) -> float:
    """Return how much a page shows in units of the least that counts as ink: below 1 the page is blank.

    Args:
        page: In mode L or RGB, upright or not.
    """
    factor = min(_MAX_FACTOR, max(1, min(page.size) // _SHORT_EDGE_PX))
    small = page.reduce(factor) if factor > 1 else page
    width, height = small.size
    left, top = round(_CENTRE * width), round(_CENTRE * height)
    if min(left, top) > 2 * _CELL_PX:  # most pages show there at once that they are not blank
        ink = _measure(_bands(small.crop((left, top, width - left, height - top))))
        if ink >= 1:
            return ink
    bands = _bands(small)
    fill = find_surround(bands[0] if len(bands) == 1 else small.convert("L"))
    if fill is None:
        return _measure(bands)
    around = fill.invert()
    return max(_measure([fill.apply(band) for band in bands]), _measure([around.apply(band) for band in bands]))


def _measure(bands: Sequence[Image.Image]) -> float:
    """Return the ink of channels, see `measure_ink`."""
    smooth = [band.filter(ImageFilter.BoxBlur(1)) for band in bands]
    around = [band.filter(ImageFilter.BoxBlur(12)) for band in bands]
    spots = _differ(smooth, around)
    coarse = [band.reduce(4) for band in bands]
    wide = _differ(coarse, [band.filter(ImageFilter.BoxBlur(10)) for band in coarse])
    fine = _differ(bands, around)
    quiet, grain = _count_in_windows(fine, _QUIET_LEVELS)
    return max(
        (quiet - _GRAIN * grain) / _QUIET_PIXELS,
        _count_in_windows(fine, _FINE_LEVELS)[0] / _FINE_PIXELS,
        _count_in_windows(spots, _SMOOTH_LEVELS)[0] / _SMOOTH_PIXELS,
        _count_in_windows(wide, _COARSE_LEVELS)[0] / _COARSE_PIXELS,
        spots.getextrema()[1] / _SPOT_LEVELS,  # type: ignore[operator]
        max(map(_shade, bands)) / _SHADE_LEVELS,
    )


def _bands(page: Image.Image) -> list[Image.Image]:
    """Return the channels; one for grey: pale yellow differs from white in blue alone."""
    red, *others = page.split()
    if all(ImageChops.difference(red, other).getbbox() is None for other in others):
        return [red]
    return [red, *others]


def _differ(bands: Sequence[Image.Image], around: Sequence[Image.Image]) -> Image.Image:
    """Return by how much each pixel differs from what is around it, in the channel where it differs most."""
    largest = reduce(ImageChops.lighter, map(_differ_from_light, bands, around))
    framed = Image.new("L", largest.size)
    box = (_FRAME_PX, _FRAME_PX, largest.width - _FRAME_PX, largest.height - _FRAME_PX)
    if min(largest.size) > 2 * _FRAME_PX:
        framed.paste(largest.crop(box), box[:2])
    return framed


def _differ_from_light(band: Image.Image, around: Image.Image) -> Image.Image:
    """Return by how much each pixel of a channel differs; near an edge from the light along this edge, if that is less.

    At a gutter the light falls within a centimetre, which no average over a disc follows.
    """
    differences = ImageChops.difference(band, around)
    width, height = band.size
    for is_upright, depth in ((True, max(1, round(_EDGE * width))), (False, max(1, round(_EDGE * height)))):
        for begin in (0, (width if is_upright else height) - depth):
            box = (begin, 0, begin + depth, height) if is_upright else (0, begin, width, begin + depth)
            part = band.crop(box)
            profile = part.resize((depth, _EDGE_PARTS) if is_upright else (_EDGE_PARTS, depth), Image.Resampling.BOX)
            light = profile.resize(part.size, Image.Resampling.BICUBIC)
            differences.paste(ImageChops.darker(differences.crop(box), ImageChops.difference(part, light)), box[:2])
    return differences


def _count_in_windows(differences: Image.Image, levels: int) -> tuple[float, float]:
    """Return how many pixels of a window differ by at least so many levels: the most, and the mean."""
    marked = differences.point([0] * levels + [255] * (256 - levels))
    cells = marked.reduce(_CELL_PX)
    width, height = cells.size
    data = cells.tobytes()
    rows = [data[row * width : (row + 1) * width] for row in range(height)]
    pairs = [[left + right for left, right in zip(row, row[1:] + b"\0", strict=True)] for row in rows]
    below = [*pairs[1:], [0] * width]
    most = max(max(map(sum, zip(*two, strict=True))) for two in zip(pairs, below, strict=True))
    pixels = _CELL_PX**2 / 255
    return most * pixels, 4 * sum(data) / len(data) * pixels


def _shade(band: Image.Image) -> float:
    """Return how much the light changes within the page, without its margins, in grey levels."""
    width, height = band.size
    inner = band.crop((width // 8, height // 8, width - width // 8, height - height // 8))
    low, high = inner.resize((16, 16), Image.Resampling.BOX).getextrema()
    return float(high) - float(low)  # type: ignore[arg-type]
