"""Files of all kinds of samples, decoded to exact pixel values."""

import struct
import zlib
from typing import Any

import pytest

from pipeline.inputs.page_images import PageImages
from pipeline.pixels.decoding import decode
from tests.pixels.tiffs import CIELAB, CMYK, DEFLATE, FLOAT, PALETTE, RAW, RGB, SIGNED, UNSIGNED, Order, tiff, tiff_page
from tests.server.bombs import PNG, png_chunk

BLACK, WHITE = (0, 0, 0), (255, 255, 255)
NAN, INFINITY = float("nan"), float("inf")


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
