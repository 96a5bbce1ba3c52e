"""The score of a page, and the reasons for doubt."""

import base64
from dataclasses import replace
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from PIL import Image, ImageFilter

from pipeline.engine.quality import (
    THRESHOLD,
    UNREAD_BY_PICTURES,
    UNREAD_LIKE_TYPE,
    USUAL_CHARACTERS,
    describe_doubt,
    judge,
)
from pipeline.engine.recognition import Line, Recognition
from pipeline.quality import Confidence, Quality, round_quality
from tests.engine_server import EngineServer
from tests.rendering import encode, render
from tests.runs import ROOT

BOX = ((0.0, 0.0), (9.0, 0.0), (9.0, 9.0), (0.0, 9.0))
SHARES = st.floats(0, 1)
LINES = st.lists(st.builds(Line, st.text(max_size=5), SHARES, st.just(BOX)), max_size=5).map(tuple)
RECOGNITIONS = st.builds(Recognition, st.just(""), LINES, unread_ink=SHARES, unread_type=SHARES)


def read(
    *confidences: float, unread_ink: float = 0.0, unread_type: float = 0.0, line_characters: int = USUAL_CHARACTERS
) -> Quality:
    """Return the quality of a page whose lines have these confidences."""
    lines = tuple(Line("x " * line_characters, confidence, BOX) for confidence in confidences)
    return judge(Recognition("", lines, unread_ink=unread_ink, unread_type=unread_type))


@given(RECOGNITIONS)
def test_every_page_has_a_quality_that_can_be_sent(recognition: Recognition) -> None:
    quality = judge(recognition)
    assert round_quality(quality) == quality
    assert bool(describe_doubt(quality)) == quality.is_in_doubt


@given(RECOGNITIONS, SHARES)
def test_neither_less_confidence_nor_more_unread_ink_raises_the_score(recognition: Recognition, share: float) -> None:
    score = judge(recognition).score
    for name in ("unread_ink", "unread_type"):
        more = max(share, getattr(recognition, name))
        assert judge(structs.replace(recognition, **{name: more})).score <= score
    less = tuple(structs.replace(line, confidence=line.confidence * share) for line in recognition.lines)
    assert judge(structs.replace(recognition, lines=less)).score <= score


def test_confidence_is_weighted_by_characters_and_the_least_certain_line_is_named() -> None:
    lines = (Line("three", 0.9, BOX), Line("一", 0.3, BOX))
    quality = judge(Recognition("", lines, precision="bf16"))
    assert (quality.confidence, quality.precision) == (Confidence(0.8, 0.3), "bf16")


def test_the_score_is_about_the_share_of_the_text_that_is_right() -> None:
    assert read(0.95).score == pytest.approx(0.9, abs=0.01)
    assert read(0.99, unread_ink=UNREAD_BY_PICTURES + 0.1 * (1 - UNREAD_BY_PICTURES)).score == pytest.approx(
        0.88, abs=0.01
    )


def test_a_few_uncertain_characters_on_a_short_page_are_few_errors() -> None:
    """Ten characters hold few errors; a word of which all are uncertain is in doubt nevertheless."""
    assert read(0.93).is_in_doubt
    assert not read(0.93, line_characters=10).is_in_doubt
    assert read(0.5, line_characters=10).is_in_doubt


def test_the_errors_of_a_long_page_count_although_they_are_a_small_share() -> None:
    assert not read(0.97).is_in_doubt
    assert read(0.97, line_characters=8 * USUAL_CHARACTERS).is_in_doubt
    page, label = read(0.97, line_characters=2000), read(0.9, line_characters=10)
    assert page.score < label.score


def test_a_page_of_which_a_word_was_read_is_as_long_as_its_ink_says() -> None:
    """Of a lost page with 5 % of its ink read, the word is no short page."""
    assert read(0.99, unread_ink=0.95, line_characters=20).score < 0.4


def test_the_ink_of_pictures_and_of_a_logo_costs_nothing() -> None:
    quality = read(0.98, unread_ink=UNREAD_BY_PICTURES, unread_type=UNREAD_LIKE_TYPE)
    assert (quality.score > 0.96, describe_doubt(quality)) == (True, ())


@pytest.mark.parametrize(
    ("quality", "reasons"),
    [
        pytest.param(read(0.99, unread_ink=0.9), ["much ink is unread: 90 %"], id="lost-with-the-best-confidence"),
        pytest.param(
            read(0.99, unread_ink=0.43, unread_type=0.41),
            ["much ink that looks like type is unread: 41 %"],
            id="lost-type",
        ),
        pytest.param(
            read(*[0.98] * 20),
            ["the page is long, so that some of its text is probably wrong: mean confidence 0.98"],
            id="long",
        ),
        pytest.param(read(0.7, 0.8), ["the recogniser is unsure of the text: mean confidence 0.75"], id="hard-to-read"),
        pytest.param(
            read(0.6, unread_ink=0.7),
            ["much ink is unread: 70 %", "the recogniser is unsure of the text: mean confidence 0.60"],
            id="both",
        ),
        pytest.param(read(unread_ink=1.0), ["no text was found, although the page has ink"], id="nothing-found"),
    ],
)
def test_a_page_in_doubt_says_why(quality: Quality, reasons: list[str]) -> None:
    assert quality.is_in_doubt
    assert list(describe_doubt(quality)) == reasons


def post(server: EngineServer, page: Image.Image) -> dict[str, Any]:
    """Return the advanced endpoint's reply."""
    response = requests.post(
        f"{server.base_url}/api/advanced-recognition",
        params={"key": server.key},
        json={"document": {"type": "image_url", "image_url": base64.b64encode(encode(page)).decode()}},
        timeout=120,
    )
    reply = response.json()
    assert response.status_code == 200, reply
    assert isinstance(reply, dict)
    return reply


@pytest.mark.engine
def test_the_engine_trusts_a_clean_page_and_a_blank_scan_and_doubts_a_blurred_page(engine_server: EngineServer) -> None:
    lines = ["The parish register of 1887 was copied by hand", "新华街文具店一九八四年九月三日", "Received with thanks"]
    clean = render(*lines, size_px=(1000, 400), type_px=30)
    trusted, doubted = post(engine_server, clean), post(engine_server, clean.filter(ImageFilter.GaussianBlur(6)))
    assert trusted["content"] == "\n".join(lines)
    assert (trusted["quality"]["score"] > 0.95, trusted["quality"]["precision"]) == (True, "f32")
    assert doubted["quality"]["score"] < doubted["quality"]["threshold"]
    assert (trusted["warnings"], bool(doubted["warnings"])) == ([], True)
    blank = post(engine_server, Image.open(ROOT / "sample_data/journals/blank-back.png"))
    assert (blank["content"], blank["quality"]["score"], blank["warnings"]) == ("", 1.0, [])


def test_a_blank_page_is_not_in_doubt() -> None:
    assert read() == Quality(1.0, THRESHOLD, None, 0.0, 0.0, "f32")
    assert not replace(read(), score=THRESHOLD).is_in_doubt
