"""Scans for tests of blank pages: sheets with little on them, and empty ones, each as a scanner might deliver it.

A page is drawn for a resolution in dpi, put on paper, and then scanned: light, noise, the dark lid around it, JPEG.
"""

import random
from io import BytesIO
from typing import Final

from PIL import Image, ImageChops, ImageDraw, ImageFont, ImageOps

WHITE: Final = (252, 252, 252)
YELLOWED: Final = (236, 222, 188)
WORDS: Final = ("and", "the", "letter", "of", "May", "was", "read", "before", "council", "noon", "hall", "town")
_SIZES_MM: Final = ((210, 297), (148, 210), (210, 297), (297, 210), (216, 356))
_DPI: Final = (150, 200, 100, 300, 150)
_GLYPHS: Final = (
    ((0, 2, 10, 2), (0, 2, 0, 7), (10, 2, 10, 7), (0, 7, 10, 7), (5, 0, 5, 11)),
    ((0, 1, 10, 1), (1, 5, 9, 5), (0, 10, 10, 10), (5, 1, 5, 10)),
    ((5, 0, 0, 10), (5, 2, 10, 10), (2, 6, 8, 6)),
    ((0, 0, 10, 0), (10, 0, 10, 10), (0, 0, 0, 10), (0, 10, 10, 10), (5, 0, 5, 10), (0, 5, 10, 5)),
)
"""Strokes of Chinese characters on a square of 10 units; no font of the machine is needed."""

Colour = tuple[int, int, int]


class Sheet:
    """A sheet of paper on which a test draws in millimetres and points.

    Args:
        seed: Decides size, resolution, place and words.
        paper: Its colour.
    """

    def __init__(self, seed: int, paper: Colour = WHITE) -> None:
        self.random = random.Random(seed)
        self.dpi = _DPI[seed % len(_DPI)]
        self.paper = paper
        self.size_mm = _SIZES_MM[seed % len(_SIZES_MM)]
        self.image = Image.new("RGB", (self.px(self.size_mm[0]), self.px(self.size_mm[1])), paper)
        self.draw = ImageDraw.Draw(self.image)

    def px(self, mm: float) -> int:
        """Return a length in px."""
        return round(mm / 25.4 * self.dpi)

    def shade(self, levels: int) -> Colour:
        """Return an ink that is darker than the paper, or lighter, by so many levels."""
        red, green, blue = (min(255, max(0, value - levels)) for value in self.paper)
        return red, green, blue

    def write(self, x_mm: float, y_mm: float, text: str, ink: Colour, points: float = 10) -> None:
        """Write a text whose top left corner is here."""
        size = max(6.0, points / 72 * self.dpi)
        self.draw.text((self.px(x_mm), self.px(y_mm)), text, ink, ImageFont.load_default(size))

    def write_lines(
        self, number: int, ink: Colour, points: float = 10, left_mm: float = 25, top_mm: float = 30
    ) -> None:
        """Write lines of random words."""
        for line in range(number):
            words = " ".join(self.random.choices(WORDS, k=7))
            self.write(left_mm, top_mm + line * points * 0.53, words, ink, points)

    def write_chinese(self, x_mm: float, y_mm: float, number: int, ink: Colour, size_mm: float = 3.7) -> None:
        """Write characters of thin strokes in a line."""
        unit = size_mm / 10
        for place in range(number):
            left = x_mm + place * size_mm * 1.25
            for x1, y1, x2, y2 in self.random.choice(_GLYPHS):
                ends = (left + x1 * unit, y_mm + y1 * unit, left + x2 * unit, y_mm + y2 * unit)
                self.draw.line([self.px(value) for value in ends], ink, max(1, self.px(0.28)))

    def anywhere(self, margin_mm: float = 15) -> tuple[float, float]:
        """Return a random place on the sheet, not near its edges."""
        width, height = self.size_mm
        return self.random.uniform(margin_mm, width - 3 * margin_mm), self.random.uniform(
            margin_mm, height - 2 * margin_mm
        )


def add_noise(image: Image.Image, rng: random.Random, sigma: float, *, grain_px: int = 1) -> Image.Image:
    """Return the image with noise of this standard deviation; coarser grain is the texture of paper."""
    size = (-(-image.width // grain_px), -(-image.height // grain_px))
    bands = []
    shared: Image.Image | None = None
    for band in image.split():
        if shared is None or grain_px == 1:
            parts = [Image.frombytes("L", size, rng.randbytes(size[0] * size[1])) for _ in range(4)]
            mean = ImageChops.add(ImageChops.add(parts[0], parts[1], 2), ImageChops.add(parts[2], parts[3], 2), 2)
            if grain_px > 1:
                mean = mean.resize(image.size, Image.Resampling.BICUBIC)
            shared = mean.point([round(128 + (value - 127) * sigma / 36.8) for value in range(256)])
        bands.append(ImageChops.add(band, shared, 1, -128))
    return Image.merge(image.mode, bands)


def shade_edges(image: Image.Image, sides: str, depth: float, levels: int) -> Image.Image:
    """Return the image darkened towards sides ("l", "r", "t", "b") as at a gutter, over a fraction of its width."""
    ramp = Image.new("L", (256, 1))
    ramp.putdata([round(255 - levels * max(0.0, 1 - value / 255 / depth) ** 2) for value in range(256)])
    light = ramp.resize(image.size, Image.Resampling.BICUBIC)
    for side in sides:
        turned = {"l": light, "r": ImageOps.mirror(light)}.get(side)
        if turned is None:
            turned = ramp.rotate(-90 if side == "t" else 90, expand=True).resize(image.size, Image.Resampling.BICUBIC)
        image = Image.merge("RGB", [ImageChops.multiply(band, turned) for band in image.split()])
    return image


def lay_on_lid(
    image: Image.Image, rng: random.Random, *, angle: float = 0.0, lid: Colour = (28, 28, 30)
) -> Image.Image:
    """Return the scan of a sheet that is smaller than the scanner's glass, perhaps askew."""
    border = round(0.03 * image.width)
    size = (image.width + 2 * border, image.height + 2 * border)
    shift = rng.randint(-border // 3, border // 3)
    scan = Image.new("RGB", size, lid)
    mask = Image.new("L", size)
    place = (border + shift, border - shift)
    scan.paste(image, place)
    mask.paste(255, (*place, place[0] + image.width, place[1] + image.height))
    if angle:
        paper = Image.new("RGB", size, image.getpixel((image.width // 2, 1)))
        paper.paste(image, place)
        scan = Image.composite(
            paper.rotate(angle, Image.Resampling.BICUBIC, fillcolor=lid),
            Image.new("RGB", size, lid),
            mask.rotate(angle, Image.Resampling.BICUBIC),
        )
    return scan


def punch(sheet: Sheet, number: int = 2, colour: Colour = (30, 30, 32)) -> None:
    """Punch holes of 5.5 mm beside the left edge."""
    height = sheet.size_mm[1]
    for place in range(number):
        y = height / 2 + (place - (number - 1) / 2) * 80
        sheet.draw.ellipse([sheet.px(v) for v in (9.25, y - 2.75, 14.75, y + 2.75)], colour)


def as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    """Return the image after JPEG."""
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(BytesIO(buffer.getvalue())).convert(image.mode)


def add_dust(sheet: Sheet, number: int, px: int, levels: int) -> None:
    """Put specks on the sheet, far from each other on average."""
    for _ in range(number):
        x, y = sheet.random.randrange(sheet.image.width), sheet.random.randrange(sheet.image.height)
        sheet.draw.rectangle((x, y, x + px - 1, y + px - 1), sheet.shade(levels))
