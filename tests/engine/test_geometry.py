"""The geometry of quadrilaterals."""

import base64
import math

import numpy as np
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from pipeline.engine.detection_scales import area_px, overlap_areas_px
from pipeline.engine.geometry import (
    RotatedRectangle,
    enclose,
    is_tall,
    place_on_sent_image,
    slice_quad,
    thickness_px,
)
from pipeline.engine.recognition import Line, Point, Quad
from tests.engine.geometry import quad
from tests.engine_server import EngineServer
from tests.rendering import encode, font, turned

quads = st.builds(
    quad, st.floats(0, 1000), st.floats(0, 1000), st.floats(1, 500), st.floats(1, 100), st.sampled_from([0.0, 7.0])
)


@given(quads, st.floats(0, 1), st.floats(0, 1))
def test_a_slice_has_its_share_of_the_area_and_is_inside_the_line(line: Quad, one: float, other: float) -> None:
    start, end = sorted((one, other))
    part = slice_quad(line, start, end)
    expected = pytest.approx((end - start) * area_px(line), rel=1e-6, abs=1e-6)
    assert area_px(part) == expected
    assert overlap_areas_px([line], [part]) == expected


def test_vertical_and_horizontal_lines_have_the_same_thickness() -> None:
    lying, standing = quad(0, 0, 200, 20), quad(0, 0, 20, 200)
    assert thickness_px(lying) == thickness_px(standing) == 20
    assert (is_tall(lying), is_tall(standing)) == (False, True)


coordinates = st.floats(0, 4000)
points = st.tuples(coordinates, coordinates)
any_quads = st.tuples(points, points, points, points)


def corners_of(box: RotatedRectangle) -> Quad:
    """Return the rectangle's corners in the order of reading."""
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
def test_the_rectangle_around_its_own_corners_is_the_same(
    centre: Point, width: float, height: float, angle_deg: float
) -> None:
    box = RotatedRectangle(*centre, width, height, angle_deg)
    found = enclose(corners_of(box))
    assert found.angle_deg == pytest.approx(angle_deg, abs=1e-3) or abs(angle_deg) > 179.99
    for corner, expected in zip(corners_of(found), corners_of(box), strict=True):
        assert corner == pytest.approx(expected, abs=1e-3)


@given(any_quads)
def test_the_rectangle_contains_all_corners_and_has_the_least_area(quad: Quad) -> None:
    """Compared with the rectangles at every whole degree."""
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
def test_the_angle_is_the_direction_of_reading(quad: Quad, rectangle: tuple[float, ...]) -> None:
    """Clockwise from left to right, as the API documents it."""
    box = enclose(quad)
    assert (box.x_px, box.y_px, box.width_px, box.height_px, box.angle_deg) == pytest.approx(rectangle)


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([0, 90, 180, 270]), st.data())
def test_corners_are_turned_back_as_pixels_are(width: int, height: int, turn_deg: int, data: st.DataObject) -> None:
    """NumPy turns the pixels, the geometry turns the corners back."""
    sent = np.arange(width * height).reshape(height, width)
    upright = np.rot90(sent, -turn_deg // 90)
    y, x = data.draw(st.tuples(*(st.integers(0, size - 1) for size in upright.shape)))
    corners: Quad = ((x, y), (x + 1, y), (x + 1, y + 1), (x, y + 1))
    (placed,) = place_on_sent_image([Line("", 1.0, corners)], turn_deg, (upright.shape[1], upright.shape[0]))
    sent_x, sent_y = (min(values) for values in zip(*placed.corners, strict=True))
    assert sent[int(sent_y), int(sent_x)] == upright[y, x]


def test_corners_beyond_the_page_are_clipped() -> None:
    """A detector's box may be a little larger than the page."""
    line = Line("", 1.0, ((-3.0, -2.0), (105.0, -2.0), (105.0, 12.0), (-3.0, 12.0)))
    (placed,) = place_on_sent_image([line], 0, (100, 50))
    assert placed.corners == ((0, 0), (100, 0), (100, 12), (0, 12))


WORDS = {"Harvest register": (120, 150), "收成登记簿": (520, 430), "Village of Bridges": (300, 700)}
TOLERANCE_PX = 14
"""Largest margin that the detector leaves around the ink of type of 44 px."""


def render_words() -> tuple[Image.Image, dict[str, tuple[float, float, float, float]]]:
    """Return a page, and for each line on it the bounds of its ink: left, top, right, bottom."""
    page = Image.new("RGB", (1000, 900), "white")
    draw, bounds = ImageDraw.Draw(page), {}
    for text, place in WORDS.items():
        draw.text(place, text, "black", font(44))
        bounds[text] = draw.textbbox(place, text, font(44))
    return page, bounds


def turn_point(point: Point, turn_deg: int, size_px: tuple[int, int]) -> Point:
    """Return the position of a point after its image was turned clockwise."""
    (x, y), (width, height) = point, size_px
    return {0: (x, y), 90: (height - y, x), 180: (width - x, height - y), 270: (y, width - x)}[turn_deg]


@pytest.mark.engine
@pytest.mark.parametrize("turn_deg", [0, 90, 180, 270])
def test_the_corners_are_on_the_words_of_the_image_as_sent(engine_server: EngineServer, turn_deg: int) -> None:
    """In the order of reading, also on pages that were sent on their side or upside down."""
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
            assert math.hypot(x - true_x, y - true_y) < TOLERANCE_PX
        angle_deg = line["rotate_rect"][4]
        assert abs(math.remainder(angle_deg - turn_deg, 360)) < 2
        assert line["rotate_rect"][2] > line["rotate_rect"][3]
        assert 0.9 < line["confidence"] <= 1
