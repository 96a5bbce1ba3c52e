"""Bit depth and transparency, checked by exact pixel values."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.engine.pixels import decode_bgr
from pipeline.inputs.conversion_messages import PrepareSettings
from pipeline.pixels import depth
from pipeline.pixels.depth import flatten
from pipeline.wire import Limits
from tests.inputs.images import prepare, sent_image

BLACK, WHITE = (0, 0, 0), (255, 255, 255)
NAN, INFINITY = float("nan"), float("inf")


def row(mode: str, values: Sequence[Any]) -> Image.Image:
    """Return an image of one row with these pixels."""
    image = Image.new(mode, (len(values), 1))
    for x, value in enumerate(values):
        image.putpixel((x, 0), value)
    return image


def flat(image: Image.Image, mode: str) -> list[Any]:
    """Return the pixels of an image after `flatten`, which must result in this mode."""
    flattened = flatten(image)
    assert flattened.mode == mode
    return list(flattened.get_flattened_data())


def saved(image: Image.Image, image_format: str = "PNG", **options: Any) -> bytes:
    """Return the image as a file."""
    buffer = BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def opened(data: bytes) -> Image.Image:
    """Return the decoded image of a file."""
    image = Image.open(BytesIO(data))
    image.load()
    return image


class TestDepth:
    """Samples of 1, 8, 16 and 32 bits."""

    def test_one_bit_is_black_or_white(self) -> None:
        assert flat(row("1", [0, 255]), "L") == [0, 255]

    def test_eight_bits_are_unchanged(self) -> None:
        assert flat(row("L", [0, 1, 128, 255]), "L") == [0, 1, 128, 255]
        assert flat(row("RGB", [BLACK, (1, 2, 3), WHITE]), "RGB") == [BLACK, (1, 2, 3), WHITE]

    @pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B", "I;16N"])
    def test_sixteen_bits_are_scaled_by_the_full_range_of_the_format(self, mode: str) -> None:
        samples = [0, 128, 129, 257, 32767, 32768, 65406, 65407, 65535]
        assert flat(row("I", samples).convert(mode), "L") == [0, 0, 1, 1, 127, 128, 254, 255, 255]

    @pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
    @pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
    def test_integers_are_scaled_by_the_smallest_range_that_none_exceeds(self, bits: int, mode: str) -> None:
        """Data of 10, 12 and 14 bits are stored in 16-bit files; scaled by 65535 they would be nearly black."""
        white = (1 << bits) - 1
        samples = [0, white // 5, white // 2 + 1, white]
        levels = [round(sample * 255 / white) for sample in samples]
        assert levels[0] == 0
        assert levels[-1] == 255
        assert flat(row("I", samples).convert(mode), "L") == levels

    @given(st.integers(0, 255))
    def test_a_level_widened_to_sixteen_bits_comes_back(self, level: int) -> None:
        """PNG, third edition, 13.12: an encoder widens a sample by repeating its bits, that is, by a factor of 257."""
        assert flat(row("I", [257 * level, 65535]).convert("I;16"), "L") == [level, 255]

    @pytest.mark.parametrize(
        ("samples", "levels"),
        [
            pytest.param([0, 7, 255], [0, 7, 255], id="8-bits-in-32"),
            pytest.param([0, 257, 32768, 65535], [0, 1, 128, 255], id="16-bits-in-32"),
            pytest.param([-9, 70_000], [0, 255], id="more-than-16-bits"),
            pytest.param([0, 1 << 20, 1 << 21], [0, 128, 255], id="21-bits"),
            pytest.param([-32768, 0, 32767], [0, 128, 255], id="signed"),
        ],
    )
    def test_integers_are_scaled_by_the_depth_that_holds_their_largest_value(
        self, samples: list[int], levels: list[int]
    ) -> None:
        assert flat(row("I", samples), "L") == levels

    @pytest.mark.parametrize(
        ("samples", "levels"),
        [
            pytest.param([0.0, 0.25, 0.5, 1.0], [0, 64, 128, 255], id="0-to-1"),
            pytest.param([0.0, 1.25, 127.5, 255.0], [0, 1, 128, 255], id="0-to-255"),
            pytest.param([0.0, 257.0, 32768.0, 65535.0], [0, 1, 128, 255], id="0-to-65535"),
            pytest.param([-0.5, 1e9], [0, 255], id="1e9"),
            pytest.param([0.0, 0.4, 0.8], [0, 128, 255], id="0-to-0.8"),
            pytest.param([0.0, 0.5, 1.02], [0, 125, 255], id="just-above-1"),
            pytest.param([-1.0, 0.0, 1.0], [0, 128, 255], id="minus-1-to-1"),
            pytest.param([-2.0, -1.0], [0, 255], id="negative-only"),
            pytest.param([0.0, 0.0], [0, 0], id="black"),
            pytest.param([NAN, 0.0, 0.5, 1.0, NAN], [255, 0, 128, 255, 255], id="nan"),
            pytest.param([0.0, INFINITY, 0.5, -INFINITY, 1.0], [0, 255, 128, 255, 255], id="infinity"),
            pytest.param([NAN, INFINITY, -INFINITY], [255, 255, 255], id="no-number"),
        ],
    )
    def test_floats_are_scaled_by_their_finite_range_and_others_are_white(
        self, samples: list[float], levels: list[int]
    ) -> None:
        assert flat(row("F", samples), "L") == levels


class TestTransparency:
    """Transparent pixels show white paper."""

    @pytest.mark.parametrize(
        ("mode", "pixels", "colours"),
        [
            pytest.param("RGBA", [(0, 0, 0, 0), (0, 0, 0, 128), (9, 8, 7, 255)], [255, 127, (9, 8, 7)], id="RGBA"),
            pytest.param("LA", [(0, 0), (0, 128), (9, 255)], [255, 127, 9], id="LA"),
        ],
    )
    def test_alpha_is_composited_on_white(self, mode: str, pixels: list[Any], colours: list[Any]) -> None:
        expected = [colour if isinstance(colour, tuple) else (colour,) * 3 for colour in colours]
        assert flat(row(mode, pixels), "RGB") == expected

    @pytest.mark.parametrize(
        ("mode", "transparent", "pixels", "expected"),
        [
            pytest.param("L", 7, [7, 8], [WHITE, (8, 8, 8)], id="grey"),
            pytest.param("RGB", (1, 2, 3), [(1, 2, 3), (1, 2, 4)], [WHITE, (1, 2, 4)], id="colour"),
            pytest.param("P", 0, [0, 1], [WHITE, (20, 20, 220)], id="palette"),
        ],
    )
    def test_the_transparent_colour_of_a_png_becomes_white(
        self, mode: str, transparent: Any, pixels: list[Any], expected: list[Any]
    ) -> None:
        image = row(mode, pixels)
        if mode == "P":
            image.putpalette([0, 0, 0, 20, 20, 220])
        assert flat(opened(saved(image, transparency=transparent)), "RGB") == expected

    def test_the_transparent_sample_of_a_16_bit_png_becomes_white(self) -> None:
        """A sample that is one step brighter is not transparent."""
        page = row("I", [2570, 2571, 65535]).convert("I;16")
        assert flat(opened(saved(page, transparency=2570)), "L") == [255, 10, 255]


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16", "I", "F"])
def test_a_page_of_many_strips_is_the_page_of_one(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Image.effect_noise((37, 29), 90).convert("I" if mode == "I;16" else mode).convert(mode)
    whole = flatten(page)
    monkeypatch.setattr(depth, "_STRIP_PIXELS", 100)
    assert flatten(page) == whole


class TestBothUsers:
    """The client converts a page into the pixels that the engine decodes."""

    @pytest.mark.parametrize(
        ("page", "options"),
        [
            pytest.param(row("I", list(range(0, 65536, 512))).convert("I;16"), {}, id="16-bit"),
            pytest.param(row("I", list(range(128))).convert("I;16"), {}, id="dark-16-bit"),
            pytest.param(row("I", list(range(0, 65536, 512))).convert("I;16"), {"transparency": 512}, id="16-bit-key"),
            pytest.param(row("LA", [(x, 2 * x) for x in range(128)]), {}, id="grey-with-alpha"),
            pytest.param(row("RGBA", [(x, 9, 2 * x, 255 - x) for x in range(128)]), {}, id="colour-with-alpha"),
            pytest.param(row("1", [255 * (x % 2) for x in range(128)]), {}, id="1-bit"),
        ],
    )
    def test_client_and_engine_see_the_same_pixels(
        self, tmp_path: Path, page: Image.Image, options: dict[str, Any]
    ) -> None:
        data = saved(page.resize((page.width, 50), Image.Resampling.NEAREST), **options)
        tmp_path.joinpath("page.png").write_bytes(data)
        payload = prepare(tmp_path / "page.png", 1, PrepareSettings(Limits()))  # padded to 100 px of height
        prepared = decode_bgr(sent_image(payload))
        assert prepared.shape == (100, page.width, 3)
        assert prepared[25:75].tolist() == decode_bgr(data).tolist()
