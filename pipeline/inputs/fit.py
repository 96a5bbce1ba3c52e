"""What the API takes as an image, and the least change that makes a page acceptable.

Source: the API's contract, "Images": JPEG, PNG, GIF, WebP; at most 10 MB; 100×100 to 4000×4000 px.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from pipeline.errors import DecompressionBombError, UnfittableImageError
from pipeline.wire import Limits

MAX_PIXELS: Final = 300_000_000
"""Default of `[prepare] max_pixels`: an A0 sheet at 300 dpi has 140 million pixels."""

MIN_LEGIBLE_EDGE_PX: Final = 8
"""An edge below this shows no character of any script: a call for such an image is wasted."""

_SHRUNK_EDGE_PX: Final = 500
_SHRUNK_SCALE: Final = 0.5
"""A page below both is no longer read. Measured: of 500 rows of 32 px type on a page of 1080×30,000 px, none was read
at 144×4000 px."""


@dataclass(frozen=True, slots=True)
class Fit:
    """What to do with a page: scale first, then pad.

    Attributes:
        scale: In (0, 1]; 1 leaves the pixels alone.
        scaled_px: (width, height) after scaling.
        padded_px: (width, height) after padding; the same when there is none.
    """

    scale: float
    scaled_px: tuple[int, int]
    padded_px: tuple[int, int]

    @property
    def untouched(self) -> bool:
        """True when the page needs neither scaling nor padding."""
        return self.scale == 1 and self.scaled_px == self.padded_px


def fit(size_px: tuple[int, int], limits: Limits, max_pixels: int = MAX_PIXELS) -> Fit:
    """Return what makes a page of this size acceptable.

    Args:
        size_px: (width, height) of the upright page, each >= 1.
        limits: What the service accepts.
        max_pixels: Most pixels that are decoded.

    Returns:
        The scale in (0, 1] and the padded size; scale 1 and no padding when it already fits.

    Raises:
        DecompressionBombError: the header announces more than `max_pixels`.
        UnfittableImageError: the page is too small to show a character, or would be when it is scaled down.

    Source:
        The API's contract, "Images".
    """
    require_legible(size_px, max_pixels)
    width, height = size_px
    ratio = min(Fraction(1), Fraction(limits.max_edge_px, max(width, height)))
    scaled = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    if min(scaled) < MIN_LEGIBLE_EDGE_PX or is_illegible(scaled, float(ratio)):
        raise UnfittableImageError(
            f"{width}×{height} px: scaled to {limits.max_edge_px} px its short edge has {min(scaled)} px, too few to be"
            " read; cut the image into pages"
        )
    padded = (max(scaled[0], limits.min_edge_px), max(scaled[1], limits.min_edge_px))
    return Fit(float(ratio), scaled, padded)


def require_legible(size_px: tuple[int, int], max_pixels: int = MAX_PIXELS) -> None:
    """Return for a page that is neither too large to be decoded nor too small to show a character.

    Args:
        size_px: (width, height) of the page.
        max_pixels: Most pixels that are decoded.

    Raises:
        DecompressionBombError: the header announces more than `max_pixels`.
        UnfittableImageError: the page is too small.
    """
    width, height = size_px
    if width * height > max_pixels:
        raise DecompressionBombError(
            f"{width}×{height} px is more than {max_pixels / 1_000_000:g} million pixels ([prepare] max_pixels)"
        )
    if min(size_px) < MIN_LEGIBLE_EDGE_PX:
        raise UnfittableImageError(f"{width}×{height} px: nothing is legible below {MIN_LEGIBLE_EDGE_PX} px")


def is_illegible(size_px: tuple[int, int], scale: float) -> bool:
    """Return whether a page was scaled down so far that its characters can no longer be read.

    Args:
        size_px: (width, height) after scaling.
        scale: Of the source.
    """
    return scale < _SHRUNK_SCALE and min(size_px) < _SHRUNK_EDGE_PX
