"""Further looks at a page of which much ink is unread: the same page with its contrast stretched.

A detector that was trained on printed pages takes faint type for paper. The looks go from mild to strong, each on the
page as it was sent: the strong one also brings out noise, and the better reading is kept.
"""

from collections.abc import Callable
from typing import Final

import cv2
import numpy as np

from pipeline.engine.pixels import Pixels

DOUBTFUL_SHARE: Final = 0.5
"""Share of unread ink from which a page is looked at again. Measured: at most 0.42 on flat pages that were read well,
whose pictures and rules are unread; 0.6 on photographs with a background; 0.82 and more where text was lost."""

MIN_GAIN: Final = 0.02
"""Share of a page's ink that a further look must show to be kept: more contrast makes faint type legible, and other
type coarser. On a photographed receipt that lost no line the looks differ by 0.003; a faint page gains 0.5 and more."""

_CUT_OFF_PERCENT: Final = 1.0
"""Darkest and lightest pixels that the stretched levels leave out: dirt, reflections."""

_TILES: Final = (8, 8)
_CLIP_LIMIT: Final = 3.0
"""Contrast-limited adaptive histogram equalisation (Zuiderveld 1994), with OpenCV's usual tiles: for a page whose
lighting differs from place to place."""


def shows_more(unread_share: float, best_share: float) -> bool:
    """Return whether a further look at a page is kept.

    Args:
        unread_share: The share of the ink that it left unread.
        best_share: That of the best look so far.
    """
    return unread_share <= best_share - MIN_GAIN


def stretch(pixels: Pixels) -> Pixels:
    """Return the page with its levels stretched to the full range, the same for all three colours."""
    dark, light = np.percentile(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY), (_CUT_OFF_PERCENT, 100 - _CUT_OFF_PERCENT))
    levels = (np.arange(256) - dark) * (255 / max(1.0, light - dark))
    stretched: Pixels = cv2.LUT(pixels, np.clip(levels, 0, 255).astype(np.uint8))
    return stretched


def equalise(pixels: Pixels) -> Pixels:
    """Return the page with the contrast of its lightness equalised from place to place."""
    lab = cv2.cvtColor(pixels, cv2.COLOR_BGR2LAB)
    lab[:, :, 0] = cv2.createCLAHE(_CLIP_LIMIT, _TILES).apply(np.ascontiguousarray(lab[:, :, 0]))
    equalised: Pixels = cv2.cvtColor(lab, cv2.COLOR_LAB2BGR)
    return equalised


LOOKS: Final[tuple[Callable[[Pixels], Pixels], ...]] = (stretch, equalise)
