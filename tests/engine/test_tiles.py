"""Tiles of long pages: they cover the page, and no line is lost, cut or doubled at their edges."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from pipeline.engine.pixels import Pixels
from pipeline.engine.recognition import Quad
from pipeline.engine.tiles import OVERLAP_PX, Tile, blank_rows, detect_in_tiles, join_tiles, plan_tiles
from tests.engine.geometry import quad
from tests.evaluation.layouts import make_page
from tests.rendering import font

TILE_PX = 900

Lines = list[tuple[int, int]]
"""(top, bottom) of each line, in px."""


@st.composite
def pages(draw: st.DrawFn, *, gap_px: int) -> tuple[int, Lines]:
    """Return the height of a page and its lines, at least this far apart: with a gap of 0, most rows have ink."""
    lines, bottom = [], 0
    for height, gap in draw(
        st.lists(st.tuples(st.integers(8, 150), st.integers(gap_px, gap_px + 60)), min_size=1, max_size=60)
    ):
        lines.append((bottom + gap, bottom + gap + height))
        bottom = lines[-1][1]
    return bottom + draw(st.integers(1, 300)), lines


def rows_without(lines: Lines, height: int) -> np.ndarray:
    is_blank = np.ones(height, np.bool_)
    for top, bottom in lines:
        is_blank[top:bottom] = False
    return is_blank


def visible(lines: Lines, tile: Tile) -> list[Quad]:
    """Return the boxes of a detector that finds each line, or the part of it, that a tile shows."""
    shown = [(max(top, tile.top), min(bottom, tile.bottom)) for top, bottom in lines]
    return [quad(10, top, 400, bottom - top) for top, bottom in shown if bottom > top]


@given(st.lists(st.booleans(), min_size=1, max_size=6000), st.integers(40, 1000))
def test_tiles_cover_the_page_and_abut_at_blank_rows_or_overlap(is_blank: list[bool], tile_px: int) -> None:
    tiles = plan_tiles(np.array(is_blank), tile_px)
    assert (tiles[0].top, tiles[-1].bottom) == (0, len(is_blank))
    assert all(0 < tile.bottom - tile.top <= 1.25 * tile_px + 1 for tile in tiles)
    for above, below in pairwise(tiles):
        assert above.top < below.top
        assert below.top <= above.bottom
        assert below.top < above.bottom or is_blank[below.top]


@given(pages(gap_px=1))
def test_lines_with_white_between_them_are_found_once_and_whole(page: tuple[int, Lines]) -> None:
    height, lines = page
    tiles = plan_tiles(rows_without(lines, height), TILE_PX)
    found = join_tiles(tiles, [visible(lines, tile) for tile in tiles])
    assert sorted((round(box[0][1]), round(box[3][1])) for box in found) == lines


@given(pages(gap_px=0))
def test_lines_on_a_page_without_a_blank_row_are_found_once_and_whole(page: tuple[int, Lines]) -> None:
    """As on a photograph: the tiles overlap, and each line is whole in one of them."""
    height, lines = page
    tiles = plan_tiles(np.zeros(height, np.bool_), TILE_PX)
    found = join_tiles(tiles, [visible(lines, tile) for tile in tiles])
    assert sorted((round(box[0][1]), round(box[3][1])) for box in found) == lines


def test_without_overlap_lines_would_be_cut() -> None:
    """The negative control."""
    lines = [(top, top + 100) for top in range(0, 3000, 110)]
    tiles = [Tile(0, 1550), Tile(1550, 3000)]
    found = join_tiles(tiles, [visible(lines, tile) for tile in tiles])
    assert len(found) == len(lines) + 1


def test_a_page_that_is_not_long_is_detected_whole() -> None:
    seen: list[Pixels] = []

    def detect(part: Pixels) -> list[Quad]:
        seen.append(part)
        return []

    for size_px in ((1000, 3900), (300, 1400), (3000, 100)):
        page = np.full((size_px[1], size_px[0], 3), 255, np.uint8)
        assert detect_in_tiles(page, detect) == []
        assert seen.pop() is page


def test_boxes_of_tiles_are_moved_to_their_place_on_the_page() -> None:
    page = np.full((8000, 1000, 3), 255, np.uint8)
    found = detect_in_tiles(page, lambda _: [quad(10, 20, 110, 60)])
    tops = [box[0][1] for box in found]
    assert len(tops) >= 4
    assert tops == sorted(tops)
    assert tops[0] == 20


@pytest.mark.parametrize("text", ["二三", "Total: 1,234.50"])
def test_only_rows_without_type_are_blank_whatever_runs_down_the_page(text: str) -> None:
    """The edges of a card and of a grey panel cross all rows."""
    picture = Image.new("RGB", (600, 1200), (243, 244, 246))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((40, 0, 560, 1199), fill="white", outline=(60, 60, 60), width=2)
    draw.rectangle((420, 0, 520, 1199), fill=(120, 120, 120))
    tops = list(range(100, 1100, 90))
    for top in tops:
        draw.text((80, top), text, "black", font(32))
    is_blank = blank_rows(np.asarray(picture)[:, :, ::-1])
    left, ink_top, right, ink_bottom = font(32).getbbox(text)
    assert left < right
    for top in tops:
        ink = is_blank[top + round(ink_top) + 1 : top + round(ink_bottom) - 1]
        assert not ink.all()
    between = [is_blank[top + round(ink_bottom) + 2 : top + 88] for top in tops]
    assert all(rows.all() for rows in between)


@pytest.mark.engine
def test_no_word_of_a_long_screenshot_is_lost_or_found_twice() -> None:
    """Of this page, seen whole, the engine found one box for 639 words."""
    from pipeline.engine.engine import Engine  # noqa: PLC0415 - takes seconds to load

    page = make_page("long screenshot", "en", "27")
    _, quads = Engine("openvino", 1)._detect(np.ascontiguousarray(np.asarray(page.draw())[:, :, ::-1]))
    boxes = [word.box for row in page.rows for word in row]
    middles = [((left + right) / 2, (top + bottom) / 2) for left, top, right, bottom in boxes]
    found = [sum(q[0][0] <= x <= q[1][0] and q[0][1] <= y <= q[3][1] for q in quads) for x, y in middles]
    assert len(middles) > 500
    assert sum(count == 0 for count in found) <= 0.002 * len(found)
    assert max(found) == 1


def test_the_overlap_is_wider_than_the_lines_of_the_property_test() -> None:
    assert OVERLAP_PX > 150 + 60
