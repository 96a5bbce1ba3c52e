"""Typesetting of a page from the top: headings, paragraphs, tables, pictures, columns."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from PIL import ImageFont

from tests.evaluation.pages import SIZE_PX, Box, Face, Page, Word
from tests.evaluation.writing import Language, Writer

MARGIN_PX = 130
LEADING_EM = 1.55
NOT_FIRST = set("，。；：、）》」”,.;:)")
NOT_LAST = set("（《「“(")


@dataclass(slots=True)
class Typesetter:
    """Sets the elements of a page from the top, each below the last.

    Attributes:
        y: Top of the next line, in px.
    """

    language: Language
    rng: random.Random
    face: Face
    type_px: int
    writer: Writer
    y: float = MARGIN_PX
    rows: list[tuple[Word, ...]] = field(default_factory=list)
    figures: list[Box] = field(default_factory=list)
    rules: list[Box] = field(default_factory=list)
    notes: int = 0

    @property
    def leading(self) -> float:
        """Distance from line to line in px."""
        return self.type_px * LEADING_EM

    def page(self) -> Page:
        """Return the page with all elements set so far."""
        return Page(self.language, tuple(self.rows), tuple(self.figures), tuple(self.rules))

    def heading(self, left: float, right: float, *, scale: float = 1.7) -> None:
        """Set a heading, centred between two edges."""
        font = self.face.at(round(self.type_px * scale), bold=True)
        for text in wrap(self.writer.title(self.language), font, right - left):
            self._put((Word(text, (left + right - font.getlength(text)) / 2, self.y, font),))
            self.y += font.size * 1.4
        self.y += self.type_px * 0.5

    def paragraph(self, left: float, right: float, bottom: float) -> None:
        """Set a paragraph between two edges; lines below the bottom are dropped."""
        font = self.face.at(self.type_px)
        text = self.writer.paragraph(self.language, self.rng.randrange(3, 6))
        self._lines(text, font, left, right, bottom, indent_px=2 * self.type_px)

    def small(self, left: float, right: float) -> None:
        """Set a footnote or a caption in small type."""
        self.notes += 1
        font = self.face.at(round(self.type_px * 0.82))
        self._lines(self.writer.note(self.language, self.notes), font, left, right, SIZE_PX[1], indent_px=0)

    def figure(self, left: float, right: float, height: float) -> None:
        """Set a picture and the caption below it."""
        self.y += self.leading * 0.3
        self.figures.append((left, self.y, right, self.y + height))
        self.y += height + self.leading * 0.4
        self.small(left, right)
        self.y += self.leading * 0.6

    def table(self, left: float, right: float, rows: int, cells: int) -> None:
        """Set a table with a wide first column, right-aligned numbers, and rules above and below."""
        font = self.face.at(self.type_px)
        first = 0.4 if cells < 5 else 0.32
        edges = [left + (right - left) * (first + (1 - first) * i / (cells - 1)) for i in range(cells)]
        self._rule(left, right)
        for i in range(rows):
            texts = self.writer.header(self.language, cells) if i == 0 else self.writer.row(self.language, cells)
            words = [Word(texts[0], left + 8, self.y, font)]
            words += [
                Word(text, edge - font.getlength(text) - 8, self.y, font)
                for text, edge in zip(texts[1:], edges[1:], strict=True)
            ]
            self._put(tuple(words))
            self.y += self.leading * 1.15
            if i == 0:
                self._rule(left, right)
        self._rule(left, right)
        self.y += self.leading * 0.5

    def footnotes(self, left: float, right: float, count: int) -> None:
        """Set footnotes at the foot of the page, below a short rule."""
        self.y = max(self.y, SIZE_PX[1] - MARGIN_PX - 2 * count * self.leading)
        self._rule(left, left + (right - left) * 0.3)
        for _ in range(count):
            self.small(left, right)

    def columns(self, count: int, bottom: float, fill: Callable[[int, float, float, float], None]) -> None:
        """Set columns from `y` to the bottom, each by `fill(column, left, right, bottom)`."""
        gutter = self.type_px * self.rng.uniform(1.4, 2.4)
        width = (SIZE_PX[0] - 2 * MARGIN_PX - gutter * (count - 1)) / count
        top, lowest = self.y, self.y
        for column in range(count):
            self.y, left = top, MARGIN_PX + column * (width + gutter)
            fill(column, left, left + width, bottom)
            lowest = max(lowest, self.y)
        self.y = lowest + self.leading * 0.6

    def text(self, left: float, right: float, bottom: float) -> None:
        """Set paragraphs down to the bottom."""
        while self.y + self.leading < bottom:
            self.paragraph(left, right, bottom)

    def _lines(
        self, text: str, font: ImageFont.FreeTypeFont, left: float, right: float, bottom: float, *, indent_px: float
    ) -> None:
        for i, line in enumerate(wrap(text, font, right - left, indent_px)):
            if self.y + font.size > bottom:
                return
            self._put((Word(line, left + (0 if i else indent_px), self.y, font),))
            self.y += font.size * LEADING_EM

    def _put(self, row: tuple[Word, ...]) -> None:
        self.rows.append(row)

    def _rule(self, left: float, right: float) -> None:
        self.rules.append((left, self.y, right, self.y + 2))
        self.y += self.type_px * 0.35


def wrap(text: str, font: ImageFont.FreeTypeFont, width_px: float, indent_px: float = 0) -> Sequence[str]:
    """Return the text in lines that fit, broken at spaces and, where punctuation allows, between Chinese characters."""
    lines, line, room = [], "", width_px - indent_px
    for piece in _pieces(text):
        if line and font.getlength((line + piece).rstrip()) > room:
            lines.append(line.strip())
            line, room = "", width_px
        line += piece
    return [*lines, line.strip()]


def _pieces(text: str) -> list[str]:
    """Return the unbreakable parts of a text: Latin words, and Chinese characters with their punctuation."""
    pieces: list[str] = []
    for character in text:
        before = pieces[-1][-1] if pieces else " "
        is_within_word = character.isascii() and before.isascii() and before != " "
        if pieces and (before in NOT_LAST or character in NOT_FIRST or character == " " or is_within_word):
            pieces[-1] += character
        else:
            pieces.append(character)
    return pieces
