"""A sheet that a document is set on, row by row from the top, with runs of text at any place of a row."""

import random
from dataclasses import dataclass, field
from typing import Literal

from PIL import ImageFont

from tests.evaluation.pages import BLACK, CJK_SC, LIBERATION, NOTO, WHITE, Colour, Face, Page, Shape, Word
from tests.evaluation.typesetting import wrap
from tests.evaluation.writing import Language, Writer

Align = Literal["left", "centre", "right"]

CJK_MONO_SC = 7
"""Index of the simplified Chinese face with half-width Latin letters in Noto's collections."""

SANS = {"en": Face(f"{LIBERATION}Sans"), "zh": Face(f"{NOTO}SansCJK", CJK_SC)}
SERIF = {"en": Face(f"{LIBERATION}Serif"), "zh": Face(f"{NOTO}SerifCJK", CJK_SC)}
MONO = {"en": Face(f"{LIBERATION}Mono"), "zh": Face(f"{NOTO}SansCJK", CJK_MONO_SC)}
NARROW = {"en": Face(f"{LIBERATION}SansNarrow"), "zh": Face(f"{NOTO}SansCJK", CJK_SC)}


@dataclass(slots=True)
class Sheet:
    """Collects the rows, marks and shapes of a document.

    Attributes:
        size_px: (width, height); a height of 0 is as much as the rows take.
        y: Baseline of the next row, in px.
    """

    language: Language
    rng: random.Random
    size_px: tuple[int, int]
    face: Face
    type_px: int
    paper: Colour = WHITE
    ink: Colour = BLACK
    y: float = 0
    rows: list[tuple[Word, ...]] = field(default_factory=list)
    marks: list[Word] = field(default_factory=list)
    shapes: list[Shape] = field(default_factory=list)

    @property
    def writer(self) -> Writer:
        """Writes the sheet's text."""
        return Writer(self.rng)

    @property
    def width(self) -> int:
        """Width in px."""
        return self.size_px[0]

    def phrase(self, kind: str) -> str:
        """Return a phrase of this kind that begins with a capital."""
        return _capitalised(self.writer.phrase(self.language, kind))

    def parts(self, kind: str) -> list[str]:
        """Return the parts of a phrase of this kind, each beginning with a capital."""
        return [_capitalised(part) for part in self.writer.parts(self.language, kind)]

    def fields(self, kind: str, count: int) -> list[tuple[str, str]]:
        """Return this many labels, each another one, with their values."""
        found: dict[str, str] = {}
        while len(found) < count:
            label, value = self.parts(kind)
            found.setdefault(label, value)
        return list(found.items())

    def font(self, scale: float = 1.0, *, bold: bool = False) -> ImageFont.FreeTypeFont:
        """Return the sheet's font in this multiple of its type size."""
        return self.face.at(round(self.type_px * scale), bold=bold)

    def place(
        self,
        text: str,
        x: float,
        *,
        align: Align = "left",
        font: ImageFont.FreeTypeFont | None = None,
        fill: Colour | None = None,
    ) -> Word:
        """Return a run of text on the present baseline, whose left edge, centre or right edge is at x."""
        font = font or self.font()
        x -= {"left": 0.0, "centre": 0.5, "right": 1.0}[align] * font.getlength(text)
        return Word(text, x, self.y - font.getmetrics()[0], font, fill=fill or self.ink)

    def put(self, *words: Word) -> None:
        """Add a row, whose runs are in reading order."""
        self.rows.append(words)

    def lines(
        self,
        text: str,
        left: float,
        right: float,
        *,
        leading: float,
        font: ImageFont.FreeTypeFont | None = None,
        fill: Colour | None = None,
    ) -> None:
        """Set a text in lines between two edges, as a row each, and go on below it."""
        for line in wrap(text, font or self.font(), right - left):
            self.put(self.place(line, left, font=font, fill=fill))
            self.y += leading

    def rule(self, left: float, right: float, *, fill: Colour | None = None, thickness_px: float = 1) -> None:
        """Draw a rule at the present baseline."""
        self.shapes.append(Shape((left, self.y, right, self.y + thickness_px), fill or self.ink))

    def panel(
        self,
        left: float,
        top: float,
        right: float,
        bottom: float,
        *,
        fill: Colour | None = None,
        outline: Colour | None = None,
        radius_px: float = 0,
    ) -> None:
        """Draw a rectangle below the text."""
        self.shapes.append(Shape((left, top, right, bottom), fill, outline, radius_px))

    def mark(self, text: str, x: float, *, align: Align = "left", font: ImageFont.FreeTypeFont | None = None) -> None:
        """Draw characters that are no text."""
        self.marks.append(self.place(text, x, align=align, font=font))

    def page(self, margin_px: float = 0) -> Page:
        """Return the page; without a height of its own it ends this far below the last baseline."""
        width, height = self.size_px
        size_px = width, height or round(self.y + margin_px)
        rows, shapes, marks = tuple(self.rows), tuple(self.shapes), tuple(self.marks)
        return Page(self.language, rows, size_px=size_px, shapes=shapes, marks=marks, paper=self.paper)


def _capitalised(text: str) -> str:
    return text if text.startswith("www.") else text[:1].upper() + text[1:]
