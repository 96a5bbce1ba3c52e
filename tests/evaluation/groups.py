"""The groups of the evaluation set: pages of one layout, damage and orientation."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from tests.evaluation.damage import DAMAGES, SCAN_DAMAGES
from tests.evaluation.documents import DOCUMENT_LANGUAGES
from tests.evaluation.layouts import LAYOUTS, SMALL_LAYOUTS, Layout, make_page
from tests.evaluation.writing import LANGUAGES, Language


@dataclass(frozen=True, slots=True)
class Group:
    """Pages of one kind.

    Attributes:
        damage: A key of `DAMAGES`, or "" for clean pages.
        turn_deg: Clockwise rotation of the pages.
        languages: Languages of the pages, in rotation.
    """

    name: str
    layout: Layout
    damage: str = ""
    turn_deg: int = 0
    languages: tuple[Language, ...] = LANGUAGES


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture of a page and its text."""

    language: Language
    picture: Image.Image
    truth: str


TEXT_GROUPS = (
    *(Group("single column" if layout == "single" else layout, layout) for layout in LAYOUTS),
    *(Group(f"single, {damage}", "single", damage=damage) for damage in SCAN_DAMAGES),
    *(Group(f"single, turned {turn_deg}°", "single", turn_deg=turn_deg) for turn_deg in (90, 180, 270)),
    Group("vertical", "vertical", languages=("zh",)),
    Group("vertical, traditional", "vertical", languages=("traditional",)),
)
"""Pages of running text and tables; the speed benchmark reads these."""

SMALL_GROUPS = tuple(Group(layout, layout) for layout in SMALL_LAYOUTS)
"""Pages of small type, which have up to four times as much text."""

DOCUMENT_GROUPS = (
    Group("receipts", "receipt", damage="thermal", languages=DOCUMENT_LANGUAGES),
    Group("receipts, faded", "receipt", damage="faded", languages=DOCUMENT_LANGUAGES),
    Group("forms", "form", damage="scanned", languages=DOCUMENT_LANGUAGES),
    Group("key-value pages", "key-value", damage="scanned", languages=DOCUMENT_LANGUAGES),
    Group("tables without rules", "table without rules", damage="scanned", languages=DOCUMENT_LANGUAGES),
    Group("tables, wrapped cells", "table with wrapped cells", damage="scanned", languages=DOCUMENT_LANGUAGES),
    Group("slides", "slide", languages=DOCUMENT_LANGUAGES),
    Group("slides, dark", "dark slide", languages=DOCUMENT_LANGUAGES),
    Group("app screens", "app screen", languages=DOCUMENT_LANGUAGES),
    Group("app screens, dark", "dark app screen", languages=DOCUMENT_LANGUAGES),
    Group("long screenshots", "long screenshot", languages=DOCUMENT_LANGUAGES),
    Group("single, faint", "single", damage="faint"),
    Group("single, curled", "single", damage="curled"),
)
"""Pages of other documents, and pages that are hard to see."""

GROUPS = TEXT_GROUPS + SMALL_GROUPS + DOCUMENT_GROUPS
"""All groups, each name once."""


def samples(group: Group, seed: int, count: int) -> Iterator[Sample]:
    """Yield `count` pages of a group; the same seed yields the same pages."""
    return (make_sample(group, seed, number) for number in range(count))


def make_sample(group: Group, seed: int, number: int) -> Sample:
    """Return the page with this 0-based number among those that `samples` yields."""
    language = group.languages[number % len(group.languages)]
    name = f"{seed} {group.name} {number}"
    page = make_page(group.layout, language, name)
    picture = page.draw()
    if group.damage:
        picture = DAMAGES[group.damage](picture, random.Random(name))
    if group.turn_deg:
        picture = picture.rotate(-group.turn_deg, expand=True)
    return Sample(language, picture, page.truth)
