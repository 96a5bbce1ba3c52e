"""The checks of an image before recognition."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.engine.pixels import decode_bgr
from pipeline.errors import PageError, TruncatedImageError
from pipeline.pixels.jpeg import MAX_SCANS
from pipeline.server.http.images import check_image
from pipeline.server.http.requests import RequestError
from tests.rendering import encode
from tests.server.bombs import (
    LARGE_COMMENTS,
    OVERSIZED,
    animation,
    gif,
    gif_frame,
    jpeg_of_scans,
    jpeg_with_segments,
    noise,
    png,
    png_chunk,
    png_with_text,
    webp,
)

SOUND = {name: noise(120, 120, name) for name in ("JPEG", "PNG", "GIF", "WEBP")}


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "GIF", "WEBP"])
@pytest.mark.parametrize("size_px", [(100, 100), (4000, 100)])
def test_the_documented_formats_and_sizes_pass(image_format: str, size_px: tuple[int, int]) -> None:
    check_image(encode(Image.new("RGB", size_px), image_format))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        pytest.param(encode(Image.new("RGB", (99, 200))), "at least 100x100", id="too-narrow"),
        pytest.param(encode(Image.new("RGB", (200, 99))), "at least 100x100", id="too-low"),
        pytest.param(encode(Image.new("RGB", (4001, 100))), "at most 4000x4000", id="too-wide"),
        pytest.param(png(100, 4001), "at most 4000x4000", id="too-high"),
        pytest.param(png(12_000, 12_000), "too many pixels|at most", id="bomb-that-warns"),
        pytest.param(b"\xff\xd8\xff" + bytes(10 * 1024 * 1024), "larger than 10 MB", id="too-many-bytes"),
        pytest.param(encode(Image.new("RGB", (200, 200)), "TIFF"), "unsupported image format TIFF", id="tiff"),
        pytest.param(encode(Image.new("RGB", (200, 200)), "BMP"), "unsupported image format BMP", id="bmp"),
        pytest.param(b"%PDF-1.7\n", "unsupported image format PDF", id="pdf"),
        pytest.param(b"\x00\x00\x00\x18ftypheic", "unsupported image format HEIC", id="heic"),
        pytest.param(
            jpeg_of_scans(4000, 4000, 17_000), "JPEG of 17000 scans; at most 100", id="jpeg-of-very-many-scans"
        ),
        pytest.param(b"hello", "holds no image", id="text"),
        pytest.param(b"\x89PNG\r\n\x1a\n", "holds no image", id="png-cut-in-its-header"),
        pytest.param(b"RIFF\x10\x00\x00\x00WEBPVP8 ", "holds no image", id="webp-cut-in-its-header"),
    ],
)
def test_an_image_outside_the_limits_gets_a_400_that_names_the_limit(image: bytes, message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        check_image(image)
    assert caught.value.status == 400


@pytest.mark.parametrize("image", OVERSIZED.values(), ids=OVERSIZED)
def test_a_decompression_bomb_is_rejected_from_its_header(image: bytes) -> None:
    with pytest.raises(RequestError, match=r"too many pixels|at most 4000x4000|holds no image"):
        check_image(image)


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(animation(40, "GIF"), id="moving-gif"),
        pytest.param(animation(40, "WEBP"), id="moving-webp"),
        pytest.param(jpeg_with_segments(2, 20), id="large-profile"),
        pytest.param(png_with_text(100_000), id="long-comment"),
        pytest.param(png_with_text(100_000, kind=b"iCCP"), id="profile"),
        pytest.param(noise(1500, 1500, "PNG"), id="noise"),
        pytest.param(jpeg_of_scans(400, 400, MAX_SCANS), id="jpeg-of-as-many-scans-as-allowed"),
        *(pytest.param(image, id=name) for name, image in LARGE_COMMENTS.items()),
    ],
)
def test_an_unusual_image_within_the_limits_is_accepted(image: bytes) -> None:
    check_image(image)
    assert min(decode_bgr(image).shape[:2]) >= 100


JPEG, GIF_HEAD = encode(Image.new("RGB", (200, 200)), "JPEG"), gif(200, 200)[:-1]
TINY = 300_000
LONG_HEADERS = {
    "jpeg-comments": JPEG[:2] + b"\xff\xfe\0\2" * TINY + JPEG[2:],
    "jpeg-application-segments": JPEG[:2] + b"\xff\xed\0\2" * TINY + JPEG[2:],
    "jpeg-fill-bytes": JPEG[:2] + b"\xff" * TINY + JPEG[2:],
    "jpeg-restart-markers": JPEG[:2] + b"\xff\xd0" * TINY + JPEG[2:],
    "png-chunks": png(200, 200, chunks=png_chunk(b"teSt", b"") * TINY),
    "png-comments": png(200, 200, chunks=png_chunk(b"tEXt", b"a\0b") * TINY),
    "gif-comments": GIF_HEAD + b"!\xfe\1x\0" * TINY + gif_frame(0, 0, 200, 200) + b";",
    "gif-comment-of-one-byte-blocks": GIF_HEAD + b"!\xfe" + b"\1x" * TINY + b"\0" + gif_frame(0, 0, 200, 200) + b";",
    "gif-junk": GIF_HEAD + b"x" * TINY,
}


@pytest.mark.parametrize("image", LONG_HEADERS.values(), ids=LONG_HEADERS)
def test_a_header_of_very_many_segments_is_rejected(image: bytes) -> None:
    """Ten megabytes of them cost four seconds of the server's own process."""
    with pytest.raises(RequestError, match="image has too many segments before its pixels"):
        check_image(image)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
def test_ten_megabytes_of_broken_metadata_do_not_stop_a_page() -> None:
    image = jpeg_with_segments(1, 150)
    check_image(image)
    assert decode_bgr(image).shape == (200, 200, 3)


def test_a_gif_frame_without_data_passes_the_check_and_fails_in_the_worker() -> None:
    image = gif(200, 200, gif_frame(0, 0, 200, 200))
    check_image(image)
    with pytest.raises(TruncatedImageError):
        decode_bgr(image)


def test_a_webp_whose_canvas_differs_from_its_picture_is_rejected() -> None:
    with pytest.raises(RequestError):
        check_image(webp(200, 200))


@pytest.mark.filterwarnings("ignore::UserWarning")
@given(
    st.sampled_from(["JPEG", "PNG", "GIF", "WEBP"]),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=12),
    st.floats(0, 1),
)
def test_any_damage_of_an_image_is_the_caller_s_error(
    image_format: str, damage: list[tuple[int, int]], kept: float
) -> None:
    image = bytearray(SOUND[image_format])
    for at, value in damage:
        image[at % len(image)] = value
    try:
        check_image(bytes(image[: round(kept * len(image))]))
        decode_bgr(bytes(image[: round(kept * len(image))]))
    except (RequestError, PageError):
        pass
