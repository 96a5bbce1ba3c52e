"""By how much a page is skewed: found by the projection profiles of its parts, or not at all.

The ink of level lines is in few rows of a page, so the profile of its rows is the sharpest at the angle of its lines
(Postl 1986, "Detection of linear oblique structures and skew scan in digitized documents"). Columns of vertical
writing, and of tables, are found in the same way by the profile of the page's columns.

The page is cut into blocks, and each of them votes. A picture or a slanted stamp spoils the votes of its own blocks
only. Where the votes do not agree, as on a drawing, or on curled paper, whose lines rise at one side and fall at the
other, there is no angle.
"""

import math
import statistics
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from PIL import Image

from pipeline.inputs.page_ink import extract_ink, shrink

MAX_SKEW_DEG: Final = 15.0
"""A page at a larger angle was laid on the glass that way on purpose, or is a photograph, which has no single angle."""

MIN_SKEW_DEG: Final = 0.5
"""A page that is skewed by less is left alone: Tesseract and our engine read it as well as a level one, and turning
blurs it. Of real forms at 75 dpi, two that were skewed by 0.35 degrees were read a little worse deskewed."""

_MIN_EDGE_PX: Final = 64
_MIN_RISE_PX: Final = 4
"""Least rise of a line along the page's long edge, below which angles are guessed: a level line of 266 px that was cut
out of a screenshot got 0.3 degrees."""

_FINE_PX, _COARSE_PX = 1400, 700
"""Long edge of the copies that are measured. At 1400 px, 0.1 degrees are 1 px over half the width of a page."""
_BLOCKS: Final = 3
"""Blocks along each edge of the page."""
_STRIPS: Final = 64
"""Strips of a block: the mean of a few pixels beside each other, which are moved up or down together."""
_PHASE_PX: Final = 0.2113
"""Moves level strips between two rows, where the interpolation blurs them as much as it blurs moved strips on average:
f·(1 - f) = 1/6. Without it a page at 0.4 degrees is the sharpest at 0, where nothing is interpolated."""
_COARSE_DEG: Final = 0.5
_FINE_DEG: Final = 0.1
_FINE_STEPS: Final = 6

_MIN_CONTRAST: Final = 24
"""Levels from which a block has ink."""
_MIN_PEAK: Final = 2.0
"""Least sharpness at a block's angle, relative to the median of all angles, with which it has a vote."""
_MAX_PEAK: Final = 10.0
"""Sharpness from which a vote counts no more: a line of a table would outvote the page."""
_AGREEMENT_DEG: Final = 0.75
_MIN_AGREEMENT: Final = 0.6
"""Least share of the votes, by weight, that are for the page's angle."""
_MIN_VOTES: Final = 3


@dataclass(frozen=True, slots=True)
class _Block:
    """A part of a page, for one direction of the profile.

    Attributes:
        ink: In mode L, `_STRIPS` wide; 0 where there is none.
        strip_px: Width of a strip in px of the copy.
    """

    ink: Image.Image
    strip_px: float

    def sharpness(self, angle_deg: float) -> float:
        """Return the mean square of the profile's differences, along lines at this angle, clockwise."""
        width, height = self.ink.size
        slope = math.tan(math.radians(angle_deg)) * self.strip_px
        shear = (1, 0, 0, slope, 1, _PHASE_PX - slope * width / 2)
        moved = self.ink.transform(self.ink.size, Image.Transform.AFFINE, shear, Image.Resampling.BILINEAR)
        profile = array("f", moved.convert("F").resize((1, height), Image.Resampling.BOX).tobytes())
        margin = min(int(abs(slope) * width / 2) + 1, height // 4)  # rows that are not in all strips
        inner = profile[margin : height - margin]
        return sum((one - other) ** 2 for one, other in pairwise(inner)) / len(inner)


@dataclass(frozen=True, slots=True)
class _Vote:
    """A block's sharpness by angle, relative to its median; `place` finds it in another copy of the page."""

    place: int
    curve: Sequence[float]

    @property
    def weight(self) -> float:
        return min(max(self.curve), _MAX_PEAK) - 1

    def angle_deg(self, angles: Sequence[float]) -> float:
        return angles[self.curve.index(max(self.curve))]


def measure_skew_deg(page: Image.Image) -> float:
    """Return the angle of a page's lines, clockwise, within ±`MAX_SKEW_DEG`; 0 where it is small or not sure.

    Args:
        page: In mode L or RGB.
    """
    if min(page.size) < _MIN_EDGE_PX:
        return 0.0
    ink = extract_ink(page, _FINE_PX)
    steps = round(MAX_SKEW_DEG / _COARSE_DEG)
    angles = [step * _COARSE_DEG for step in range(-steps, steps + 1)]
    votes = [vote for vote in _vote(shrink(ink, _COARSE_PX), angles) if max(vote.curve) >= _MIN_PEAK]
    if not votes:
        return 0.0
    totals = [sum(vote.weight * vote.curve[i] / max(vote.curve) for vote in votes) for i in range(len(angles))]
    best = angles[totals.index(max(totals))]
    agreeing = [vote for vote in votes if abs(vote.angle_deg(angles) - best) <= _AGREEMENT_DEG]
    share = sum(vote.weight for vote in agreeing) / sum(vote.weight for vote in votes)
    if len(agreeing) < _MIN_VOTES or share < _MIN_AGREEMENT or abs(best) == MAX_SKEW_DEG:
        return 0.0
    refined = _refine(ink, best, {vote.place for vote in agreeing})
    least_deg = max(MIN_SKEW_DEG, math.degrees(_MIN_RISE_PX / max(page.size)))
    return refined if abs(refined) >= least_deg else 0.0


def _cut(ink: Image.Image) -> list[_Block]:
    """Return the blocks for the profile of the rows, then those for the profile of the columns."""
    blocks = []
    for turned in (ink, ink.transpose(Image.Transpose.ROTATE_90)):
        xs, ys = ([edge * i // _BLOCKS for i in range(_BLOCKS + 1)] for edge in turned.size)
        for row in range(_BLOCKS):
            for column in range(_BLOCKS):
                part = turned.crop((xs[column], ys[row], xs[column + 1], ys[row + 1]))
                strips = part.resize((_STRIPS, part.height), Image.Resampling.BOX)
                blocks.append(_Block(strips, part.width / _STRIPS))
    return blocks


def _vote(ink: Image.Image, angles: Sequence[float]) -> Iterable[_Vote]:
    """Yield the votes of the blocks that have ink."""
    for place, block in enumerate(_cut(ink)):
        _, darkest = block.ink.getextrema()
        assert isinstance(darkest, int | float)
        if darkest < _MIN_CONTRAST:
            continue
        curve = [block.sharpness(angle) for angle in angles]
        if (median := statistics.median(curve)) > 0:
            yield _Vote(place, [value / median for value in curve])


def _refine(ink: Image.Image, angle_deg: float, places: set[int]) -> float:
    """Return the angle near another one at which these blocks are the sharpest, between the steps by a parabola."""
    angles = [angle_deg + step * _FINE_DEG for step in range(-_FINE_STEPS, _FINE_STEPS + 1)]
    blocks = _cut(ink)
    curves = [[blocks[place].sharpness(angle) for angle in angles] for place in places]
    totals = [sum(curve[i] / max(curve) for curve in curves) for i in range(len(angles))]
    top = min(max(totals.index(max(totals)), 1), len(angles) - 2)
    before, peak, after = totals[top - 1 : top + 2]
    bend = before - 2 * peak + after
    offset = (before - after) / (2 * bend) if bend < 0 else 0.0
    return round(angles[top] + min(1.0, max(-1.0, offset)) * _FINE_DEG, 2)
