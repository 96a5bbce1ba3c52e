"""Images that may and may not go to the engine."""

import struct
import zlib

import pytest
from PIL import Image

from pipeline.server.images import check_image
from pipeline.server.requests import RequestError
from tests.server.rendering import encode


def png_header(width_px: int, height_px: int) -> bytes:
    """Return a PNG that announces a size and has next to no data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width_px, height_px, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "GIF", "WEBP"])
@pytest.mark.parametrize("size_px", [(100, 100), (4000, 100)])
def test_the_documented_formats_and_sizes_pass(image_format: str, size_px: tuple[int, int]) -> None:
    """Smallest and longest page, all four formats."""
    check_image(encode(Image.new("RGB", size_px), image_format))


@pytest.mark.parametrize(
    ("image", "told"),
    [
        pytest.param(encode(Image.new("RGB", (99, 200))), "at least 100x100", id="too-narrow"),
        pytest.param(encode(Image.new("RGB", (200, 99))), "at least 100x100", id="too-low"),
        pytest.param(encode(Image.new("RGB", (4001, 100))), "at most 4000x4000", id="too-wide"),
        pytest.param(png_header(100, 4001), "at most 4000x4000", id="too-high"),
        pytest.param(png_header(12_000, 12_000), "too many pixels|at most", id="bomb-that-warns"),
        pytest.param(png_header(65_000, 65_000), "too many pixels|at most", id="bomb"),
        pytest.param(b"\xff\xd8\xff" + bytes(10 * 1024 * 1024), "larger than 10 MB", id="too-many-bytes"),
        pytest.param(encode(Image.new("RGB", (200, 200)), "TIFF"), "unsupported image format TIFF", id="tiff"),
        pytest.param(encode(Image.new("RGB", (200, 200)), "BMP"), "unsupported image format BMP", id="bmp"),
        pytest.param(b"%PDF-1.7\n", "unsupported image format PDF", id="pdf"),
        pytest.param(b"\x00\x00\x00\x18ftypheic", "unsupported image format HEIC", id="heic"),
        pytest.param(b"hello", "holds no image", id="text"),
        pytest.param(b"\x89PNG\r\n\x1a\n", "holds no image", id="png-cut-in-its-header"),
        pytest.param(b"RIFF\x10\x00\x00\x00WEBPVP8 ", "holds no image", id="webp-cut-in-its-header"),
    ],
)
def test_everything_else_is_refused_before_it_is_decoded(image: bytes, told: str) -> None:
    """The message says which of the contract's limits the image breaks."""
    with pytest.raises(RequestError, match=told) as caught:
        check_image(image)
    assert caught.value.status == 400
