"""Pages of all layouts, determined by a seed: running text here, other documents in `documents`."""

import random
from collections.abc import Mapping
from dataclasses import replace

from tests.evaluation.documents import DOCUMENTS
from tests.evaluation.pages import FACES, SIZE_PX, Page
from tests.evaluation.typesetting import MARGIN_PX, Typesetter
from tests.evaluation.vertical import set_tiers
from tests.evaluation.writing import Language, Writer

Layout = str
"""A name in `LAYOUTS`, `SMALL_LAYOUTS` or `DOCUMENTS`, or "vertical"."""

LAYOUTS: tuple[Layout, ...] = ("single", "two columns", "three columns", "table", "captions and footnotes")
"""Layouts of running text that exist in every language; "vertical" exists in Chinese only."""

SMALL_LAYOUTS: tuple[Layout, ...] = ("small type", "strip", "narrow strip")
"""Layouts of running text in every language with type that is small relative to the page."""

STRIP_PX = (800, 4000)
"""The size of a screenshot of a long page."""

NARROW_STRIP_PX = (480, 10_000)
"""The size of a screenshot of a long page in a narrow window."""

TYPE_PX: Mapping[Layout, tuple[int, int]] = {
    "single": (24, 32),
    "table": (24, 32),
    "small type": (12, 15),
    "strip": (15, 18),
    "narrow strip": (14, 20),
}
"""Range of the type size by layout, the end excluded; 24 to 28 px in the other layouts."""


def make_page(layout: Layout, language: Language, seed: str) -> Page:
    """Return a page of this layout; the same seed gives the same page.

    Args:
        layout: Its name.
        language: `DOCUMENTS` are in one of `DOCUMENT_LANGUAGES`, vertical writing is in Chinese.
        seed: Any text.

    Raises:
        ValueError: there is no such layout.
    """
    rng = random.Random(f"{seed} {layout} {language}")
    if layout in DOCUMENTS:
        return DOCUMENTS[layout](language, rng)
    face = rng.choice(FACES[language])
    typesetter = Typesetter(language, rng, face, rng.randrange(*TYPE_PX.get(layout, (24, 28))), Writer(rng))
    left, right, bottom = MARGIN_PX, SIZE_PX[0] - MARGIN_PX, SIZE_PX[1] - MARGIN_PX
    match layout:
        case "strip" | "narrow strip":
            width, height = STRIP_PX if layout == "strip" else NARROW_STRIP_PX
            margin = MARGIN_PX if layout == "strip" else MARGIN_PX / 5
            typesetter.text(margin, width - margin, height - MARGIN_PX)
            return replace(typesetter.page(), size_px=(width, height))
        case "single" | "small type":
            typesetter.heading(left, right)
            typesetter.text(left, right, bottom)
        case "two columns" | "three columns":
            _set_columns(typesetter, 2 if layout == "two columns" else 3)
        case "table":
            _set_tables(typesetter)
        case "captions and footnotes":
            _set_notes(typesetter)
        case "vertical":
            set_tiers(typesetter)
        case _:
            raise ValueError(f"no layout {layout!r}")
    return typesetter.page()


def _set_columns(typesetter: Typesetter, count: int) -> None:
    """Set one or two stories, each with a heading across the page above its columns."""
    left, right, bottom = MARGIN_PX, SIZE_PX[0] - MARGIN_PX, SIZE_PX[1] - MARGIN_PX
    stories = typesetter.rng.randrange(1, 3)
    inner = typesetter.rng.randrange(count)

    def fill(column: int, left: float, right: float, bottom: float) -> None:
        if column == inner:
            typesetter.text(left, right, (typesetter.y + bottom) / 2)
            typesetter.y += typesetter.leading * 0.4
            typesetter.heading(left, right, scale=1.15)
        typesetter.text(left, right, bottom)

    for story in range(stories):
        typesetter.heading(left, right)
        end = bottom if story == stories - 1 else typesetter.y + (bottom - typesetter.y) / 2
        typesetter.columns(count, end, fill)


def _set_tables(typesetter: Typesetter) -> None:
    left, right, bottom = MARGIN_PX, SIZE_PX[0] - MARGIN_PX, SIZE_PX[1] - MARGIN_PX
    typesetter.heading(left, right)
    for _ in range(2):
        typesetter.paragraph(left, right, bottom)
        typesetter.y += typesetter.leading * 0.5
        typesetter.small(left, right)
        typesetter.table(left, right, typesetter.rng.randrange(6, 12), typesetter.rng.randrange(3, 6))
    typesetter.text(left, right, bottom)


def _set_notes(typesetter: Typesetter) -> None:
    """Set two columns with a picture across both, a picture in one of them, and footnotes across the page."""
    left, right = MARGIN_PX, SIZE_PX[0] - MARGIN_PX
    bottom = SIZE_PX[1] - MARGIN_PX - 8 * typesetter.leading
    column_with_picture = typesetter.rng.randrange(2)

    def fill(column: int, left: float, right: float, bottom: float) -> None:
        if column == column_with_picture:
            typesetter.text(left, right, (typesetter.y + bottom) / 2)
            typesetter.figure(left, right, typesetter.leading * 5)
        typesetter.text(left, right, bottom)

    typesetter.heading(left, right)
    typesetter.columns(2, bottom * 0.45, fill)
    typesetter.figure(left + 150, right - 150, typesetter.leading * 7)
    typesetter.columns(2, bottom, fill)
    typesetter.footnotes(left, right, 3)
