"""GIF: frames are counted without decoding."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.pixels.gif import count_frames
from tests.inputs.images import encode, noise

FRAMES = [noise((40, 30), "L", seed) for seed in range(3)]
ANIMATION = encode(
    FRAMES[0], "GIF", save_all=True, append_images=FRAMES[1:], duration=[100, 200, 300], comment=b"x" * 600
)


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "1"])
def test_frames_are_counted_like_pillow_counts_them(mode: str) -> None:
    first, *others = (frame.convert(mode) for frame in FRAMES)
    data = encode(first, "GIF", save_all=True, append_images=others)
    with Image.open(io.BytesIO(data)) as image:
        assert count_frames(data) == getattr(image, "n_frames", 0) == 3


@pytest.mark.parametrize("missing", [1, 2, 50, 900])
def test_a_frame_that_is_cut_off_counts(missing: int) -> None:
    assert count_frames(ANIMATION[:-missing]) == 3


def test_bytes_after_the_trailer_do_not_count() -> None:
    assert count_frames(ANIMATION + ANIMATION) == 3


@given(st.binary(max_size=300), st.integers(0, len(ANIMATION)))
def test_any_bytes_are_counted(data: bytes, kept: int) -> None:
    assert 0 <= count_frames(ANIMATION[:kept] + data) <= 3 + len(data)
