"""Corrections of a page that are made when they are asked for: turned upright, deskewed, with more contrast.

Each is made only where it is sure, and recorded so that a point of the sent image can be found in the source.
"""

import math
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, NamedTuple

from PIL import Image

from pipeline.corrections import Corrections
from pipeline.errors import UnfittableImageError
from pipeline.inputs.conversion_messages import PrepareSettings
from pipeline.inputs.fit import Fit, fit
from pipeline.inputs.skew_angle import measure_skew_deg
from pipeline.inputs.text_direction import measure_turn_deg
from pipeline.inputs.tone import Levels, measure_levels
from pipeline.pixels.affine import IDENTITY, Affine, orienting, rotated_size_px, rotating, scaling, shift
from pipeline.pixels.orientation import TURNED_BY, turn_upright, upright_size_px
from pipeline.wire import Limits

_SMALL_PX: Final = 64
"""Edge of the copy whose median is the colour of the paper."""


@dataclass(frozen=True, slots=True)
class Correction:
    """What is done to an upright page.

    Attributes:
        turned_deg: Clockwise turn that makes its text upright: 0, 90, 180 or 270.
        deskewed_deg: Clockwise turn after that, which makes its lines level.
        levels: Its ink and paper; None leaves the tone alone.
    """

    turned_deg: int = 0
    deskewed_deg: float = 0.0
    levels: Levels | None = None

    def __bool__(self) -> bool:
        """Return whether anything is done."""
        return self != _NOTHING


_NOTHING: Final = Correction()


class Source(NamedTuple):
    """Where a page comes from.

    Attributes:
        stored_px: (width, height) as the file stores it.
        decoded_as: EXIF orientation by which its decoder turns it: a TIFF's; 1 for other formats.
        orientation: EXIF orientation by which it is turned afterwards.
    """

    stored_px: tuple[int, int]
    decoded_as: int = 1
    orientation: int = 1

    def decoded_px(self) -> tuple[int, int]:
        """Return (width, height) as decoded."""
        return upright_size_px(self.stored_px, self.decoded_as)

    def upright_px(self) -> tuple[int, int]:
        """Return (width, height) of the upright page."""
        return upright_size_px(self.decoded_px(), self.orientation)


class Corrected(NamedTuple):
    """A corrected page: the image within the limits for edges, its scale, and its map from the source's pixels."""

    image: Image.Image
    scale: float
    from_source: Affine


def find_correction(page: Image.Image, source: Source, settings: PrepareSettings) -> Correction:
    """Return what is to be corrected on a page.

    Args:
        page: Decoded, in mode L or RGB, in the source's size or reduced.
        source: Where it comes from.
        settings: What was asked for.
    """
    upright = turn_upright(page, source.orientation)
    turned_deg = measure_turn_deg(upright) if settings.auto_rotate else 0
    deskewed_deg = 0.0 - measure_skew_deg(upright) if settings.deskew else 0.0  # never -0.0
    try:
        _fit(upright_size_px(source.upright_px(), TURNED_BY[turned_deg]), deskewed_deg, settings.limits)
    except UnfittableImageError:  # the room for its corners would make a page of the longest edge too small
        deskewed_deg = 0.0
    return Correction(turned_deg, deskewed_deg, measure_levels(page) if settings.contrast else None)


def correct(page: Image.Image, source: Source, correction: Correction, limits: Limits) -> Corrected:
    """Return a page scaled, turned, corrected and padded.

    Args:
        page: Decoded, in mode L or RGB, in the source's size or reduced.
        source: Where it comes from.
        correction: What is done to it.
        limits: What the service accepts.

    Raises:
        UnfittableImageError: see `fit`.
    """
    page.info.clear()  # see `make_fit`
    turn = TURNED_BY[correction.turned_deg]
    needed = _fit(upright_size_px(source.upright_px(), turn), correction.deskewed_deg, limits)
    scaled_px = upright_size_px(upright_size_px(needed.scaled_px, turn), source.orientation)
    image = page if page.size == scaled_px else page.resize(scaled_px, Image.Resampling.LANCZOS, reducing_gap=3.0)
    moved = orienting(source.stored_px, source.decoded_as).then(scaling(source.decoded_px(), scaled_px))
    for orientation in (source.orientation, turn):
        moved = moved.then(orienting(image.size, orientation))
        image = turn_upright(image, orientation)
    if correction.levels is not None:
        image = correction.levels.apply(image)
    placed = _place(image.size, correction.deskewed_deg, needed.padded_px)
    return Corrected(_draw(image, placed, needed.padded_px), needed.scale, moved.then(placed))


def describe(correction: Correction, from_source: Affine) -> Corrections:
    """Return what the record says of a correction.

    Args:
        correction: What was done to the page.
        from_source: The map from the stored image to the sent one.
    """
    a, b, c, d, e, f = from_source.inverse()
    levels = correction.levels
    return Corrections(
        turned_deg=correction.turned_deg,
        deskewed_deg=correction.deskewed_deg,
        levels=None if levels is None else (levels.black, *levels.whites),
        # 1e-8 of 30,000 px is less than a thousandth of a pixel; adding zero makes 0.0 of -0.0
        to_source=(
            *(round(a, 8) + 0.0, round(b, 8) + 0.0, round(c, 3) + 0.0),
            *(round(d, 8) + 0.0, round(e, 8) + 0.0, round(f, 3) + 0.0),
        ),
    )


def _fit(upright_px: tuple[int, int], deskewed_deg: float, limits: Limits) -> Fit:
    """Return what makes a page acceptable that is deskewed after it was scaled, corners included."""
    around_px = rotated_size_px(upright_px, deskewed_deg)
    needed = fit(around_px, limits, math.prod(around_px))
    if deskewed_deg == 0:
        return needed
    width, height = (max(1, round(edge * needed.scale)) for edge in upright_px)
    edges = (min(limits.max_edge_px, edge) for edge in rotated_size_px((width, height), deskewed_deg))
    padded_width, padded_height = (max(limits.min_edge_px, edge) for edge in edges)
    return Fit(needed.scale, (width, height), (padded_width, padded_height))


def _place(size_px: tuple[int, int], deskewed_deg: float, canvas_px: tuple[int, int]) -> Affine:
    """Return the map of a page to the canvas in whose middle it is; by whole pixels when it is not deskewed."""
    if deskewed_deg == 0:
        return shift((canvas_px[0] - size_px[0]) // 2, (canvas_px[1] - size_px[1]) // 2)
    return rotating(size_px, deskewed_deg, canvas_px)


def _draw(image: Image.Image, placed: Affine, canvas_px: tuple[int, int]) -> Image.Image:
    if image.size == canvas_px and placed == IDENTITY:
        return image
    if (placed.a, placed.e) == (1, 1):
        canvas = Image.new(image.mode, canvas_px, "white")
        canvas.paste(image, (round(placed.c), round(placed.f)))
        return canvas
    fill = _paper_colour(image)
    to_image = placed.inverse()
    return image.transform(canvas_px, Image.Transform.AFFINE, to_image, Image.Resampling.BICUBIC, fillcolor=fill)


def _paper_colour(image: Image.Image) -> tuple[int, ...]:
    """Return the median level of each channel, with which the corners beside a deskewed page are filled."""
    small = image.resize((_SMALL_PX, _SMALL_PX), Image.Resampling.NEAREST)
    half = _SMALL_PX * _SMALL_PX / 2
    medians = []
    for band in small.split():
        reached = accumulate(band.histogram())
        medians.append(next(level for level, pixels in enumerate(reached) if pixels >= half))
    return tuple(medians)
