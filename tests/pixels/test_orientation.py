"""Exif 2.32, "Orientation": which corner of the stored image is which corner of the page."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.pixels.opening import open_image
from pipeline.pixels.orientation import (
    ORIENTATION_TAG,
    read_exif,
    read_orientation,
    rotation_deg,
    turn_upright,
    upright_size_px,
)
from tests.inputs.images import encode


@pytest.mark.parametrize(
    ("orientation", "stored", "turned_deg"),
    [
        pytest.param(1, "AB/CD/EF", 0, id="upright"),
        pytest.param(2, "BA/DC/FE", 0, id="mirrored"),
        pytest.param(3, "FE/DC/BA", 180, id="upside-down"),
        pytest.param(4, "EF/CD/AB", 180, id="mirrored-upside-down"),
        pytest.param(5, "ACE/BDF", 90, id="transposed"),
        pytest.param(6, "BDF/ACE", 90, id="turned-counter-clockwise"),
        pytest.param(7, "FDB/ECA", 270, id="transversed"),
        pytest.param(8, "ECA/FDB", 270, id="turned-clockwise"),
    ],
)
def test_each_orientation_is_turned_upright(orientation: int, stored: str, turned_deg: int) -> None:
    rows = stored.split("/")
    image = Image.frombytes("L", (len(rows[0]), len(rows)), "".join(rows).encode())
    upright = turn_upright(image, orientation)
    assert upright.tobytes() == b"ABCDEF"
    assert upright.size == (2, 3)
    assert upright_size_px(image.size, orientation) == (2, 3)
    assert upright_size_px((2, 3), orientation) == image.size
    assert rotation_deg(orientation) == turned_deg


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize(("tag", "orientation"), [(6, 6), (0, 1), (9, 1), (None, 1)])
def test_the_tag_is_read_from_the_header(image_format: str, tag: int | None, orientation: int) -> None:
    exif = Image.Exif()
    if tag is not None:
        exif[ORIENTATION_TAG] = tag
    image = open_image(encode(Image.new("L", (8, 8)), image_format, exif=exif), (image_format,))
    assert read_orientation(image) == orientation


@pytest.mark.parametrize(
    "exif",
    [
        pytest.param(b"garbage", id="garbage"),
        pytest.param(b"", id="empty"),
        pytest.param(b"II*\0", id="cut-off"),
        pytest.param(b"II*\0\xff\xff\xff\xff", id="directory-beyond-the-end"),
        pytest.param(b"II*\0\x08\0\0\0\xff\xff" + bytes(200), id="more-entries-than-bytes"),
        pytest.param(b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\xff\xff\xff\xff" + bytes(8), id="values-beyond-the-end"),
    ],
)
def test_a_damaged_exif_block_means_no_turn(exif: bytes) -> None:
    image = open_image(encode(Image.new("L", (8, 8)), "JPEG", exif=b"Exif\0\0" + exif), ("JPEG",))
    assert read_orientation(image) == 1


@given(st.binary(max_size=200), st.sampled_from([b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b"II+\0\x08\0\0\0", b""]))
def test_no_exif_block_raises_an_error(data: bytes, head: bytes) -> None:
    read_exif(b"Exif\0\0" + head + data)
