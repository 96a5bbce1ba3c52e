"""Decides which pages are not worth a call: images below a size, and blank pages."""

from PIL import Image

from pipeline.inputs.blank import measure_ink
from pipeline.inputs.conversion_messages import PrepareSettings
from pipeline.skipped import BLANK, SMALLER, Skipped


class NotWorthACallError(Exception):
    """A page is not sent.

    Attributes:
        skipped: Why.
    """

    def __init__(self, skipped: Skipped) -> None:
        super().__init__(skipped.reason)
        self.skipped = skipped


def find_smaller(size_px: tuple[int, int], settings: PrepareSettings) -> Skipped | None:
    """Return why an image of this (width, height) is too small to be sent; None when it is not."""
    edge_px = max(size_px)
    return Skipped(SMALLER, float(edge_px)) if edge_px < settings.skips_below_px else None


def require_size(size_px: tuple[int, int], settings: PrepareSettings) -> None:
    """Return when an image is large enough to be sent.

    Raises:
        NotWorthACallError: it is smaller than asked for.
    """
    if (skipped := find_smaller(size_px, settings)) is not None:
        raise NotWorthACallError(skipped)


def require_ink(page: Image.Image, settings: PrepareSettings) -> None:
    """Return when a page may show text, or blank pages are not skipped.

    Args:
        page: Decoded, in mode L or RGB.
        settings: Whether blank pages are skipped.

    Raises:
        NotWorthACallError: it is blank.
    """
    if settings.skips_blank and (ink := measure_ink(page)) < 1:
        raise NotWorthACallError(Skipped(BLANK, round(ink, 3)))
