"""Pages that are cut into tiles: their pixels, kept from one tile to the next, and where they are cut."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from PIL import Image

from pipeline.convert.pdf import PdfFile
from pipeline.inputs.encoding import make_fit
from pipeline.inputs.fit import Fit
from pipeline.inputs.quiet import find_bands
from pipeline.inputs.tiling import Bands, Cuts, place_tiles
from pipeline.tiles import Box, Tile

MAX_KEPT_BYTES: Final = 256 * 1024 * 1024
"""A worker keeps the pixels of a page up to this size for the next tile; a larger page is decoded for each tile.
A screenshot of 1080×80,000 px in colour is as large."""


class Pixels(Protocol):
    """The pixels of an upright page."""

    @property
    def kept_bytes(self) -> int:
        """Memory that they take while no tile is made."""
        ...

    def crop(self, box: Box) -> Image.Image:
        """Return a part of the page as it is in the source."""
        ...

    def fit(self, box: Box, needed: Fit) -> Image.Image:
        """Return a part of the page that is made to fit."""
        ...


class DecodedPage:
    """A decoded page.

    Args:
        image: Upright, in mode L or RGB.
    """

    def __init__(self, image: Image.Image) -> None:
        self._image = image

    def __repr__(self) -> str:
        return f"<DecodedPage {self._image.size}>"

    @property
    def kept_bytes(self) -> int:
        """Memory that it takes."""
        return math.prod(self._image.size) * len(self._image.getbands())

    def crop(self, box: Box) -> Image.Image:
        """Return a part of the page."""
        return self._image.crop(box)

    def fit(self, box: Box, needed: Fit) -> Image.Image:
        """Return a part of the page that is made to fit."""
        return make_fit(self.crop(box), needed, 1)


class RenderedPage:
    """A page of a PDF, of which each part is rendered by itself.

    Args:
        file: The document.
        number: Of the page, 1-based.
        size_px: (width, height) of the whole page at the resolution of the source.
    """

    kept_bytes = 0

    def __init__(self, file: PdfFile, number: int, size_px: tuple[int, int]) -> None:
        self._file = file
        self._number = number
        self._size_px = size_px

    def __repr__(self) -> str:
        return f"<RenderedPage {self._number}>"

    def crop(self, box: Box) -> Image.Image:
        """Return a part of the page."""
        return self._render(box, 1, (box[2] - box[0], box[3] - box[1]))

    def fit(self, box: Box, needed: Fit) -> Image.Image:
        """Return a part of the page, rendered at the size that fits."""
        return make_fit(self._render(box, needed.scale, needed.scaled_px), needed, 1)

    def _render(self, box: Box, scale: float, part_px: tuple[int, int]) -> Image.Image:
        whole = round(self._size_px[0] * scale), round(self._size_px[1] * scale)
        with self._file.open(self._number) as page:
            return page.render(part_px, whole_px=whole, at_px=(round(box[0] * scale), round(box[1] * scale)))


class CutPageError(Exception):
    """A page needs several calls: raised where its size is known, caught by the converter.

    Attributes:
        cuts: How many, and how long its tiles are.
        pixels: Of the upright page.
        rotation_deg: The clockwise rotation that made the page upright.
        source_px: (width, height) of the upright page; None for a page of a PDF.
    """

    def __init__(self, cuts: Cuts, pixels: Pixels) -> None:
        super().__init__()
        self.cuts = cuts
        self.pixels = pixels
        self.rotation_deg = 0
        self.source_px: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class CutPage:
    """A page that is cut: its pixels, and the rotation that made it upright."""

    number: int
    pixels: Pixels
    rotation_deg: int


def find_tiles(cuts: Cuts, pixels: Pixels) -> tuple[Tile, ...]:
    """Return the tiles of a page, which meet in blank bands where there are any."""
    return place_tiles(cuts, partial(_find_bands, cuts, pixels))


def _find_bands(cuts: Cuts, pixels: Pixels, begin: int, end: int) -> Bands:
    strip = pixels.crop(cuts.box(begin, end))
    if not cuts.is_tall:
        strip = strip.transpose(Image.Transpose.TRANSPOSE)
    return [(begin + first, begin + last) for first, last in find_bands(strip, cuts.quiet_px)]
