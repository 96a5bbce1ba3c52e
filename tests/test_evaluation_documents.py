"""The documents of the evaluation set: receipts, forms, tables, slides and screens."""

import random
from collections import Counter
from collections.abc import Iterable
from functools import cache
from itertools import combinations
from statistics import median

import numpy as np
import pytest
from PIL import Image, ImageFont

from tests.benchmarks.reading_order import find_lines, score_order
from tests.evaluation.documents import DOCUMENT_LANGUAGES, DOCUMENTS
from tests.evaluation.documents.screens import LONG_PX
from tests.evaluation.groups import GROUPS, make_sample
from tests.evaluation.layouts import make_page
from tests.evaluation.pages import Box, Page, Word
from tests.evaluation.scoring import missed_amounts
from tests.evaluation.writing import Language

NO_CHARACTER = "\U0010ffff"
SHORT = [layout for layout in DOCUMENTS if layout != "long screenshot"]

every_document = pytest.mark.parametrize("layout", DOCUMENTS)
every_language = pytest.mark.parametrize("language", DOCUMENT_LANGUAGES)


made = cache(make_page)
"""Makes a page for several tests."""


def words(page: Page) -> list[Word]:
    return [word for row in page.rows for word in row]


def overlap_px(one: Box, other: Box) -> tuple[float, float]:
    """Return by how much two boxes overlap, horizontally and vertically; negative for a gap."""
    return min(one[2], other[2]) - max(one[0], other[0]), min(one[3], other[3]) - max(one[1], other[1])


def missing_characters(runs: Iterable[Word]) -> set[str]:
    """Return the characters that their fonts draw as a box."""
    drawn: dict[tuple[ImageFont.FreeTypeFont, str], bool] = {}
    for run in runs:
        for character in set(run.text) - {" "}:
            if (run.font, character) not in drawn:
                glyph, box = (bytes(run.font.getmask(text)) for text in (character, NO_CHARACTER))
                drawn[run.font, character] = glyph != box
    return {character for (_, character), is_drawn in drawn.items() if not is_drawn}


@every_document
@every_language
def test_every_character_of_the_truth_is_in_its_font(layout: str, language: Language) -> None:
    page = made(layout, language, "fonts")
    assert not missing_characters(words(page))
    assert page.truth.split() == " ".join(word.text for word in words(page)).split()


def test_a_character_that_no_font_has_would_be_noticed() -> None:
    page = make_page("receipt", "en", "fonts")
    assert missing_characters([Word("a档", 0, 0, words(page)[0].font)]) == {"档"}


@pytest.mark.parametrize("layout", SHORT)
@every_language
def test_every_word_of_the_truth_leaves_ink_on_the_page(layout: str, language: Language) -> None:
    page = made(layout, language, "fonts")
    with_text = np.asarray(page.draw(), np.int16)
    without = np.asarray(
        Page(language, (), size_px=page.size_px, shapes=page.shapes, paper=page.paper).draw(), np.int16
    )
    contrast = np.abs(with_text - without).max(axis=2)
    for word in words(page):
        left, top, right, bottom = map(round, word.box)
        assert contrast[top:bottom, left:right].max() > 80, word.text


@every_document
@every_language
@pytest.mark.parametrize("seed", ["fonts", "1"])
def test_words_are_inside_the_page_and_do_not_touch_each_other(layout: str, language: Language, seed: str) -> None:
    page = made(layout, language, seed)
    boxes = sorted((word.box for word in words(page)), key=lambda box: box[1])
    width, height = page.size_px
    assert all(box[0] > 0 and box[1] > 0 and box[2] < width and box[3] < height for box in boxes)
    for one, other in combinations(boxes, 2):
        if other[1] > one[3]:
            continue
        across, down = overlap_px(one, other)
        assert across <= 0 or down <= 0, (one, other)


@every_document
def test_the_seed_determines_the_document(layout: str) -> None:
    one, same, other = (make_page(layout, "zh", seed) for seed in ("1", "1", "2"))
    assert one.truth == same.truth != other.truth
    assert one.size_px == same.size_px
    if layout in SHORT:
        assert one.draw().tobytes() == same.draw().tobytes()


@every_language
def test_long_screenshots_are_up_to_30_000_px_tall_with_type_of_about_32_px(language: Language) -> None:
    pages = [make_page("long screenshot", language, str(seed)) for seed in range(6)]
    heights = [page.size_px[1] for page in pages]
    assert {page.size_px[0] for page in pages} == {1080}
    assert all(any(height in some for height in heights) for some in LONG_PX)
    assert all(any(height in some for some in LONG_PX) for height in heights)
    sizes = [word.font.size for word in words(pages[0])]
    assert 29 <= median(sizes) <= 32
    assert min(sizes) >= 24


@every_language
def test_a_receipt_has_amounts_that_are_found_in_its_own_text(language: Language) -> None:
    truth = made("receipt", language, "fonts").truth
    missed, amounts = missed_amounts(truth, truth)
    assert missed == 0
    assert amounts >= 8


@every_language
def test_a_key_value_page_has_each_label_before_its_value(language: Language) -> None:
    rows = made("key-value", language, "fonts").rows
    pairs = [row for row in rows if len(row) > 1]
    assert len(pairs) > 8
    assert all(row[0].x < row[-1].x for row in pairs)


@every_language
def test_the_boxes_of_a_page_hold_its_text_and_running_text_is_in_order(language: Language) -> None:
    page = made("slide", language, "boxes")
    texts = Counter("".join("".join(line.text for line in find_lines(page, random.Random(1))).split()))
    assert texts == Counter("".join(page.truth.split()))
    assert score_order(made("single", language, "boxes"), random.Random(1)).wrong_letters == 0


def test_every_group_has_a_name_of_its_own_and_every_document_a_group() -> None:
    names = [group.name for group in GROUPS]
    assert len(set(names)) == len(names)
    assert DOCUMENTS.keys() <= {group.layout for group in GROUPS}


@pytest.mark.parametrize("name", ["receipts", "slides, dark", "single, faint"])
def test_a_sample_is_a_colour_picture_of_its_page(name: str) -> None:
    group = next(group for group in GROUPS if group.name == name)
    one, same = make_sample(group, 4, 0), make_sample(group, 4, 0)
    assert isinstance(one.picture, Image.Image)
    assert one.picture.mode == "RGB"
    assert (one.truth, one.picture.tobytes()) == (same.truth, same.picture.tobytes())
