"""Pages that are skewed, turned or faint, as `--deskew`, `--auto-rotate` and `--contrast` are to correct them."""

import math
import random
from collections.abc import Callable
from typing import Final

from PIL import Image, ImageChops, ImageDraw

from tests.rendering import HAN, font, random_line, render, turned

PAGE_PX: Final = (1000, 1300)


def text_lines(seed: int, *, chinese: bool = False, lines: int = 20, length: int = 6) -> list[str]:
    """Return lines of random words."""
    rng = random.Random(seed)
    return [random_line(rng, chinese=chinese, length=length) for _ in range(lines)]


def text_page(seed: int, *, chinese: bool = False, lines: int = 20, type_px: int = 28) -> Image.Image:
    """Return a clean page of text in mode L."""
    return render(*text_lines(seed, chinese=chinese, lines=lines), size_px=PAGE_PX, type_px=type_px).convert("L")


def skewed(page: Image.Image, clockwise_deg: float, paper: int = 255) -> Image.Image:
    """Return a page whose lines are at this angle, clockwise, whole on new paper."""
    return page.rotate(-clockwise_deg, Image.Resampling.BICUBIC, expand=True, fillcolor=paper)


def toned(page: Image.Image, ink: int, paper: int, noise: float = 0.0) -> Image.Image:
    """Return a grey page whose black and white have these levels, with Gaussian noise of this standard deviation."""
    flat = page.point([round(ink + (paper - ink) * level / 255) for level in range(256)])
    if noise == 0:
        return flat
    return ImageChops.add(flat, Image.effect_noise(flat.size, noise), offset=-128)


def yellowed(page: Image.Image) -> Image.Image:
    """Return a grey page as brown ink on yellowed paper."""
    inks, papers = (110, 85, 60), (228, 208, 165)
    return Image.merge("RGB", [toned(page, *levels) for levels in zip(inks, papers, strict=True)])


def vertical_page(seed: int, size_px: int = 40) -> Image.Image:
    """Return columns of vertical Chinese writing, from the right."""
    rng = random.Random(seed)
    page = Image.new("L", (1000, 1400), 255)
    draw = ImageDraw.Draw(page)
    for column in range(9):
        for row in range(12 + rng.randrange(10)):
            place = (page.width - 80 - (column + 1) * 1.8 * size_px, 100 + 1.25 * size_px * row)
            draw.text(place, rng.choice(HAN), 0, font(size_px))
    return page


def _draw(change: Callable[[ImageDraw.ImageDraw, random.Random], None], seed: int = 1) -> Image.Image:
    page = Image.new("L", PAGE_PX, 255)
    change(ImageDraw.Draw(page), random.Random(seed))
    return page


def drawing(seed: int = 1) -> Image.Image:
    """Return a page of lines in all directions."""

    def lines(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
        for _ in range(60):
            draw.line([rng.randrange(edge) for edge in (*PAGE_PX, *PAGE_PX)], 0, 3)

    return _draw(lines, seed)


def hatching(angle_deg: float = 10.0) -> Image.Image:
    """Return a page that is hatched on purpose."""
    slope = math.tan(math.radians(angle_deg))

    def lines(draw: ImageDraw.ImageDraw, _: random.Random) -> None:
        for y in range(-400, 1700, 14):
            draw.line([100, y, 900, y + 800 * slope], 0, 2)

    return _draw(lines)


def table() -> Image.Image:
    """Return an empty ruled table."""

    def rules(draw: ImageDraw.ImageDraw, _: random.Random) -> None:
        for y in range(100, 1201, 55):
            draw.line([80, y, 920, y], 0, 2)
        for x in (80, 300, 640, 920):
            draw.line([x, 100, x, 1200], 0, 2)

    return _draw(rules)


def scribbles(seed: int = 1) -> Image.Image:
    """Return wavy lines that are no writing."""

    def waves(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
        for row in range(14):
            slope, pace = rng.uniform(-0.06, 0.06), rng.uniform(0.3, 1.2)
            points = [(80 + 3 * i, 80 + 80 * row + 3 * i * slope + 14 * math.sin(pace * i)) for i in range(280)]
            draw.line(points, 60, 3)

    return _draw(waves, seed)


def photograph(seed: int = 1) -> Image.Image:
    """Return blurred shapes of all levels, without text."""
    coarse = Image.frombytes("L", (25, 32), random.Random(seed).randbytes(25 * 32))
    return coarse.resize(PAGE_PX, Image.Resampling.BICUBIC)


def grey_border() -> Image.Image:
    """Return an empty sheet on a grey background, as a document feeder scans it."""
    page = Image.new("L", PAGE_PX, 90)
    ImageDraw.Draw(page).polygon([(40, 20), (970, 23), (962, 1290), (30, 1286)], 250)
    return page


def curled(page: Image.Image, bow_px: int = 50) -> Image.Image:
    """Return a page whose lines are bows."""
    bent = Image.new("L", page.size, 255)
    for x in range(page.width):
        strip = page.crop((x, 0, x + 1, page.height))
        bent.paste(strip, (x, round(bow_px * math.sin(math.pi * x / page.width))))
    return bent


def stamped(page: Image.Image) -> Image.Image:
    """Return a page with a slanted stamp below its text."""
    stamp = Image.new("L", (420, 160), 255)
    draw = ImageDraw.Draw(stamp)
    draw.rectangle((4, 4, 415, 155), outline=0, width=8)
    draw.text((40, 40), "RECEIVED", 0, font(64))
    page = page.copy()
    page.paste(skewed(stamp, -11), (400, 950))
    return page


def framed(page: Image.Image) -> Image.Image:
    """Return a page in a straight black frame."""
    page = page.copy()
    ImageDraw.Draw(page).rectangle((15, 15, page.width - 15, page.height - 15), outline=0, width=6)
    return page


DAMAGES: Final[dict[str, Callable[[Image.Image], Image.Image]]] = {
    "none": lambda page: page,
    "skew 0.5": lambda page: skewed(page, 0.5),
    "skew 3": lambda page: skewed(page, 3),
    "skew -5": lambda page: skewed(page, -5),
    "skew 8": lambda page: skewed(page, 8),
    "skew -12": lambda page: skewed(page, -12),
    "turned 90": lambda page: turned(page, 90),
    "turned 180": lambda page: turned(page, 180),
    "turned 270": lambda page: turned(page, 270),
    "180 and 4": lambda page: skewed(turned(page, 180), 4),
    "faint": lambda page: toned(page, 190, 235, noise=3),
    "very faint": lambda page: toned(page, 212, 236, noise=2),
    "grey": lambda page: toned(page, 90, 150, noise=4),
    "yellowed": yellowed,
}
"""Ways in which a page in mode L may come, by name."""
