"""Kinds of pages for the test of blank pages: sheets with little on them, and empty ones.

Among them are those of public bug reports about the removal of blank pages: the lone page number, punched holes, grain
and bleed-through of OCRmyPDF #12, the mirrored text of the other side (sourceconvert #49), yellowed paper (NAPS2 #440),
thin grey type (vxsuite #340), "left blank intentionally" (vxsuite #1557), grain at 150 dpi (utsushi #27), coloured
pages and rules (Stirling-PDF #134), a small logo (scanner #169). Large sheets (twain_library-java #88) are in
`test_blank`.
"""

from collections.abc import Callable
from types import MappingProxyType
from typing import Final

from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

from tests.inputs.blank_pages import (
    WHITE,
    WORDS,
    YELLOWED,
    Colour,
    Sheet,
    add_dust,
    add_noise,
    as_jpeg,
    lay_on_lid,
    punch,
    shade_edges,
)

Draw = Callable[[Sheet], Image.Image | None]
Kind = Callable[[int], Image.Image]
"""Makes the scan of a seed."""
_Ink = Callable[[Sheet], Colour]

_DARK: Final = (20, 20, 22)
_INKS: Final[dict[str, _Ink]] = {
    "faint-8": lambda s: s.shade(8),
    "faint-12": lambda s: s.shade(12),
    "grey": lambda s: s.shade(60),
    "yellow": lambda _: (252, 250, 170),
    "light-red": lambda _: (255, 214, 214),
    "light-blue": lambda _: (214, 228, 255),
}


def scan(
    sheet: Sheet, image: Image.Image, *, noise: float, grain: float, quality: int, edges: str, lid: float | None
) -> Image.Image:
    """Return the scan of a sheet: optics, the texture of paper, shadows, the lid around it askew, noise, JPEG."""
    image = image.filter(ImageFilter.GaussianBlur(0.5))
    if grain:
        image = add_noise(image, sheet.random, grain, grain_px=3)
    if edges:
        image = shade_edges(image, edges, 0.06, 90)
    if lid is not None:
        image = lay_on_lid(image, sheet.random, angle=lid)
    if noise:
        image = add_noise(image, sheet.random, noise)
    return as_jpeg(image, quality) if quality else image


def kind(
    draw: Draw,
    paper: Colour = WHITE,
    *,
    noise: float = 1.0,
    grain: float = 0.0,
    quality: int = 0,
    edges: str = "",
    lid: float | None = None,
    then: Callable[[Sheet, Image.Image], Image.Image] | None = None,
) -> Kind:
    """Return what makes the scans of a kind."""

    def make(seed: int) -> Image.Image:
        sheet = Sheet(seed, paper)
        drawn = draw(sheet)
        image = scan(sheet, drawn or sheet.image, noise=noise, grain=grain, quality=quality, edges=edges, lid=lid)
        return image if then is None else then(sheet, image)

    return make


def _number(ink: _Ink, points: float = 9) -> Draw:
    return lambda s: s.write(s.size_mm[0] / 2, s.size_mm[1] - 14, str(s.random.randrange(10, 399)), ink(s), points)


def _lines(ink: _Ink, number: int = 1, points: float = 10) -> Draw:
    return lambda s: s.write_lines(number, ink(s), points, top_mm=s.random.uniform(20, 150))


def _word(ink: _Ink, points: float = 10) -> Draw:
    return lambda s: s.write(*s.anywhere(), s.random.choice(WORDS[1:]), ink(s), points)


def _chinese(ink: _Ink, number: int = 8) -> Draw:
    return lambda s: s.write_chinese(*s.anywhere(), number, ink(s))


def _dot(levels: int, diameter_mm: float) -> Draw:
    def draw(sheet: Sheet) -> None:
        x, y = sheet.anywhere()
        sheet.draw.ellipse([sheet.px(v) for v in (x, y, x + diameter_mm, y + diameter_mm)], sheet.shade(levels))

    return draw


def _bleed(levels: int, blur: float) -> Draw:
    """Return the text of the other side of the sheet: mirrored, blurred and faint."""

    def draw(sheet: Sheet) -> Image.Image:
        sheet.write_lines(25, sheet.shade(levels), 11)
        return ImageOps.mirror(sheet.image).filter(ImageFilter.GaussianBlur(blur * sheet.dpi / 150))

    return draw


def _scrawl(levels: int, width_mm: float) -> Draw:
    def draw(sheet: Sheet) -> None:
        points = [(sheet.px(60 + 2 * at), sheet.px(120 + sheet.random.uniform(-4, 4))) for at in range(20)]
        sheet.draw.line(points, sheet.shade(levels), max(1, sheet.px(width_mm)))

    return draw


def _photo(sheet: Sheet) -> None:
    small = Image.frombytes("RGB", (12, 12), sheet.random.randbytes(432))
    size = (sheet.px(60), sheet.px(60))
    sheet.image.paste(small.resize(size, Image.Resampling.BICUBIC), (sheet.px(30), sheet.px(40)))


def _soft_picture(sheet: Sheet) -> Image.Image:
    small = Image.frombytes("RGB", (4, 4), sheet.random.randbytes(48))
    return small.resize(sheet.image.size, Image.Resampling.BICUBIC)


def _both(*draws: Draw) -> Draw:
    def draw(sheet: Sheet) -> None:
        for each in draws:
            each(sheet)

    return draw


def _box(left: float, top: float, right: float, bottom: float, levels: int, *, is_round: bool = False) -> Draw:
    def draw(sheet: Sheet) -> None:
        corners = [sheet.px(v) for v in (left, top, right, bottom)]
        outline = sheet.draw.ellipse if is_round else sheet.draw.rectangle
        outline(corners, None, sheet.shade(levels), max(1, sheet.px(0.3)))

    return draw


def _label_in_lid(sheet: Sheet, image: Image.Image, levels: int = 162) -> Image.Image:
    place, size = (image.width // 3, round(0.006 * image.width)), max(8.0, 9 / 72 * sheet.dpi)
    ImageDraw.Draw(image).text(
        place, "ROLL 12 / 4711", (28 + levels, 28 + levels, 30 + levels), ImageFont.load_default(size)
    )
    return image


def _bilevel(_: Sheet, image: Image.Image) -> Image.Image:
    return image.convert("L").point([0] * 128 + [255] * 128)


def _empty(_: Sheet) -> None:
    return None


def _text_kinds() -> dict[str, Kind]:
    kinds: dict[str, Kind] = {}
    for name, ink in _INKS.items():
        kinds[f"line-{name}"] = kind(_lines(ink))
        kinds[f"line-{name}-jpeg"] = kind(_lines(ink), quality=75)
        kinds[f"lines-{name}-noisy"] = kind(_lines(ink, 6), noise=3.0, quality=80)
        kinds[f"number-{name}"] = kind(_number(ink))
        kinds[f"chinese-{name}"] = kind(_chinese(ink))
    grey, faint = _INKS["grey"], _INKS["faint-12"]
    return kinds | {
        "word-black": kind(_word(lambda s: s.shade(200))),
        "word-6-points": kind(_word(lambda s: s.shade(90), 6)),
        "word-4-points": kind(_word(lambda s: s.shade(120), 4.5)),
        "number-yellowed": kind(_number(grey), YELLOWED, grain=2.0, quality=80),
        "faint-yellowed": kind(_lines(faint), YELLOWED, grain=1.5, quality=80),
        "digit": kind(lambda s: s.write(*s.anywhere(), "1", s.shade(120), 9)),
        "full-stop": kind(_dot(200, 0.7)),
        "full-stop-grey": kind(_dot(100, 0.8)),
        "stamp-dot": kind(_dot(80, 1.5)),
        "corner": kind(lambda s: s.write(0.6, 0.3, "7", s.shade(180), 8)),
        "edge": kind(lambda s: s.write(s.size_mm[0] - 4, 90, "47", s.shade(150), 9)),
        "cut-by-the-edge": kind(lambda s: s.write(80, s.size_mm[1] - 2.2, "confidential", s.shade(150), 10)),
        "white-on-black": kind(lambda s: s.write(80, 80, "negative 12", (210, 210, 210), 9), _DARK),
        "faint-on-black": kind(_lines(lambda s: s.shade(-10)), _DARK, quality=85),
        "grey-on-dark": kind(_number(lambda s: s.shade(-25)), (60, 60, 60), noise=1.5),
        "faint-label-in-lid": kind(_empty, lid=0.0, then=lambda s, image: _label_in_lid(s, image, 15)),
        "band-with-faint-name": kind(
            _both(
                lambda s: s.draw.rectangle([0, 0, s.px(s.size_mm[0]), s.px(18)], (40, 60, 120)),
                lambda s: s.write(20, 6, "ACME 1923", (55, 75, 135), 12),
            )
        ),
        "lid-number": kind(_number(grey), lid=0.0),
        "lid-askew-faint": kind(_lines(faint), lid=0.7),
        "lid-askew-number": kind(_number(lambda s: s.shade(50), 8), lid=1.2, quality=75),
        "label-in-lid": kind(_empty, lid=0.0, then=_label_in_lid),
        "gutter-number": kind(_number(grey), edges="l"),
        "gutter-faint": kind(_lines(_INKS["faint-8"]), edges="lr", quality=85),
        "in-the-gutter": kind(lambda s: s.write(1.5, 100, "see p. 4", s.shade(70), 8), edges="l", quality=80),
        "bleed-14": kind(_bleed(14, 1.0)),
        "bleed-20-jpeg": kind(_bleed(20, 1.5), quality=75),
        "bleed-40": kind(_bleed(40, 2.0), noise=2.0),
        "watermark-8": kind(lambda s: s.write(30, 90, "DRAFT", s.shade(8), 90)),
        "watermark-6-jpeg": kind(lambda s: s.write(30, 90, "DRAFT", s.shade(6), 90), quality=80),
        "watermark-25": kind(lambda s: s.write(30, 90, "DRAFT", s.shade(25), 90), noise=2.0),
        "holes-number": kind(_both(punch, _number(grey))),
        "holes-faint": kind(_both(lambda s: punch(s, 4), _lines(faint)), quality=80),
        "one-disc": kind(lambda s: s.draw.ellipse([s.px(v) for v in (9, 60, 15, 66)], _DARK)),
        "ring": kind(_box(90, 60, 96, 66, 100, is_round=True)),
        "signature": kind(_scrawl(50, 0.3)),
        "pencil-stroke": kind(_scrawl(10, 0.5), grain=1.0),
        "rule": kind(lambda s: s.draw.line([s.px(v) for v in (30, 100, 120, 100)], s.shade(40), max(1, s.px(0.2)))),
        "box": kind(_box(30, 100, 120, 140, 30)),
        "photo": kind(_photo, quality=85),
        "soft-picture": kind(_soft_picture, noise=0.0),
        "left-blank": kind(
            lambda s: s.write(60, 140, "This page is intentionally left blank.", s.shade(40), 8), noise=2.0, quality=70
        ),
        "number-7-points": kind(_number(grey, 7)),
        "bitonal-number": kind(_number(lambda s: s.shade(220)), then=_bilevel),
        "bitonal-chinese": kind(_chinese(lambda s: s.shade(220), 2), then=_bilevel),
        "band-with-name": kind(
            _both(
                lambda s: s.draw.rectangle([0, 0, s.px(s.size_mm[0]), s.px(18)], (40, 60, 120)),
                lambda s: s.write(20, 6, "ACME", (255, 255, 255), 12),
            )
        ),
    }


def _blank_kinds() -> dict[str, Kind]:
    kinds = {f"noise-{sigma}": kind(_empty, noise=float(sigma)) for sigma in range(4)}
    kinds |= {f"noise-1.5-jpeg-{quality}": kind(_empty, noise=1.5, quality=quality) for quality in (60, 75, 90)}
    return kinds | {
        "noise-3-jpeg-60": kind(_empty, noise=3.0, quality=60),
        "grey-noise-2": kind(_empty, noise=2.0, then=lambda _, image: image.convert("L")),
        "yellowed-1": kind(_empty, YELLOWED, grain=1.0),
        "yellowed-1.5-jpeg": kind(_empty, YELLOWED, grain=1.5, quality=75),
        "yellowed-2.5": kind(_empty, YELLOWED, grain=2.5),
        "gutter-left": kind(_empty, edges="l", quality=80),
        "gutter-both": kind(_empty, edges="lr"),
        "shadow-top-and-bottom": kind(_empty, edges="tb", quality=80),
        "lid": kind(_empty, lid=0.0),
        "lid-askew": kind(_empty, lid=0.8, quality=80),
        "lid-askew-the-other-way": kind(_empty, lid=-1.5),
        "two-holes": kind(punch, quality=85),
        "four-holes": kind(lambda s: punch(s, 4), noise=1.5),
        "two-holes-lid": kind(punch, lid=0.0, quality=85),
        "dust-1-px": kind(lambda s: add_dust(s, 20, 1, 60)),
        "dust-2-px": kind(lambda s: add_dust(s, 10, 2, 25), quality=80),
        "dust-3-px": kind(lambda s: add_dust(s, 5, 3, 90)),
        "black": kind(_empty, _DARK),
        "dark-grey": kind(_empty, (70, 70, 72), noise=2.0),
        "pink": kind(_empty, (244, 200, 206), quality=80),
        "blue": kind(_empty, (90, 130, 190)),
        "bitonal": kind(_empty, then=_bilevel),
        "bitonal-salt": kind(lambda s: add_dust(s, 12, 1, 230), then=_bilevel),
    }


TEXT_KINDS: Final = MappingProxyType(_text_kinds())
"""Pages that must be sent."""
BLANK_KINDS: Final = MappingProxyType(_blank_kinds())
"""Pages without anything on them; some are sent all the same."""
