"""Pages of eight layouts, by seed."""

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from tests.evaluation.pages import FACES, SIZE_PX, Page
from tests.evaluation.setting import MARGIN_PX, Setter
from tests.evaluation.vertical import set_tiers
from tests.evaluation.writing import Language, Writer

Layout = Literal[
    "single", "two columns", "three columns", "table", "captions and footnotes", "small type", "strip", "vertical"
]
LAYOUTS: tuple[Layout, ...] = ("single", "two columns", "three columns", "table", "captions and footnotes")
"""What is set in every language; vertical is Chinese."""

SMALL_LAYOUTS: tuple[Layout, ...] = ("small type", "strip")
"""What is set in every language, too, in type that is small on its page."""

STRIP_PX = (800, 4000)
"""A screenshot of a long page."""


TYPE_PX: Mapping[Layout, tuple[int, int]] = {
    "single": (24, 32),
    "table": (24, 32),
    "small type": (12, 15),
    "strip": (15, 18),
}
"""The least size of type, and the least that is too large; 24 to 28 elsewhere."""


def make_page(layout: Layout, language: Language, seed: str) -> Page:
    """Return a page of this kind; the same seed gives the same page."""
    source = random.Random(f"{seed} {layout} {language}")
    face = source.choice(FACES[language])
    setter = Setter(language, source, face, source.randrange(*TYPE_PX.get(layout, (24, 28))), Writer(source))
    left, right, bottom = MARGIN_PX, SIZE_PX[0] - MARGIN_PX, SIZE_PX[1] - MARGIN_PX
    match layout:
        case "strip":
            setter.text(left, STRIP_PX[0] - MARGIN_PX, STRIP_PX[1] - MARGIN_PX)
            return replace(setter.page(), size_px=STRIP_PX)
        case "single" | "small type":
            setter.heading(left, right)
            setter.text(left, right, bottom)
        case "two columns" | "three columns":
            _set_columns(setter, 2 if layout == "two columns" else 3)
        case "table":
            _set_tables(setter)
        case "captions and footnotes":
            _set_notes(setter)
        case "vertical":
            set_tiers(setter)
    return setter.page()


def _set_columns(setter: Setter, count: int) -> None:
    """Set two stories, each a heading across the page above its columns."""
    left, right, bottom = MARGIN_PX, SIZE_PX[0] - MARGIN_PX, SIZE_PX[1] - MARGIN_PX
    stories = setter.source.randrange(1, 3)
    inner = setter.source.randrange(count)

    def fill(column: int, left: float, right: float, bottom: float) -> None:
        if column == inner:
            setter.text(left, right, (setter.y + bottom) / 2)
            setter.y += setter.leading * 0.4
            setter.heading(left, right, scale=1.15)
        setter.text(left, right, bottom)

    for story in range(stories):
        setter.heading(left, right)
        end = bottom if story == stories - 1 else setter.y + (bottom - setter.y) / 2
        setter.columns(count, end, fill)


def _set_tables(setter: Setter) -> None:
    left, right, bottom = MARGIN_PX, SIZE_PX[0] - MARGIN_PX, SIZE_PX[1] - MARGIN_PX
    setter.heading(left, right)
    for _ in range(2):
        setter.paragraph(left, right, bottom)
        setter.y += setter.leading * 0.5
        setter.small(left, right)
        setter.table(left, right, setter.source.randrange(6, 12), setter.source.randrange(3, 6))
    setter.text(left, right, bottom)


def _set_notes(setter: Setter) -> None:
    """Set two columns with a picture across them and one in a column, and footnotes across the page."""
    left, right = MARGIN_PX, SIZE_PX[0] - MARGIN_PX
    bottom = SIZE_PX[1] - MARGIN_PX - 8 * setter.leading
    pictured = setter.source.randrange(2)

    def fill(column: int, left: float, right: float, bottom: float) -> None:
        if column == pictured:
            setter.text(left, right, (setter.y + bottom) / 2)
            setter.figure(left, right, setter.leading * 5)
        setter.text(left, right, bottom)

    setter.heading(left, right)
    setter.columns(2, bottom * 0.45, fill)
    setter.figure(left + 150, right - 150, setter.leading * 7)
    setter.columns(2, bottom, fill)
    setter.footnotes(left, right, 3)
