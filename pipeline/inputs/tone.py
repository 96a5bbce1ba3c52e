"""The tone of a page: which levels are its ink and its paper, and the page with black ink on white paper.

One straight line per channel, so a level can be mapped back: black is the same level in all channels, so that coloured
ink keeps its colour, and each channel has its own white, so that yellowed paper becomes white. Pages that are not dark
ink on light paper, such as photographs and light type on a dark ground, have no such levels, and stay.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from PIL import Image

GOOD_CONTRAST: Final = 140
"""Levels between ink and paper from which a page is left alone. Measured on real pages: receipts and web pages with
more contrast than that were read worse as often as better when they were stretched."""

_SAMPLE_PX: Final = 800
_MARGIN: Final = 0.07
"""Of each edge, that is not measured: black borders and punch holes are there."""
_MIN_PAPER: Final = 96
"""Level of the paper; a darker ground is meant to be dark."""
_MIN_PAPER_SHARE: Final = 0.5
_MAX_NOISE: Final = 10
_MIN_TINT: Final = 0.6
"""Least level of the paper's darkest channel relative to its lightest: blue slides are no yellowed paper (0.72)."""
_MIN_INK_SHARE: Final = 0.0002
"""Of the page: a word of ten letters on A4."""
_MIN_GAP: Final = 16
_MIN_GAP_NOISE: Final = 6
"""Levels between ink and paper, also in standard deviations of the paper's noise, which would be taken for ink."""
_BLACK_QUANTILE: Final = 0.05
"""Of the ink. Little, so that the dark parts of a picture keep their details: then the page stays as it is."""
_WHITE_NOISE: Final = 2
"""Standard deviations below the paper's level that are white."""


class Levels(NamedTuple):
    """What a page's tone curve takes for black and white.

    Attributes:
        black: The level that becomes 0, in each channel.
        whites: The level of each channel that becomes 255.
    """

    black: int
    whites: tuple[int, ...]

    def apply(self, page: Image.Image) -> Image.Image:
        """Return a page of as many channels with these levels: 255·(level - black) / (white - black), cut to 0…255."""
        return page.point([level for white in self.whites for level in _curve(self.black, white)])


class _Channel(NamedTuple):
    """Levels of a channel: `noise` is the standard deviation of the paper, `ink` None where there is too little."""

    ink: int | None
    paper: int
    noise: int
    is_on_paper: bool


def measure_levels(page: Image.Image) -> Levels | None:
    """Return the levels of a page's ink and paper; None where they are right, or not sure.

    Args:
        page: In mode L or RGB.
    """
    left, top = (round(_MARGIN * edge) for edge in page.size)
    inner = page.crop((left, top, page.width - left, page.height - top))
    scale = min(1.0, _SAMPLE_PX / max(inner.size))
    # nearest pixels: means would show thin strokes lighter than they are
    sample = inner.resize([max(1, round(edge * scale)) for edge in inner.size], Image.Resampling.NEAREST)
    channels = [_measure(band.histogram()) for band in sample.split()]
    inks = [channel.ink for channel in channels if channel.ink is not None]
    if not inks or not all(channel.is_on_paper for channel in channels):
        return None
    papers = [channel.paper for channel in channels]
    grey = channels[0] if len(channels) == 1 else _measure(sample.convert("L").histogram())
    is_faint = grey.ink is not None and grey.paper - grey.ink < GOOD_CONTRAST
    if not is_faint or min(papers) < _MIN_TINT * max(papers):
        return None
    black = min(inks)
    whites = tuple(channel.paper - _WHITE_NOISE * channel.noise for channel in channels)
    return Levels(black, whites) if min(whites) - black >= _MIN_GAP else None


def _measure(histogram: Sequence[int]) -> _Channel:
    total = sum(histogram)
    smooth = [sum(histogram[max(0, level - 2) : level + 3]) for level in range(256)]
    paper = max(range(256), key=smooth.__getitem__)
    noise = max(1, _quantile(histogram[paper:], 0.68))
    gap = max(_MIN_GAP, _MIN_GAP_NOISE * noise)
    darker, lighter = sum(histogram[: max(0, paper - gap)]), sum(histogram[paper + gap :])
    near = sum(histogram[max(0, paper - gap) : paper + gap])
    is_on_paper = paper >= _MIN_PAPER and noise <= _MAX_NOISE and near >= _MIN_PAPER_SHARE * total and lighter <= darker
    ink = _quantile(histogram[: paper - gap], _BLACK_QUANTILE) if darker >= max(1, _MIN_INK_SHARE * total) else None
    return _Channel(ink, paper, noise, is_on_paper)


def _quantile(histogram: Sequence[int], share: float) -> int:
    """Return the lowest level at or below which this share is."""
    wanted = share * sum(histogram)
    return next(level for level, reached in enumerate(accumulate(histogram)) if reached >= wanted)


def _curve(black: int, white: int) -> list[int]:
    return [min(255, max(0, round(255 * (level - black) / (white - black)))) for level in range(256)]
