"""The least change that makes a page acceptable: within the limits, never enlarged, never distorted."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.errors import DecompressionBombError, UnfittableImageError
from pipeline.inputs.fit import MAX_PIXELS, MIN_LEGIBLE_EDGE_PX, Fit, fit
from pipeline.wire import Limits

VENDOR = Limits()
EDGES = st.integers(1, 200) | st.integers(1, 17_000)  # no bomb: 17,000² < MAX_PIXELS
LIMITS = st.builds(
    lambda low, extra: Limits(min_edge_px=low, max_edge_px=max(100, low + extra)),
    st.integers(1, 300),
    st.integers(0, 5_000),
)


@pytest.mark.parametrize(
    ("size_px", "expected"),
    [
        pytest.param((2480, 3508), Fit(1, (2480, 3508), (2480, 3508)), id="a4-at-300-dpi-is-left-alone"),
        pytest.param((100, 100), Fit(1, (100, 100), (100, 100)), id="smallest-allowed"),
        pytest.param((4000, 4000), Fit(1, (4000, 4000), (4000, 4000)), id="largest-allowed"),
        pytest.param((4001, 4000), Fit(4000 / 4001, (4000, 3999), (4000, 3999)), id="one-px-too-wide"),
        pytest.param((6000, 8000), Fit(0.5, (3000, 4000), (3000, 4000)), id="too-large-is-scaled"),
        pytest.param((99, 500), Fit(1, (99, 500), (100, 500)), id="too-narrow-is-padded"),
        pytest.param((8, 8), Fit(1, (8, 8), (100, 100)), id="smallest-legible-is-padded"),
        pytest.param((8000, 160), Fit(0.5, (4000, 80), (4000, 100)), id="a-strip-is-scaled-and-padded"),
        pytest.param((10_000, 1250), Fit(0.4, (4000, 500), (4000, 500)), id="500-px-are-left-of-the-short-edge"),
    ],
)
def test_a_size_gets_the_least_change_that_fits(size_px: tuple[int, int], expected: Fit) -> None:
    assert fit(size_px, VENDOR) == expected


@pytest.mark.parametrize(
    ("size_px", "error", "message"),
    [
        pytest.param((1, 1), UnfittableImageError, "nothing is legible below 8 px", id="one-px"),
        pytest.param((7, 3000), UnfittableImageError, "nothing is legible below 8 px", id="hairline"),
        pytest.param((40_000, 70), UnfittableImageError, "its short edge has 7 px", id="illegible-once-scaled"),
        pytest.param((1080, 30_000), UnfittableImageError, "its short edge has 144 px", id="tall-screenshot"),
        pytest.param((8001, 998), UnfittableImageError, "its short edge has 499 px", id="just-below-half-size"),
        pytest.param((60_000, 60_000), DecompressionBombError, "300 million pixels", id="bomb"),
        pytest.param((MAX_PIXELS + 1, 1), DecompressionBombError, "300 million pixels", id="bomb-before-hairline"),
    ],
)
def test_an_impossible_size_fails_with_its_reason(
    size_px: tuple[int, int], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        fit(size_px, VENDOR)


def test_a_page_of_exactly_the_largest_number_of_pixels_fits() -> None:
    assert max(fit((20_000, 15_000), VENDOR).padded_px) == 4000


def test_the_setting_allows_more_pixels() -> None:
    assert fit((60_000, 60_000), VENDOR, max_pixels=3_600_000_000).scaled_px == (4000, 4000)
    with pytest.raises(DecompressionBombError, match=r"0\.25 million pixels \(\[prepare\] max_pixels\)"):
        fit((500, 501), VENDOR, max_pixels=250_000)


@given(EDGES, EDGES, LIMITS)
def test_the_result_is_within_the_limits_and_undistorted(width: int, height: int, limits: Limits) -> None:
    """A page is never enlarged except by padding, and keeps its proportions within a pixel."""
    try:
        needed = fit((width, height), limits)
    except UnfittableImageError:
        assume(False)  # noqa: FBT003 - the signature of Hypothesis
        raise
    assert 0 < needed.scale <= 1
    assert all(limits.min_edge_px <= edge <= limits.max_edge_px for edge in needed.padded_px)
    for edge, scaled, padded in zip((width, height), needed.scaled_px, needed.padded_px, strict=True):
        assert abs(scaled - edge * needed.scale) <= 0.5 + 1e-6
        assert MIN_LEGIBLE_EDGE_PX <= scaled <= padded
        assert padded in {scaled, limits.min_edge_px}


@given(EDGES, EDGES, LIMITS)
def test_only_a_page_outside_the_limits_is_changed(width: int, height: int, limits: Limits) -> None:
    try:
        needed = fit((width, height), limits)
    except UnfittableImageError:
        scale = min(1, limits.max_edge_px / max(width, height))
        assert min(width, height) * scale < (MIN_LEGIBLE_EDGE_PX if scale >= 0.5 else 500)
        return
    fits = all(limits.min_edge_px <= edge <= limits.max_edge_px for edge in (width, height))
    assert needed.untouched == fits
    assert (needed.scale == 1) == (max(width, height) <= limits.max_edge_px)
    if needed.scale < 1:
        assert max(needed.scaled_px) == limits.max_edge_px


@given(EDGES, EDGES)
def test_width_and_height_are_treated_alike(width: int, height: int) -> None:
    try:
        needed = fit((width, height), VENDOR)
    except UnfittableImageError:
        with pytest.raises(UnfittableImageError):
            fit((height, width), VENDOR)
        return
    assert fit((height, width), VENDOR) == Fit(needed.scale, needed.scaled_px[::-1], needed.padded_px[::-1])
