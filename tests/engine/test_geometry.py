"""The geometry of quadrilaterals."""

import base64
import math

import numpy as np
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from pipeline.engine.geometry import (
    RotatedRectangle,
    area,
    enclose,
    is_tall,
    place_on_sent_image,
    shared_areas,
    slice_quad,
    thickness,
)
from pipeline.engine.recognition import Line, Point, Quad
from tests.engine.geometry import quad
from tests.rendering import encode, font, turned
from tests.server.conftest import EngineServer

quads = st.builds(
    quad, st.floats(0, 1000), st.floats(0, 1000), st.floats(1, 500), st.floats(1, 100), st.sampled_from([0.0, 7.0])
)
upright = st.builds(quad, *(st.integers(low, high) for low, high in ((0, 1000), (0, 1000), (1, 500), (1, 100))))


@given(quads, st.floats(0, 1), st.floats(0, 1))
def test_a_slice_is_that_part_of_a_line(line: Quad, one: float, other: float) -> None:
    """It stands between the line's long edges."""
    start, end = sorted((one, other))
    part = slice_quad(line, start, end)
    expected = pytest.approx((end - start) * area(line), rel=1e-6, abs=1e-6)
    assert area(part) == expected
    assert shared_areas([line], [part]) == expected


@given(st.lists(upright, max_size=5), st.lists(upright, max_size=5))
def test_shared_areas_are_those_of_the_rectangles_in_common(some: list[Quad], others: list[Quad]) -> None:
    """For each with each, whichever way round they go."""
    expected = [[_shared(one, other) for other in others] for one in some]
    mirrored = [(other[3], other[2], other[1], other[0]) for other in others]
    assert shared_areas(some, others) == pytest.approx(np.reshape(expected, (len(some), len(others))))
    assert shared_areas(mirrored, some) == pytest.approx(np.reshape(expected, (len(some), len(others))).T)


def _shared(one: Quad, other: Quad) -> float:
    width = min(one[1][0], other[1][0]) - max(one[0][0], other[0][0])
    height = min(one[2][1], other[2][1]) - max(one[0][1], other[0][1])
    return max(0.0, width) * max(0.0, height)


def test_a_standing_line_is_as_thick_as_one_that_lies() -> None:
    """Type has its size whichever way it runs."""
    lying, standing = quad(0, 0, 200, 20), quad(0, 0, 20, 200)
    assert thickness(lying) == thickness(standing) == 20
    assert (is_tall(lying), is_tall(standing)) == (False, True)


coordinates = st.floats(0, 4000)
points = st.tuples(coordinates, coordinates)
any_quads = st.tuples(points, points, points, points)


def corners_of(box: RotatedRectangle) -> Quad:
    """Return the rectangle's corners, from the one where reading begins, clockwise."""
    cos, sin = math.cos(math.radians(box.angle_deg)), math.sin(math.radians(box.angle_deg))

    def corner(along: float, across: float) -> Point:
        u, v = along * box.width_px / 2, across * box.height_px / 2
        return box.x_px + u * cos - v * sin, box.y_px + u * sin + v * cos

    return corner(-1, -1), corner(1, -1), corner(1, 1), corner(-1, 1)


@given(
    points,
    st.floats(10, 2000),
    st.floats(1, 300),
    st.floats(-180, 180, exclude_min=True),
)
def test_a_rectangle_is_found_again(centre: Point, width: float, height: float, angle_deg: float) -> None:
    """Centre, sides and angle, whichever way it is turned: the width goes with the reading."""
    box = RotatedRectangle(*centre, width, height, angle_deg)
    found = enclose(corners_of(box))
    assert found.angle_deg == pytest.approx(angle_deg, abs=1e-3) or abs(angle_deg) > 179.99
    for corner, expected in zip(corners_of(found), corners_of(box), strict=True):
        assert corner == pytest.approx(expected, abs=1e-3)


@given(any_quads)
def test_the_rectangle_holds_all_corners_and_is_the_smallest(quad: Quad) -> None:
    """No rectangle at any whole degree is smaller."""
    box = enclose(quad)
    cos, sin = math.cos(math.radians(box.angle_deg)), math.sin(math.radians(box.angle_deg))
    for x, y in quad:
        assert abs((x - box.x_px) * cos + (y - box.y_px) * sin) <= box.width_px / 2 + 1e-6
        assert abs((y - box.y_px) * cos - (x - box.x_px) * sin) <= box.height_px / 2 + 1e-6
    for angle in np.radians(np.arange(0, 90)):
        turned_quad = np.array(quad) @ np.array(
            [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        )
        assert box.width_px * box.height_px <= float(np.prod(np.ptp(turned_quad, axis=0))) + 1e-3
    assert -180 < box.angle_deg <= 180


@pytest.mark.parametrize(
    ("quad", "rectangle"),
    [
        pytest.param(((0, 0), (8, 0), (8, 2), (0, 2)), (4, 1, 8, 2, 0), id="left-to-right"),
        pytest.param(((2, 0), (2, 8), (0, 8), (0, 0)), (1, 4, 8, 2, 90), id="downwards"),
        pytest.param(((8, 2), (0, 2), (0, 0), (8, 0)), (4, 1, 8, 2, 180), id="upside-down"),
        pytest.param(((0, 8), (0, 0), (2, 0), (2, 8)), (1, 4, 8, 2, -90), id="upwards"),
        pytest.param(((0, 0), (2, 0), (2, 8), (0, 8)), (1, 4, 2, 8, 0), id="a-column-of-upright-characters"),
        pytest.param(((5, 5), (5, 5), (5, 5), (5, 5)), (5, 5, 0, 0, 0), id="a-point"),
    ],
)
def test_the_angle_is_that_of_reading(quad: Quad, rectangle: tuple[float, ...]) -> None:
    """Clockwise from left to right, as the documented convention has it."""
    box = enclose(quad)
    assert (box.x_px, box.y_px, box.width_px, box.height_px, box.angle_deg) == pytest.approx(rectangle)


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([0, 90, 180, 270]), st.data())
def test_a_pixel_of_the_upright_page_is_found_on_the_sent_one(
    width: int, height: int, turn_deg: int, data: st.DataObject
) -> None:
    """NumPy turns the pixels, the geometry turns the corners, and they meet."""
    sent = np.arange(width * height).reshape(height, width)
    upright = np.rot90(sent, -turn_deg // 90)
    y, x = data.draw(st.tuples(*(st.integers(0, size - 1) for size in upright.shape)))
    corners: Quad = ((x, y), (x + 1, y), (x + 1, y + 1), (x, y + 1))
    (placed,) = place_on_sent_image([Line("", 1.0, corners)], turn_deg, (upright.shape[1], upright.shape[0]))
    sent_x, sent_y = (min(values) for values in zip(*placed.corners, strict=True))
    assert sent[int(sent_y), int(sent_x)] == upright[y, x]


def test_what_hangs_over_the_edge_is_cut() -> None:
    """A detector's box may be a little larger than the page."""
    line = Line("", 1.0, ((-3.0, -2.0), (105.0, -2.0), (105.0, 12.0), (-3.0, 12.0)))
    (placed,) = place_on_sent_image([line], 0, (100, 50))
    assert placed.corners == ((0, 0), (100, 0), (100, 12), (0, 12))


WORDS = {"Harvest register": (120, 150), "收成登记簿": (520, 430), "Village of Bridges": (300, 700)}
SLACK_PX = 14
"""The detector leaves a margin around the ink: at most so much with type of 44 px."""


def render_words() -> tuple[Image.Image, dict[str, tuple[float, float, float, float]]]:
    """Return a page, and for each line on it the bounds of its ink: left, top, right, bottom."""
    page = Image.new("RGB", (1000, 900), "white")
    draw, bounds = ImageDraw.Draw(page), {}
    for text, place in WORDS.items():
        draw.text(place, text, "black", font(44))
        bounds[text] = draw.textbbox(place, text, font(44))
    return page, bounds


def turn_point(point: Point, turn_deg: int, size_px: tuple[int, int]) -> Point:
    """Return where a point of a picture lies once that was turned clockwise."""
    (x, y), (width, height) = point, size_px
    return {0: (x, y), 90: (height - y, x), 180: (width - x, height - y), 270: (y, width - x)}[turn_deg]


@pytest.mark.engine
@pytest.mark.parametrize("turn_deg", [0, 90, 180, 270])
def test_the_corners_lie_on_the_words_of_the_image_that_was_sent(engine_server: EngineServer, turn_deg: int) -> None:
    """From the text's top left clockwise, also where the page lies on its side or on its head."""
    page, bounds = render_words()
    image = encode(turned(page, turn_deg))
    response = requests.post(
        f"{engine_server.base_url}/api/advanced-recognition",
        params={"key": engine_server.key},
        json={"document": {"type": "image_url", "image_url": base64.b64encode(image).decode()}},
        timeout=120,
    )
    reply = response.json()
    assert (response.status_code, reply["format"]) == (200, "json")
    lines = reply["ocrResult"]["words_info"]
    assert reply["content"].split("\n") == [line["text"] for line in lines] == list(WORDS)
    for line in lines:
        left, top, right, bottom = bounds[line["text"]]
        expected = [
            turn_point(corner, turn_deg, page.size)
            for corner in ((left, top), (right, top), (right, bottom), (left, bottom))
        ]
        found = zip(line["location"][::2], line["location"][1::2], strict=True)
        for (x, y), (true_x, true_y) in zip(found, expected, strict=True):
            assert math.hypot(x - true_x, y - true_y) < SLACK_PX
        angle_deg = line["rotate_rect"][4]
        assert abs(math.remainder(angle_deg - turn_deg, 360)) < 2
        assert line["rotate_rect"][2] > line["rotate_rect"][3]
        assert 0.9 < line["confidence"] <= 1
