"""A page as it is set: runs of text at their places, pictures and rules; its truth, and what it looks like."""

from dataclasses import dataclass
from functools import cache

from PIL import Image, ImageDraw, ImageFont

from tests.evaluation.writing import Language

NOTO, LIBERATION = "/usr/share/fonts/opentype/noto/Noto", "/usr/share/fonts/truetype/liberation/Liberation"
CJK_SC = 2
"""Place of the simplified Chinese face in Noto's collections."""

SIZE_PX = (1654, 2339)
"""A4 at 200 dpi."""

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in px."""


@dataclass(frozen=True, slots=True)
class Face:
    """A typeface: the beginning of its files' names, and whether it is Chinese."""

    stem: str
    is_chinese: bool

    def at(self, size_px: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
        """Return the font in this size."""
        return _font(self, size_px, bold)


FACES: dict[Language, tuple[Face, ...]] = {
    "zh": (Face(f"{NOTO}SansCJK", is_chinese=True), Face(f"{NOTO}SerifCJK", is_chinese=True)),
    "en": (Face(f"{LIBERATION}Serif", is_chinese=False), Face(f"{LIBERATION}Sans", is_chinese=False)),
    "mixed": (Face(f"{NOTO}SansCJK", is_chinese=True), Face(f"{NOTO}SerifCJK", is_chinese=True)),
}


@cache
def _font(face: Face, size_px: int, bold: bool) -> ImageFont.FreeTypeFont:  # noqa: FBT001 - a key of the cache
    weight = "Bold" if bold else "Regular"
    path = f"{face.stem}-{weight}.{'ttc' if face.is_chinese else 'ttf'}"
    return ImageFont.truetype(path, size_px, index=CJK_SC if face.is_chinese else 0)


@dataclass(frozen=True, slots=True)
class Word:
    """A run of text at its place: what a detector finds in one piece."""

    text: str
    x: float
    y: float
    font: ImageFont.FreeTypeFont

    @property
    def box(self) -> Box:
        """Where its ink stands."""
        left, top, right, bottom = self.font.getbbox(self.text)
        return self.x + left, self.y + top, self.x + right, self.y + bottom


@dataclass(frozen=True, slots=True)
class Page:
    """A page as it is set.

    Attributes:
        rows: In reading order; a table's row holds a run a cell.
        figures: Pictures, drawn grey.
        rules: Thin black lines, as boxes.
    """

    language: Language
    rows: tuple[tuple[Word, ...], ...]
    figures: tuple[Box, ...] = ()
    rules: tuple[Box, ...] = ()
    size_px: tuple[int, int] = SIZE_PX

    @property
    def truth(self) -> str:
        """The text in reading order, a newline between rows, a space between cells."""
        return "\n".join(" ".join(word.text for word in row) for row in self.rows)

    def draw(self) -> Image.Image:
        """Return the page in black on white."""
        picture = Image.new("L", self.size_px, 255)
        draw = ImageDraw.Draw(picture)
        for figure in self.figures:
            draw.rectangle(figure, fill=200)
            left, top, right, bottom = figure
            draw.ellipse((left + 30, top + 30, (left + right) / 2, bottom - 30), fill=120)
            draw.polygon(((left + 40, bottom - 20), ((left + right) / 2, top + 40), (right - 40, bottom - 20)), fill=90)
        for rule in self.rules:
            draw.rectangle(rule, fill=0)
        for row in self.rows:
            for word in row:
                draw.text((word.x, word.y), word.text, fill=0, font=word.font)
        return picture.convert("RGB")
