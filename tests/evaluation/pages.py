"""A typeset page: runs of text, pictures, rules and coloured shapes at their positions; its text and its picture."""

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

Colour = tuple[int, int, int]
"""Red, green, blue, each 0 to 255."""

BLACK: Colour = (0, 0, 0)
WHITE: Colour = (255, 255, 255)


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
    fill: Colour = BLACK

    @property
    def box(self) -> Box:
        """Bounds of its ink."""
        left, top, right, bottom = self.font.getbbox(self.text, direction=self.direction)
        return self.x + left, self.y + top, self.x + right, self.y + bottom


@dataclass(frozen=True, slots=True)
class Shape:
    """A rectangle below the text: a panel, a bar, a check box; with round corners, a bubble or a dot.

    Attributes:
        fill: Colour of its inside; None leaves what is below it visible.
        outline: Colour of its edge; None for none.
    """

    box: Box
    fill: Colour | None = None
    outline: Colour | None = None
    radius_px: float = 0


@dataclass(frozen=True, slots=True)
class Page:
    """A typeset page.

    Attributes:
        rows: In reading order; a row of a table has one run per cell.
        figures: Pictures, drawn grey.
        rules: Thin black lines, as boxes.
        shapes: Below the text, in the order in which they are drawn.
        marks: Runs of characters that are no text: leader dots, lines of dashes, ticks.
        paper: Colour of the page.
    """

    language: Language
    rows: tuple[tuple[Word, ...], ...]
    figures: tuple[Box, ...] = ()
    rules: tuple[Box, ...] = ()
    size_px: tuple[int, int] = SIZE_PX
    shapes: tuple[Shape, ...] = ()
    marks: tuple[Word, ...] = ()
    paper: Colour = WHITE

    @property
    def truth(self) -> str:
        """The text in reading order, a newline between rows, a space between cells."""
        return "\n".join(" ".join(word.text for word in row) for row in self.rows)

    def draw(self) -> Image.Image:
        """Return the page as an RGB picture."""
        picture = Image.new("RGB", self.size_px, self.paper)
        draw = ImageDraw.Draw(picture)
        for figure in self.figures:
            draw.rectangle(figure, fill=(200, 200, 200))
            left, top, right, bottom = figure
            draw.ellipse((left + 30, top + 30, (left + right) / 2, bottom - 30), fill=(120, 120, 120))
            points = ((left + 40, bottom - 20), ((left + right) / 2, top + 40), (right - 40, bottom - 20))
            draw.polygon(points, fill=(90, 90, 90))
        for shape in self.shapes:
            draw.rounded_rectangle(shape.box, shape.radius_px, fill=shape.fill, outline=shape.outline, width=2)
        for rule in self.rules:
            draw.rectangle(rule, fill=BLACK)
        for word in (*self.marks, *(word for row in self.rows for word in row)):
            draw.text((word.x, word.y), word.text, fill=word.fill, font=word.font, direction=word.direction)
        return picture
