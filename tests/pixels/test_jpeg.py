"""JPEG: whether all pixels are there, metadata that do not matter, and variants that cannot be decoded."""

import io
import struct
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.pixels.jpeg import (
    END,
    MAX_SCANS,
    SIGNATURE,
    count_scans,
    describe_unsupported,
    is_cut_off,
    keep_pixels,
    read_exif,
)
from pipeline.pixels.opening import open_image
from tests.inputs.images import encode, noise
from tests.server.bombs import jpeg_of_scans, jpeg_with_segments

PAGE = noise((60, 50)).resize((180, 150))
KINDS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "grey": {"mode": "L"},
    "progressive": {"progressive": True},
    "subsampled": {"subsampling": 2, "quality": 30},
    "optimized": {"optimize": True},
    "restart-markers": {"restart_marker_blocks": 4},
    "cmyk": {"mode": "CMYK"},
}


def make(mode: str = "RGB", **options: Any) -> bytes:
    """Return the page as a JPEG."""
    return encode(PAGE.convert(mode), "JPEG", **options)


def pixels(data: bytes) -> bytes:
    """Return the decoded pixels; what is missing is filled up."""
    image = Image.open(io.BytesIO(data + END))
    image.load()
    return image.tobytes()


def is_accepted(data: bytes) -> bool:
    """Return whether a file is complete; one that cannot be decoded is not."""
    try:
        return not is_cut_off(data)
    except (OSError, SyntaxError):
        return False


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
class TestMissingEnd:
    """A file without its end mark is complete when all of its pixels are there."""

    @pytest.mark.parametrize("missing", [1, 2])
    def test_only_the_end_mark_is_missing(self, kind: dict[str, Any], missing: int) -> None:
        assert not is_cut_off(make(**kind)[:-missing])

    @pytest.mark.parametrize(
        "after", [b"\0\0\0", b"\0" * 5000, b"\xff", b"maker's note", b"\xff\xd8\xff\xe0" + bytes(90)]
    )
    def test_bytes_after_the_end_mark_do_not_matter(self, kind: dict[str, Any], after: bytes) -> None:
        assert not is_cut_off(make(**kind) + after)

    def test_a_file_that_lacks_pixels_is_cut_off(self, kind: dict[str, Any]) -> None:
        data = make(**kind)
        whole = pixels(data)
        ends = [*range(len(data) - 60, len(data)), *range(100, len(data), 977)]
        accepted = [end for end in ends if is_accepted(data[:end])]
        assert max(accepted) == len(data) - 1
        assert all(pixels(data[:end]) == whole for end in accepted)
        assert len(accepted) < 20

    def test_the_decoder_alone_accepts_half_a_file(self, kind: dict[str, Any]) -> None:
        """Negative control: libjpeg fills up what is missing without an error."""
        data = make(**kind)
        assert pixels(data[: len(data) // 2]) != pixels(data)


def test_a_progressive_file_without_its_last_scans_is_cut_off() -> None:
    """Its pixels are all there, but coarse, and nothing was missing in the middle of a scan."""
    data = make(progressive=True)
    starts = [at for at in range(len(data)) if data.startswith(b"\xff\xda", at)]
    assert len(starts) == count_scans(data) == 10
    assert all(is_cut_off(data[:start]) for start in starts[1:])


@given(st.binary(max_size=300))
def test_only_pillow_s_errors_come_of_any_bytes(data: bytes) -> None:
    for head in (SIGNATURE, make()[:400]):
        keep_pixels(head + data)
        read_exif(head + data)
        describe_unsupported(head + data)
        count_scans(head + data)
        is_accepted(head + data)


class TestMetadata:
    """Application data before the pixels do not decide about the page."""

    @pytest.mark.parametrize(
        "segment",
        [
            pytest.param((0xE2, b"MPF\0" + b"\xff" * 40), id="multi-picture"),
            pytest.param((0xED, b"Photoshop 3.0\x008BIM\xff\xff\xff"), id="photoshop"),
            pytest.param((0xE2, b"ICC_PROFILE\0\x05\x02junk"), id="profile"),
            pytest.param((0xE1, b"Exif\0\0II*\0\xff\xff"), id="exif"),
            pytest.param((0xFE, b"\xff" * 300), id="comment"),
        ],
    )
    def test_damaged_metadata_are_passed_over(self, segment: tuple[int, bytes]) -> None:
        marker, body = segment
        data = make()
        odd = data[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body + data[2:]
        image = open_image(odd, ("JPEG",))
        image.load()
        assert image.tobytes() == Image.open(io.BytesIO(data)).tobytes()

    def test_what_colours_depend_on_is_kept(self) -> None:
        data = make("CMYK")
        assert b"Adobe" in keep_pixels(data)
        assert open_image(data, ("JPEG",)).tobytes() == Image.open(io.BytesIO(data)).tobytes()

    def test_ten_megabytes_of_metadata_are_left_out(self) -> None:
        assert len(keep_pixels(jpeg_with_segments(2, 150))) < 10_000

    def test_a_file_without_metadata_is_not_copied(self) -> None:
        data = make()
        assert keep_pixels(data) is data


@pytest.mark.parametrize(
    ("frame", "components", "bits", "variant"),
    [
        pytest.param(0xC0, 3, 8, None, id="baseline"),
        pytest.param(0xC2, 1, 8, None, id="progressive"),
        pytest.param(0xC9, 3, 8, None, id="arithmetic"),
        pytest.param(0xC1, 3, 12, "JPEG of 12 bits per sample", id="12-bits"),
        pytest.param(0xC3, 1, 8, "lossless JPEG", id="lossless"),
        pytest.param(0xC5, 3, 8, "hierarchical JPEG", id="hierarchical"),
        pytest.param(0xF7, 3, 8, "JPEG-LS", id="jpeg-ls"),
        pytest.param(0xC0, 2, 8, "JPEG of 2 components", id="two-components"),
    ],
)
def test_a_variant_that_cannot_be_decoded_is_named(frame: int, components: int, bits: int, variant: str | None) -> None:
    body = struct.pack(">BHHB", bits, 100, 100, components) + b"\x01\x11\x00" * components
    data = b"\xff\xd8\xff\xfe\x00\x04hi" + bytes([0xFF, frame]) + struct.pack(">H", len(body) + 2) + body
    assert describe_unsupported(data) == variant


def test_scans_are_counted() -> None:
    assert count_scans(make()) == 1
    assert count_scans(jpeg_of_scans(100, 100, 17_000)) == 17_000


def test_encoders_stay_far_below_the_largest_number_of_scans() -> None:
    assert 5 * count_scans(make(progressive=True)) <= MAX_SCANS


def test_ten_megabytes_of_fill_bytes_are_read_at_once() -> None:
    """A pattern that takes all fill bytes before it finds no marker behind them tries again from each of them."""
    begun_s = time.monotonic()
    assert read_exif(make()[:-2] + b"\xff" * 10_000_000 + b"\0") == b""
    assert is_cut_off(b"\xff\xd8" + b"\xff" * 10_000_000 + b"\0")
    assert time.monotonic() - begun_s < 20
