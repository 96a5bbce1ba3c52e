"""Tiles: their number follows from the size, together they are the whole page, and each fits and is legible."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.errors import DecompressionBombError, UnfittableImageError
from pipeline.inputs.fit import fit
from pipeline.inputs.tiling import TILE_SCALE, Bands, Cuts, count_tiles, place_tiles, plan_cuts
from pipeline.tiles import Tile
from pipeline.wire import Limits

VENDOR = Limits()
LONG = st.tuples(st.integers(8, 6000), st.integers(8001, 45_000)).filter(lambda size: size[0] * size[1] < 290_000_000)


def no_bands(begin: int, end: int) -> Bands:
    """Find no blank band, as in a photograph."""
    assert begin < end
    return ()


def along(cuts: Cuts, tile: Tile) -> tuple[int, int]:
    """Return where a tile begins and ends along the long edge."""
    left, top, right, bottom = tile.box
    return (top, bottom) if cuts.is_tall else (left, right)


@pytest.mark.parametrize(
    ("size_px", "tiles"),
    [
        pytest.param((2480, 3508), 1, id="a4"),
        pytest.param((9933, 14_043), 1, id="a0-at-300-dpi"),
        pytest.param((14_043, 9933), 1, id="a0-lying"),
        pytest.param((1080, 8000), 1, id="half-its-size-is-legible"),
        pytest.param((1080, 8001), 2, id="below-half-its-size"),
        pytest.param((4000, 12_000), 1, id="three-times-as-long-as-wide"),
        pytest.param((3999, 12_000), 3, id="longer-than-that"),
        pytest.param((1080, 16_000), 4, id="a-phone's-long-screenshot"),
        pytest.param((1080, 30_000), 6, id="a-longer-one"),
        pytest.param((1920, 12_000), 3, id="a-web-page"),
        pytest.param((5000, 40_000), 9, id="wider-than-the-limit"),
        pytest.param((30_000, 1080), 6, id="a-panorama"),
        pytest.param((9000, 30), 2, id="a-line"),
        pytest.param((40_000, 70), 8, id="a-strip"),
    ],
)
def test_the_number_of_calls_follows_from_the_size(size_px: tuple[int, int], tiles: int) -> None:
    assert count_tiles(size_px, VENDOR) == tiles


def test_a_page_that_is_too_small_or_too_large_is_not_cut() -> None:
    with pytest.raises(UnfittableImageError, match="below 8 px"):
        count_tiles((7, 30_000), VENDOR)
    with pytest.raises(DecompressionBombError):
        count_tiles((10_000, 40_000), VENDOR)


@given(LONG, st.booleans(), st.data())
def test_the_tiles_are_the_whole_page_and_each_is_legible(
    size_px: tuple[int, int],
    is_tall: bool,  # noqa: FBT001 - drawn
    data: st.DataObject,
) -> None:
    """Whatever bands are found, and whether these are blank or not as long as demanded."""
    size_px = size_px if is_tall else size_px[::-1]
    cuts = plan_cuts(size_px, VENDOR)
    assume(cuts is not None)
    assert cuts is not None

    def some_bands(begin: int, end: int) -> Bands:
        assert 0 <= begin < end <= cuts.length_px
        ends = data.draw(st.lists(st.integers(begin, end), max_size=8, unique=True).map(sorted))
        return [(first, last) for first, last in zip(ends[::2], ends[1::2], strict=False)]

    for find in (no_bands, some_bands):
        tiles = place_tiles(cuts, find)
        assert len(tiles) == cuts.number == count_tiles(size_px, VENDOR)
        assert [tile.number for tile in tiles] == list(range(1, cuts.number + 1))
        places = [along(cuts, tile) for tile in tiles]
        assert (places[0][0], places[-1][1]) == (0, cuts.length_px)
        for tile, (begin, end) in zip(tiles, places, strict=True):
            assert 0 < end - begin <= cuts.tile_px
            assert fit(tile.size_px, VENDOR).scale >= min(TILE_SCALE, 4000 / min(size_px)) - 1e-3
        for before, after, tile in zip(places, places[1:], tiles[1:], strict=False):
            shared_px = before[1] - after[0]
            assert shared_px == cuts.overlap_px if tile.joint == "overlap" else shared_px >= cuts.quiet_px


@given(LONG)
def test_tiles_are_of_one_size_where_nothing_is_blank(size_px: tuple[int, int]) -> None:
    cuts = plan_cuts(size_px, VENDOR)
    assume(cuts is not None)
    assert cuts is not None
    lengths = [end - begin for begin, end in (along(cuts, tile) for tile in place_tiles(cuts, no_bands))]
    assert max(lengths) - min(lengths) <= cuts.number


@given(LONG)
def test_no_tile_more_than_the_limits_need(size_px: tuple[int, int]) -> None:
    cuts = plan_cuts(size_px, VENDOR)
    assume(cuts is not None)
    assert cuts is not None
    one_less = cuts.number - 1
    assert one_less * cuts.tile_px - (one_less - 1) * cuts.overlap_px < cuts.length_px


def test_the_nearest_blank_band_is_shared_up_to_a_margin() -> None:
    cuts = plan_cuts((1080, 16_000), VENDOR)
    assert cuts is not None
    first, second, *_ = place_tiles(cuts, lambda begin, end: [(begin, begin + 30), (4000, 4400), (end - 9, end)])
    assert (first.box[3], second.box[1], second.joint) == (4128, 4000, "blank")
