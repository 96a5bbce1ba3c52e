"""PNG: the chunks that pixels depend on."""

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.pixels.opening import open_image
from pipeline.pixels.orientation import ORIENTATION_TAG, read_orientation
from pipeline.pixels.png import END, SIGNATURE, header, keep_pixels
from tests.inputs.images import encode, marked
from tests.server.bombs import LARGE_COMMENTS

PAGE = encode(marked(), "PNG")
AFTER_HEADER = len(SIGNATURE) + 25
"""Where the chunk after IHDR begins."""
BAD_CRC = {
    name: struct.pack(">I4s", len(data), name.encode()) + data + b"\0\0\0\0"
    for name, data in {
        "tEXt": b"Title\0page",
        "pHYs": bytes(9),
        "gAMA": bytes(4),
        "cHRM": bytes(3),
        "iCCP": b"profile\0\0x",
        "eXIf": b"II*\0",
        "tRNS": bytes(6),
        "tIME": bytes(7),
        "vpAg": bytes(9),
    }.items()
}


def decode(data: bytes) -> bytes:
    """Return the pixels of a PNG."""
    image = open_image(data, ("PNG",))
    image.load()
    return image.tobytes()


@pytest.mark.parametrize("chunk", BAD_CRC.values(), ids=BAD_CRC)
@pytest.mark.parametrize("at", [AFTER_HEADER, len(PAGE) - len(END)], ids=["before-pixels", "after-pixels"])
def test_an_ancillary_chunk_with_a_wrong_checksum_does_not_matter(chunk: bytes, at: int) -> None:
    assert decode(PAGE[:at] + chunk + PAGE[at:]) == decode(PAGE)


@pytest.mark.parametrize("data", LARGE_COMMENTS.values(), ids=LARGE_COMMENTS)
def test_comments_and_profiles_are_never_unpacked(data: bytes) -> None:
    assert len(keep_pixels(data)) < 1000
    assert decode(data) == bytes(200 * 200 * 3)


def test_pillow_alone_rejects_such_a_file() -> None:
    """Negative control."""
    with pytest.raises((ValueError, SyntaxError, OSError)):
        Image.open(io.BytesIO(LARGE_COMMENTS["comment-bomb"])).load()
    with pytest.raises((ValueError, SyntaxError, OSError)):
        Image.open(io.BytesIO(PAGE[:AFTER_HEADER] + BAD_CRC["tEXt"] + PAGE[AFTER_HEADER:])).load()


def test_a_critical_chunk_with_a_wrong_checksum_is_damage() -> None:
    damaged = bytearray(PAGE)
    damaged[AFTER_HEADER - 1] ^= 1  # the checksum of IHDR
    with pytest.raises((SyntaxError, OSError)):
        decode(bytes(damaged))


def test_the_orientation_is_kept() -> None:
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = 6
    assert read_orientation(open_image(encode(marked(), "PNG", exif=exif), ("PNG",))) == 6


def test_the_header_has_no_pixels() -> None:
    head = header(encode(marked((2000, 2000)), "PNG"))
    assert len(head) < 100
    assert Image.open(io.BytesIO(head)).size == (2000, 2000)


@given(st.binary(max_size=400), st.integers(0, len(PAGE)))
def test_any_bytes_have_pixels_and_a_header(data: bytes, kept: int) -> None:
    for file in (SIGNATURE + data, PAGE[:kept] + data):
        if file.startswith(SIGNATURE):
            keep_pixels(file)
            header(file)
