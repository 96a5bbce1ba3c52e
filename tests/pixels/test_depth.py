"""Bit depth and transparency, checked by exact pixel values."""

import struct
import zlib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.engine.pixels import decode_bgr
from pipeline.inputs.conversion import PrepareSettings
from pipeline.inputs.page_images import PageImages
from pipeline.pixels import depth
from pipeline.pixels.decoding import decode
from pipeline.pixels.depth import flatten
from pipeline.wire import Limits
from tests.inputs.images import prepare, sent_image
from tests.pixels.tiffs import CIELAB, CMYK, DEFLATE, FLOAT, PALETTE, RAW, RGB, SIGNED, UNSIGNED, Order, tiff, tiff_page
from tests.server.bombs import PNG, png_chunk

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


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [RAW, DEFLATE], ids=["raw", "deflate"])
class TestTiff:
    """Samples as a TIFF stores them: in both byte orders, read by Pillow (raw) and by libtiff (compressed)."""

    @pytest.mark.parametrize(
        ("bits", "sample_format", "photometric", "samples", "levels"),
        [
            pytest.param(16, UNSIGNED, 1, [0, 1000, 32768, 65535], [0, 4, 128, 255], id="16-bits"),
            pytest.param(16, UNSIGNED, 1, [0, 1000, 2048, 4095], [0, 62, 128, 255], id="12-bits-in-16"),
            pytest.param(16, UNSIGNED, 1, [0, 250, 512, 1023], [0, 62, 128, 255], id="10-bits-in-16"),
            pytest.param(16, UNSIGNED, 0, [0, 1000, 32768, 65535], [255, 251, 127, 0], id="16-bits-min-is-white"),
            pytest.param(16, UNSIGNED, 0, [0, 1000, 2048, 4095], [255, 193, 127, 0], id="12-bits-in-16-min-is-white"),
            pytest.param(16, SIGNED, 1, [0, 1000, 2048, 4095], [0, 62, 128, 255], id="signed-12-bits-in-16"),
            pytest.param(16, SIGNED, 1, [0, 8192, 16384, 32767], [0, 64, 128, 255], id="signed-15-bits"),
            pytest.param(16, SIGNED, 1, [-32768, -1, 0, 32767], [0, 127, 128, 255], id="signed-16-bits"),
            pytest.param(16, SIGNED, 0, [-32768, -1, 0, 32767], [255, 128, 127, 0], id="signed-min-is-white"),
            pytest.param(8, SIGNED, 1, [-128, -1, 0, 127], [0, 127, 128, 255], id="signed-8-bits"),
            pytest.param(8, SIGNED, 1, [0, 10, 100, 127], [0, 20, 201, 255], id="signed-7-bits"),
            pytest.param(8, UNSIGNED, 0, [0, 10, 100, 255], [255, 245, 155, 0], id="8-bits-min-is-white"),
            pytest.param(32, UNSIGNED, 1, [0, 257, 32768, 65535], [0, 1, 128, 255], id="16-bits-in-32"),
            pytest.param(32, UNSIGNED, 1, [0, 2**31 - 1, 2**31, 2**32 - 1], [0, 127, 128, 255], id="32-bits"),
            pytest.param(32, UNSIGNED, 0, [0, 257, 32768, 65535], [255, 254, 127, 0], id="32-bits-min-is-white"),
            pytest.param(32, SIGNED, 1, [0, 257, 32768, 65535], [0, 1, 128, 255], id="signed-32-bits"),
            pytest.param(32, FLOAT, 1, [0, NAN, INFINITY, 0.5], [0, 255, 255, 255], id="float"),
            pytest.param(32, FLOAT, 1, [NAN, 0.25, -INFINITY, 0.5], [255, 128, 255, 255], id="float-from-nan"),
            pytest.param(32, FLOAT, 0, [0, NAN, 1, 0.5], [255, 255, 0, 127], id="float-min-is-white"),
        ],
    )
    def test_samples_of_one_channel(  # noqa: PLR0917 - parameters of the test
        self,
        bits: int,
        sample_format: int,
        photometric: int,
        samples: list[Any],
        levels: list[int],
        order: Order,
        compression: int,
    ) -> None:
        page = tiff_page(
            samples,
            4,
            bits=bits,
            sample_format=sample_format,
            photometric=photometric,
            order=order,
            compression=compression,
        )
        assert decoded(tiff(page, order=order)) == levels

    @pytest.mark.parametrize(
        ("photometric", "channels", "tags", "samples", "colours"),
        [
            pytest.param(
                RGB, 3, {}, [0, 0, 0, 65535, 65535, 65535, 65535, 0, 32768], [BLACK, WHITE, (255, 0, 128)], id="rgb"
            ),
            pytest.param(
                RGB,
                3,
                {},
                [0, 0, 0, 4095, 4095, 4095, 4095, 1000, 2048],
                [BLACK, WHITE, (255, 62, 128)],
                id="12-bit-rgb",
            ),
            pytest.param(
                RGB, 3, {}, [0, 0, 0, 1023, 1023, 1023, 1023, 250, 512], [BLACK, WHITE, (255, 62, 128)], id="10-bit-rgb"
            ),
            pytest.param(
                RGB,
                4,
                {338: [2]},
                [0, 0, 0, 4095, 4095, 4095, 4095, 4095, 9, 9, 9, 0],
                [BLACK, WHITE, WHITE],
                id="12-bit-rgb-with-alpha",
            ),
            pytest.param(
                CMYK, 4, {}, [0, 0, 0, 0, 0, 0, 0, 4095, 4095, 0, 0, 0], [WHITE, BLACK, (0, 255, 255)], id="12-bit-cmyk"
            ),
            pytest.param(
                RGB,
                3,
                {284: [2]},
                [0, 65535, 65535, 0, 65535, 0, 0, 65535, 32768],
                [BLACK, WHITE, (255, 0, 128)],
                id="rgb-in-planes",
            ),
            pytest.param(
                RGB,
                3,
                {284: [2]},
                [0, 4095, 4095, 0, 4095, 0, 0, 4095, 2048],
                [BLACK, WHITE, (255, 0, 136)],
                id="12-bit-rgb-in-planes",
            ),
        ],
    )
    def test_colours_of_16_bits(  # noqa: PLR0917 - parameters of the test
        self,
        photometric: int,
        channels: int,
        tags: dict[int, list[int]],
        samples: list[int],
        colours: list[Any],
        order: Order,
        compression: int,
    ) -> None:
        page = tiff_page(
            samples, 3, channels=channels, photometric=photometric, order=order, compression=compression, tags=tags
        )
        assert decoded(tiff(page, order=order)) == colours

    def test_samples_of_12_bits(self, order: Order, compression: int) -> None:
        page = tiff_page(bytes.fromhex("0003e8800fff"), 4, bits=12, order=order, compression=compression)
        assert decoded(tiff(page, order=order)) == [0, 62, 128, 255]

    @pytest.mark.parametrize("unit", [1, 257], ids=["8-bits", "16-bits"])
    def test_a_colour_map_of_8_or_16_bits(self, unit: int, order: Order, compression: int) -> None:
        """TIFF 6.0 demands 16 bits; taken for those, a map of 8 bits would be black."""
        colours = [level * unit for channel in ([0, 10, 255, 9], [0, 20, 255, 9], [0, 30, 255, 9]) for level in channel]
        colour_map = [value for i in (0, 4, 8) for value in (*colours[i : i + 4], *[0] * 252)]
        page = tiff_page(
            bytes([0, 1, 2, 3]), 4, bits=8, photometric=PALETTE, order=order, compression=compression,
            tags={320: colour_map},
        )  # fmt: skip
        assert decoded(tiff(page, order=order)) == [BLACK, (10, 20, 30), WHITE, (9, 9, 9)]

    def test_cielab(self, order: Order, compression: int) -> None:
        page = tiff_page(
            bytes([255, 0, 0, 0, 0, 0, 128, 0, 0]), 3, bits=8, channels=3, photometric=CIELAB, order=order,
            compression=compression,
        )  # fmt: skip
        white, black, grey = decoded(tiff(page, order=order))
        assert min(white) >= 254
        assert max(black) <= 1
        assert grey == (119, 119, 119)

    def test_alpha_that_is_zero_everywhere_is_not_used(self, order: Order, compression: int) -> None:
        """Writers that know no alpha leave the fourth channel zero; the page would be blank."""
        page = tiff_page(
            bytes([0, 0, 0, 0, 9, 9, 9, 0]),
            2,
            bits=8,
            channels=4,
            photometric=RGB,
            order=order,
            compression=compression,
        )
        assert decoded(tiff(page, order=order)) == [BLACK, (9, 9, 9)]


def decoded(data: bytes) -> list[Any]:
    """Return the pixels of the first page of a file."""
    file = PageImages(data)
    return list(decode(lambda: file.open(1)).get_flattened_data())


def deep_png(colour: int, samples: list[int], channels: int, *, transparent: bytes = b"") -> bytes:
    """Return a PNG of one row with 16 bits per sample."""
    header = struct.pack(">IIBBBBB", len(samples) // channels, 1, 16, colour, 0, 0, 0)
    key = png_chunk(b"tRNS", transparent) if transparent else b""
    data = png_chunk(b"IDAT", zlib.compress(b"\0" + struct.pack(f">{len(samples)}H", *samples)))
    return PNG + png_chunk(b"IHDR", header) + key + data + png_chunk(b"IEND", b"")


class TestDeepPng:
    """Colour of 16 bits in a PNG."""

    @pytest.mark.parametrize(
        ("colour", "channels", "samples", "colours"),
        [
            pytest.param(2, 3, [0, 0, 0, 65535, 32768, 257], [BLACK, (255, 128, 1)], id="rgb"),
            pytest.param(2, 3, [0, 0, 0, 4095, 2048, 1000], [BLACK, (255, 128, 62)], id="12-bit-rgb"),
            pytest.param(6, 4, [0, 0, 0, 4095, 4095, 2048, 0, 4095], [BLACK, (255, 128, 0)], id="12-bit-rgba"),
            pytest.param(4, 2, [0, 4095, 4095, 4095, 9, 0], [BLACK, WHITE, WHITE], id="12-bit-grey-with-alpha"),
            pytest.param(4, 2, [0, 65535, 32768, 65535], [BLACK, (128, 128, 128)], id="grey-with-alpha"),
        ],
    )
    def test_colours_are_scaled_by_the_range_of_their_samples(
        self, colour: int, channels: int, samples: list[int], colours: list[Any]
    ) -> None:
        assert decoded(deep_png(colour, samples, channels)) == colours

    def test_the_transparent_colour_is_compared_with_all_of_its_bits(self) -> None:
        samples = [258, 772, 1286, 259, 772, 1286, 65535, 0, 0]
        data = deep_png(2, samples, 3, transparent=struct.pack(">HHH", 258, 772, 1286))
        assert decoded(data) == [WHITE, (1, 3, 5), (255, 0, 0)]


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

    @pytest.mark.parametrize(
        ("bits", "key", "levels"), [(1, 1, [0, 255]), (1, 0, [255, 255]), (2, 1, [0, 255]), (4, 1, [0, 255])]
    )
    def test_the_transparent_grey_of_a_png_of_few_bits_becomes_white(
        self, bits: int, key: int, levels: list[int]
    ) -> None:
        """Pillow scales the pixels and not the grey that is transparent; the first pixel is 0, the second 1."""
        header = struct.pack(">IIBBBBB", 2, 1, bits, 0, 0, 0, 0)
        chunks = png_chunk(b"tRNS", struct.pack(">H", key))
        pixels = png_chunk(b"IDAT", zlib.compress(bytes([0, 1 << (8 - 2 * bits)])))
        data = PNG + png_chunk(b"IHDR", header) + chunks + pixels + png_chunk(b"IEND", b"")
        assert decoded(data) == [(level,) * 3 for level in levels]

    def test_alpha_of_a_bmp_that_is_zero_everywhere_is_not_used(self) -> None:
        """Screenshots of Windows have such; a page with some alpha is transparent."""
        masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
        info = struct.pack("<IiiHHIIiiII", 108, 2, 1, 1, 32, 3, 8, 0, 0, 0, 0) + masks + bytes(52)
        head = b"BM" + struct.pack("<IHHI", 14 + 108 + 8, 0, 0, 14 + 108)
        assert decoded(head + info + bytes([9, 8, 7, 0, 0, 0, 0, 0])) == [(7, 8, 9), BLACK]
        assert decoded(head + info + bytes([9, 8, 7, 255, 0, 0, 0, 0])) == [(7, 8, 9), WHITE]

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
