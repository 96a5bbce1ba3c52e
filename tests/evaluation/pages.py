"""A typeset page: runs of text, pictures and rules at their positions; its text and its picture."""

from dataclasses import dataclass
from functools import cache
from typing import Literal

from PIL import Image, ImageDraw, ImageFont

from tests.evaluation.writing import Language

NOTO, LIBERATION = "/usr/share/fonts/opentype/noto/Noto", "/usr/share/fonts/truetype/liberation/Liberation"
CJK_SC, CJK_TC = 2, 3
"""Indices of the simplified and the traditional Chinese faces in Noto's font collections."""

SIZE_PX = (1654, 2339)
"""A4 at 200 dpi."""

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in px."""


@dataclass(frozen=True, slots=True)
class Face:
    """A typeface.

    Attributes:
        stem: Path of its files, without weight and extension.
        index: Index in a font collection (.ttc); None when each weight has a file of its own (.ttf).
    """

    stem: str
    index: int | None = None

    def at(self, size_px: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
        """Return the font in this size."""
        return _font(self, size_px, bold)


FACES: dict[Language, tuple[Face, ...]] = {
    "zh": (Face(f"{NOTO}SansCJK", CJK_SC), Face(f"{NOTO}SerifCJK", CJK_SC)),
    "en": (Face(f"{LIBERATION}Serif"), Face(f"{LIBERATION}Sans")),
    "mixed": (Face(f"{NOTO}SansCJK", CJK_SC), Face(f"{NOTO}SerifCJK", CJK_SC)),
    "traditional": (Face(f"{NOTO}SansCJK", CJK_TC), Face(f"{NOTO}SerifCJK", CJK_TC)),
}


@cache
def _font(face: Face, size_px: int, bold: bool) -> ImageFont.FreeTypeFont:  # noqa: FBT001 - a key of the cache
    weight = "Bold" if bold else "Regular"
    path = f"{face.stem}-{weight}.{'ttf' if face.index is None else 'ttc'}"
    return ImageFont.truetype(path, size_px, index=face.index or 0)


@dataclass(frozen=True, slots=True)
class Word:
    """A run of text at its position, which a detector finds as one box.

    Attributes:
        direction: None for the script's own; "ttb" for columns, with the vertical forms of punctuation.
    """

    text: str
    x: float
    y: float
    font: ImageFont.FreeTypeFont
    direction: Literal["ttb"] | None = None

    @property
    def box(self) -> Box:
        """Bounds of its ink."""
        left, top, right, bottom = self.font.getbbox(self.text, direction=self.direction)
        return self.x + left, self.y + top, self.x + right, self.y + bottom


@dataclass(frozen=True, slots=True)
class Page:
    """A typeset page.

    Attributes:
        rows: In reading order; a row of a table has one run per cell.
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
                draw.text((word.x, word.y), word.text, fill=0, font=word.font, direction=word.direction)
        return picture.convert("RGB")
