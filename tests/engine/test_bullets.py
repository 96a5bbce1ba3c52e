"""Bullets that the detector overlooks are found in the white before a line, and specks are not taken for them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from pipeline.engine.bullets import add_bullets
from pipeline.engine.pixels import Pixels
from pipeline.engine.recognition import Line

HEIGHT = 40
Mark = tuple[str, float]
"""Shape, and distance of its middle from the line in line heights."""


def page(marks: list[Mark | None], *, ink: str = "black", paper: str = "white") -> tuple[Pixels, list[Line]]:
    """Return a page of lines, each a block of ink, with these marks before them."""
    picture = Image.new("RGB", (600, 70 * len(marks) + 40), paper)
    draw = ImageDraw.Draw(picture)
    lines = []
    for number, mark in enumerate(marks):
        top = 20 + 70 * number
        draw.rectangle((200, top + 8, 500, top + 32), fill=ink)
        if mark is not None:
            draw_mark(draw, mark, top + HEIGHT / 2, ink)
        corners = ((200.0, top + 0.0), (500.0, top + 0.0), (500.0, top + HEIGHT + 0.0), (200.0, top + HEIGHT + 0.0))
        lines.append(Line(f"item {number}", 0.9, corners))
    return np.ascontiguousarray(np.asarray(picture)[:, :, ::-1]), lines


def draw_mark(draw: ImageDraw.ImageDraw, mark: Mark, middle: float, ink: str) -> None:
    """Draw a mark before a line whose middle is given."""
    shape, distance = mark
    x = 200 - distance * HEIGHT
    match shape:
        case "disc":
            draw.ellipse((x - 6, middle - 6, x + 6, middle + 6), fill=ink)
        case "dash":
            draw.rectangle((x - 12, middle - 1, x + 12, middle + 2), fill=ink)
        case "speck":
            draw.rectangle((x, middle, x + 1, middle + 1), fill=ink)
        case "ring":
            draw.ellipse((x - 6, middle - 6, x + 6, middle + 6), outline=ink, width=1)
        case "letter":
            draw.rectangle((x - 9, middle - 14, x + 9, middle + 14), fill=ink)
        case "full stop":
            draw.ellipse((x - 4, middle + 12, x + 4, middle + 20), fill=ink)
        case _:
            raise AssertionError(shape)


def signs(marks: list[Mark | None], **colours: str) -> list[str]:
    """Return what precedes each line's text."""
    pixels, lines = page(marks, **colours)
    return [line.text.removesuffix(old.text) for line, old in zip(add_bullets(pixels, lines), lines, strict=True)]


@pytest.mark.parametrize(
    "colours", [{}, {"ink": "white", "paper": "#203040"}, {"ink": "#777777"}], ids=["black", "dark", "grey"]
)
@pytest.mark.parametrize(("shape", "sign"), [("disc", "• "), ("dash", "– ")])
def test_items_of_a_list_get_their_marks(shape: str, sign: str, colours: dict[str, str]) -> None:
    assert signs([(shape, 1.0), None, (shape, 1.05)], **colours) == [sign, "", sign]


@pytest.mark.parametrize("shape", ["speck", "ring", "letter", "full stop"])
def test_other_marks_are_none(shape: str) -> None:
    assert signs([(shape, 1.0), (shape, 1.0)]) == ["", ""]


def test_a_mark_without_a_companion_is_none() -> None:
    assert signs([("disc", 1.0), ("dash", 1.0), ("disc", 2.0)]) == ["", "", ""]


def test_marks_that_were_read_are_not_doubled() -> None:
    pixels, lines = page([("disc", 1.0), ("disc", 1.0)])
    read = [Line(f"• {line.text}", line.confidence, line.corners) for line in lines]
    assert add_bullets(pixels, read) == read


def test_the_box_grows_by_the_mark() -> None:
    pixels, lines = page([("disc", 1.0), ("disc", 1.0)])
    first, _ = add_bullets(pixels, lines)
    assert first.corners[0] == pytest.approx((154, 20), abs=2)
    assert first.corners[1:3] == lines[0].corners[1:3]


@given(st.lists(st.tuples(*[st.tuples(st.floats(-50, 700), st.floats(-50, 200))] * 4), max_size=4))
def test_any_boxes_are_allowed(quads: list[tuple[tuple[float, float], ...]]) -> None:
    pixels, _ = page([("disc", 1.0)])
    lines = [Line("x", 0.5, quad) for quad in quads]  # type: ignore[arg-type]
    assert len(add_bullets(pixels, lines)) == len(lines)
