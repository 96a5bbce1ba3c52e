"""Lines are found in the upright page again, however the image was made that was sent."""

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from pipeline.batch.line_positions import (
    TileLines,
    bounds,
    extent_px,
    join_tile_lines,
    move,
    parse_size,
    to_upright,
    upright_px,
)
from pipeline.errors import PageError
from pipeline.inputs.correction import Correction, Source, describe
from pipeline.inputs.fit import fit
from pipeline.pixels.affine import Affine, orienting, rotating, scaling
from pipeline.pixels.orientation import upright_size_px
from pipeline.positions import TextLine
from pipeline.records import Prep
from pipeline.tiles import Tile
from pipeline.wire import Limits

LIMITS = Limits()


def line(*box: float, text: str = "x") -> TextLine:
    left, top, right, bottom = box
    return TextLine(text, (left, top, right, top, right, bottom, left, bottom))


@given(st.integers(8, 20_000), st.integers(8, 20_000), st.floats(0, 1), st.floats(0, 1))
def test_scale_and_padding_are_undone(width: int, height: int, x: float, y: float) -> None:
    try:
        needed = fit((width, height), LIMITS)
    except PageError:
        reject()
    prep = Prep("png", *needed.padded_px, bytes=1, scale=round(needed.scale, 6))
    left, top = ((padded - scaled) // 2 for padded, scaled in zip(needed.padded_px, needed.scaled_px, strict=True))
    sent = left + x * needed.scaled_px[0], top + y * needed.scaled_px[1]
    found = to_upright(prep, (width, height)).map(*sent)
    assert found == pytest.approx((x * width, y * height), abs=1.5 / needed.scale)
    assert upright_px(prep, f"{width}x{height}:ab") == (width, height)


@given(st.integers(200, 3000), st.integers(200, 3000), st.sampled_from([1, 3, 6, 8]), st.floats(-5, 5), st.floats(0, 1))
def test_corrections_are_undone_in_the_frame_of_the_viewer(
    width: int, height: int, orientation: int, skew_deg: float, share: float
) -> None:
    source = Source((width, height), orientation=orientation)
    upright = source.upright_px()
    canvas = (upright[0] + 300, upright[1] + 300)
    from_source = orienting((width, height), orientation).then(rotating(upright, skew_deg, canvas))
    corrections = describe(Correction(deskewed_deg=skew_deg), from_source)
    rotation_deg = {1: 0, 3: 180, 6: 90, 8: 270}[orientation]
    prep = Prep("png", *canvas, bytes=1, rotation_deg=rotation_deg, corrections=corrections)
    point = (share * upright[0], (1 - share) * upright[1])
    sent = rotating(upright, skew_deg, canvas).map(*point)
    assert to_upright(prep, upright).map(*sent) == pytest.approx(point, abs=0.05)


def test_without_the_size_of_the_source_the_scale_tells_it() -> None:
    assert upright_px(Prep("png", 2000, 1000, 1, scale=0.5)) == (4000, 2000)
    assert parse_size(None) is None
    assert parse_size("12x34") == (12, 34)
    assert extent_px([]) == (1, 1)
    assert extent_px([line(0, 0, 10.2, 5)]) == (11, 5)


def test_tiles_are_moved_to_their_place_and_scaled() -> None:
    tiles = [Tile(1, 2, (0, 0, 400, 1000), "begin"), Tile(2, 2, (0, 1000, 400, 2000), "blank")]
    prep = Prep("png", 200, 500, 1, scale=0.5)
    found = join_tile_lines([TileLines(tile, prep, [line(10, 20, 110, 40)]) for tile in tiles])
    assert [bounds(each) for each in found] == [(20, 40, 220, 80), (20, 1040, 220, 1080)]


def test_a_line_that_two_tiles_found_is_kept_once_with_the_whole_reading() -> None:
    tiles = [Tile(1, 2, (0, 0, 400, 1000), "begin"), Tile(2, 2, (0, 950, 400, 2000), "overlap")]
    upper = [line(0, 900, 100, 920), line(0, 990, 100, 1000, text="cut")]
    lower = [line(0, 40, 100, 60, text="whole"), line(0, 80, 100, 100)]
    found = join_tile_lines([TileLines(tiles[0], None, upper), TileLines(tiles[1], None, lower)])
    assert [each.text for each in found] == ["x", "whole", "x"]
    assert bounds(found[1]) == (0, 990, 100, 1010)


@given(st.sampled_from(range(1, 9)), st.integers(1, 500), st.integers(1, 500))
def test_moving_keeps_the_order_of_the_corners(orientation: int, width: int, height: int) -> None:
    by: Affine = orienting((width, height), orientation).then(scaling((2, 2), (4, 4)))
    moved = move(line(0, 0, width, height), by)
    assert moved.box[:2] == pytest.approx(by.map(0, 0))
    right, down = upright_size_px((width, height), orientation)
    assert bounds(moved) == pytest.approx((0, 0, 2 * right, 2 * down))
