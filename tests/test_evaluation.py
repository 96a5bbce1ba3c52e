"""The evaluation set, and the scores of the benchmarks that use it."""

import random
from itertools import pairwise

import pytest
from PIL import Image

from tests.benchmarks.scans import count_jumps
from tests.evaluation.damage import DAMAGES
from tests.evaluation.groups import GROUPS, samples
from tests.evaluation.layouts import LAYOUTS, SMALL_LAYOUTS, Layout, make_page
from tests.evaluation.pages import FACES
from tests.evaluation.typesetting import NOT_FIRST, wrap
from tests.evaluation.writing import COMMON_HAN, LANGUAGES, Language, Writer


@pytest.mark.parametrize("layout", LAYOUTS + SMALL_LAYOUTS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_page_has_at_least_900_characters_inside_its_edges(layout: Layout, language: Language) -> None:
    page = make_page(layout, language, "paper")
    boxes = [word.box for row in page.rows for word in row]
    assert min(min(box[:2]) for box in boxes) > 0
    assert max(box[2] for box in boxes) < page.size_px[0]
    assert max(box[3] for box in boxes) < page.size_px[1]
    assert len(page.truth) > 900


@pytest.mark.parametrize("language", ["zh", "traditional"])
def test_vertical_columns_run_from_the_top_and_from_right_to_left(language: Language) -> None:
    """Inside the page, tier by tier, with the title first and largest, and without digits and Latin letters."""
    page = make_page("vertical", language, "columns")
    words = [word for (word,) in page.rows]
    assert all(word.direction == "ttb" for word in words)
    assert all(one.x > other.x or one.box[3] < other.y for one, other in pairwise(words))
    assert words[0].font.size == max(word.font.size for word in words)
    assert min(min(word.box[:2]) for word in words) > 0
    assert max(word.box[3] for word in words) < page.size_px[1]
    assert len(page.truth) > 900
    assert not any(character.isascii() and character != "\n" for character in page.truth)
    assert ("檔" in Writer(random.Random(1)).paragraph(language, 200)) == (language == "traditional")


def test_the_seed_determines_the_page() -> None:
    """So that the page behind a figure can be inspected, and parameters tuned on one seed are reported on another."""
    one, same, other = (make_page("two columns", "mixed", seed) for seed in ("1", "1", "2"))
    assert (one.truth, one.draw().tobytes()) == (same.truth, same.draw().tobytes())
    assert one.truth != other.truth


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_changes_the_picture_and_not_its_mode(damage: str) -> None:
    picture = make_page("single", "en", "damage").draw()
    damaged, again = (DAMAGES[damage](picture, random.Random(3)) for _ in range(2))
    assert damaged.mode == "RGB"
    assert damaged.tobytes() == again.tobytes() != picture.tobytes()


def test_a_group_turned_by_90_degrees_is_turned_clockwise() -> None:
    group = next(group for group in GROUPS if group.turn_deg == 90)
    (sample,) = samples(group, 1, 1)
    upright = sample.picture.transpose(Image.Transpose.ROTATE_90)
    assert sample.picture.width > sample.picture.height
    assert upright.tobytes() == make_page("single", "zh", f"1 {group.name} 0").draw().tobytes()


def test_no_line_begins_with_a_mark_or_breaks_a_word_or_is_too_long() -> None:
    for language in LANGUAGES:
        text = Writer(random.Random(1)).paragraph(language, 30)
        font = FACES[language][0].at(24)
        lines = wrap(text, font, 500)
        assert not {line[0] for line in lines} & NOT_FIRST
        assert "".join(lines).replace(" ", "") == text.replace(" ", "")
        assert set(" ".join(lines).split()) >= {word for word in text.split() if word.isascii()}
        assert max(map(font.getlength, lines)) < 500 + 3 * 24


def test_rare_characters_occur() -> None:
    """A model cannot have learned all of GB 2312's first level from a few phrases."""
    assert len(COMMON_HAN) == 3755
    text = Writer(random.Random(1)).paragraph("zh", 2000)
    assert len(set(text) & set(COMMON_HAN)) > 3000


PHRASES = ["the first of all phrases", "one that comes second", "another in third place", "and what ends the page"]


def test_a_text_in_order_has_no_jump_whatever_its_white_space() -> None:
    assert count_jumps(PHRASES, "\n".join(PHRASES).replace(" ", "  ")) == (4, 0)


def test_columns_that_are_read_row_by_row_have_jumps() -> None:
    assert count_jumps(PHRASES, "\n".join(PHRASES[i] for i in (0, 2, 1, 3))) == (4, 3)


@pytest.mark.parametrize("misread", ["one thal comes sccond", "0ne that comes second"])
def test_a_phrase_with_some_wrong_letters_is_found(misread: str) -> None:
    assert count_jumps(PHRASES, "\n".join([PHRASES[0], misread, *PHRASES[2:]])) == (4, 0)


def test_a_phrase_that_was_not_read_is_not_a_jump() -> None:
    assert count_jumps(PHRASES, "\n".join([PHRASES[0], *PHRASES[2:]])) == (3, 0)
