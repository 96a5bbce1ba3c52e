"""Real images become bytes that the API accepts, are described truthfully, or fail before they cost a call."""

import base64
import hashlib
import io
import json
import os
import random
import struct
import subprocess
import sys
import tempfile
import threading
import zlib
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageDraw, TiffImagePlugin

from pipeline.errors import (
    DecompressionBombError,
    EmptyFileError,
    MissingFileError,
    NotAnImageError,
    PageError,
    TruncatedImageError,
    UnfittableImageError,
    UnreadableFileError,
)
from pipeline.inputs.image import ImageFile, Rules, prepare_url
from pipeline.records import Payload, Prep
from pipeline.wire import Limits

ORIENTATION_TAG = 0x0112  # Exif 2.32, "Orientation"
VENDOR = Rules(Limits())
SMALL = Rules(Limits(min_edge_px=100, max_edge_px=200, max_bytes=10_000))
SENT_AS_IS = ["JPEG", "PNG", "GIF", "WEBP"]
RED, WHITE = (220, 20, 20), (255, 255, 255)

# What a camera stores so that turning by the tag gives the upright page: the inverse of each turn.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
TURNED_DEG = {1: 0, 2: 0, 3: 180, 4: 180, 5: 90, 6: 90, 7: 270, 8: 270}


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Return the image as a file of this format."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(size_px: tuple[int, int], mode: str = "RGB", seed: int = 1) -> Image.Image:
    """Return an image that no encoder can make small."""
    blank = Image.new(mode, size_px)
    size = size_px[0] * size_px[1] * len(blank.getbands())
    return Image.frombytes(mode, size_px, random.Random(seed).randbytes(size))


def marked(size_px: tuple[int, int] = (200, 300)) -> Image.Image:
    """Return a white page with a red corner at its top left, its only one."""
    page = Image.new("RGB", size_px, WHITE)
    page.paste(RED, (0, 0, 60, 60))
    return page


def is_upright(page: Image.Image) -> bool:
    """Tell whether the red corner is at the top left and nowhere else."""
    pixels = page.convert("RGB")
    right, bottom = page.width - 10, page.height - 10
    corners = [pixels.getpixel(place) for place in ((10, 10), (right, 10), (10, bottom), (right, bottom))]
    return [is_near(corner, RED) for corner in corners] == [True, False, False, False]


def is_near(seen: object, colour: tuple[int, ...]) -> bool:
    """Tell whether a pixel has this colour, but for what JPEG does to it."""
    assert isinstance(seen, tuple)
    return all(abs(one - other) < 30 for one, other in zip(seen, colour, strict=True))


def prepare(path: Path, page: int, rules: Rules) -> Payload:
    """Return one page of a file."""
    return ImageFile(path, rules).prepare(page)


def sent(payload: Payload) -> bytes:
    """Return the bytes of the image in the request's body."""
    head, _, data = json.loads(payload.body)["document"]["image_url"].partition(",")
    assert payload.prep is not None
    assert head == f"data:image/{payload.prep.format};base64"
    return base64.b64decode(data, validate=True)


def decode(payload: Payload) -> Image.Image:
    """Return the image that the service will see, decoded to its end."""
    image = Image.open(io.BytesIO(sent(payload)))
    image.load()
    return image


def check(payload: Payload, rules: Rules = VENDOR) -> Image.Image:
    """Decode what is sent, and check it against the limits and against its own description."""
    image, prep, limits = decode(payload), payload.prep, rules.limits
    assert prep is not None
    assert image.format is not None
    assert ({"MPO": "jpeg"}.get(image.format, image.format.lower()), *image.size, len(sent(payload))) == (
        prep.format, prep.width_px, prep.height_px, prep.bytes,
    )  # fmt: skip
    assert all(limits.min_edge_px <= edge <= limits.max_edge_px for edge in image.size)
    assert prep.bytes <= limits.max_bytes
    assert 0 < prep.scale <= 1
    return image


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a test's image lies; the suffix tells nothing."""
    return tmp_path / "page.dat"


def put(file: Path, data: bytes) -> Path:
    """Write the file and return its path."""
    file.write_bytes(data)
    return file


class TestAsItIs:
    """What fits is sent as it is."""

    @pytest.mark.parametrize("kind", SENT_AS_IS)
    def test_an_image_that_fits_is_sent_byte_by_byte(self, file: Path, kind: str) -> None:
        """No pixel is touched, and the record says so."""
        data = encode(marked(), kind)
        payload = prepare(put(file, data), 1, VENDOR)
        digest = hashlib.sha256(data).hexdigest()
        assert sent(payload) == data
        assert payload.prep == Prep(kind.lower(), 200, 300, len(data))
        assert (payload.id, payload.sha256, payload.page, payload.pages) == (f"sha256:{digest}#1", digest, 1, 1)
        assert json.loads(payload.body)["filename"] == file.name

    @pytest.mark.parametrize(
        "data",
        [
            pytest.param(encode(Image.new("CMYK", (150, 150)), "JPEG"), id="cmyk-jpeg"),
            pytest.param(encode(Image.new("I;16", (150, 150)), "PNG"), id="16-bit-png"),
            pytest.param(encode(Image.new("1", (150, 150)), "PNG"), id="1-bit-png"),
            pytest.param(encode(noise((150, 150), "RGBA"), "PNG"), id="transparent-png"),
            pytest.param(encode(marked(), "JPEG", progressive=True), id="progressive-jpeg"),
            pytest.param(encode(marked((100, 100)), "PNG"), id="smallest"),
            pytest.param(encode(marked((4000, 4000)), "PNG"), id="largest"),
            pytest.param(
                encode(marked(), "WEBP", save_all=True, append_images=[noise((200, 300))]), id="animated-webp-is-a-page"
            ),
            pytest.param(
                encode(marked(), "PNG", save_all=True, append_images=[noise((200, 300))]), id="animated-png-is-a-page"
            ),
            pytest.param(encode(marked(), "MPO", save_all=True, append_images=[marked()]), id="jpeg-with-a-second-one"),
        ],
    )
    def test_every_kind_of_pixel_that_the_api_takes_is_sent_as_it_is(self, file: Path, data: bytes) -> None:
        """Within the limits the service is better at decoding than we are."""
        payload = prepare(put(file, data), 1, VENDOR)
        assert sent(payload) == data
        assert payload.pages == 1
        check(payload)

    def test_bytes_behind_the_end_of_a_jpeg_do_no_harm(self, file: Path) -> None:
        """Cameras and scanners append their own; the page is whole."""
        data = encode(marked(), "JPEG") + b"\0\0MAKER NOTE"
        assert sent(prepare(put(file, data), 1, VENDOR)) == data

    def test_a_file_name_that_is_not_utf_8_is_sent_readably(self, tmp_path: Path) -> None:
        """The service gets U+FFFD; the record keeps the name."""
        path = tmp_path / os.fsdecode(b"caf\xe9.png")
        payload = prepare(put(path, encode(marked(), "PNG")), 1, VENDOR)
        assert json.loads(payload.body)["filename"] == "caf\ufffd.png"

    def test_the_identity_is_the_content_not_the_name_or_the_settings(self, tmp_path: Path) -> None:
        """A renamed file, prepared in another way, is the same page."""
        one, other = put(tmp_path / "a", encode(marked(), "BMP")), put(tmp_path / "b", encode(marked(), "BMP"))
        assert prepare(one, 1, VENDOR).id == prepare(other, 1, SMALL).id


class TestConversion:
    """What does not fit is changed as little as possible."""

    @pytest.mark.parametrize("kind", ["BMP", "TIFF"])
    def test_a_lossless_format_that_the_api_does_not_take_becomes_png(self, file: Path, kind: str) -> None:
        """Every pixel is kept."""
        page = noise((150, 130))
        payload = prepare(put(file, encode(page, kind)), 1, VENDOR)
        assert payload.prep == Prep("png", 150, 130, len(sent(payload)))
        assert check(payload).tobytes() == page.tobytes()

    @pytest.mark.parametrize("compression", ["group4", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
    def test_compressed_tiffs_are_read(self, file: Path, compression: str) -> None:
        """What scanners write."""
        page = marked().convert("1")
        payload = prepare(put(file, encode(page, "TIFF", compression=compression)), 1, VENDOR)
        assert check(payload).convert("1").tobytes() == page.tobytes()

    @pytest.mark.parametrize(
        ("kind", "sent_kind"),
        [("JPEG", "jpeg"), ("WEBP", "jpeg"), ("PNG", "png"), ("GIF", "png"), ("BMP", "png"), ("TIFF", "png")],
    )
    def test_a_page_that_is_too_large_is_scaled(self, file: Path, kind: str, sent_kind: str) -> None:
        """To the largest edge that is allowed; photographs stay JPEG."""
        payload = prepare(put(file, encode(marked((4800, 1000)), kind)), 1, VENDOR)
        assert payload.prep is not None
        assert (payload.prep.format, payload.prep.width_px, payload.prep.height_px) == (sent_kind, 4000, 833)
        assert payload.prep.scale == round(4000 / 4800, 6)
        check(payload)

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
    def test_a_page_that_is_too_small_is_padded_in_white(self, file: Path, kind: str) -> None:
        """The pixels stay as they are, in the middle."""
        payload = prepare(put(file, encode(Image.new("RGB", (40, 20), RED), kind)), 1, VENDOR)
        page = check(payload).convert("RGB")
        assert payload.prep is not None
        assert (page.size, payload.prep.scale) == ((100, 100), 1)
        assert is_near(page.getpixel((50, 50)), RED)
        assert is_near(page.getpixel((50, 20)), WHITE)
        assert is_near(page.getpixel((10, 50)), WHITE)

    def test_a_strip_is_scaled_and_padded(self, file: Path) -> None:
        """Both at once."""
        payload = prepare(put(file, encode(Image.new("L", (8000, 100)), "PNG")), 1, VENDOR)
        assert check(payload).size == (4000, 100)
        assert payload.prep is not None
        assert payload.prep.scale == 0.5

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP"])
    def test_a_noisy_page_is_made_to_fit_into_the_bytes(self, file: Path, kind: str) -> None:
        """By quality first, then by size; the scale says by how much."""
        rules = Rules(Limits(max_bytes=50_000))
        payload = prepare(put(file, encode(noise((500, 400)), kind)), 1, rules)
        assert payload.prep is not None
        assert payload.prep.format == "jpeg"
        page = check(payload, rules)
        assert page.width < 500
        assert payload.prep.scale == pytest.approx(page.width / 500, abs=1e-6)
        assert page.width / page.height == pytest.approx(500 / 400, rel=0.02)

    def test_a_quality_that_suffices_leaves_the_size_alone(self, file: Path) -> None:
        """Pixels are worth more than JPEG quality."""
        data = encode(noise((300, 300)), "JPEG", quality=95)
        rules = Rules(Limits(max_bytes=len(data) - 1))
        payload = prepare(put(file, data), 1, rules)
        assert check(payload, rules).size == (300, 300)
        assert payload.prep is not None
        assert payload.prep.scale == 1

    def test_a_page_that_fits_into_no_bytes_is_unfittable(self, file: Path) -> None:
        """Shrinking ends at the smallest edge."""
        rules = Rules(Limits(max_bytes=1_000))
        with pytest.raises(UnfittableImageError, match="does not fit into 1000 bytes"):
            prepare(put(file, encode(noise((110, 2000)), "PNG")), 1, rules)

    @pytest.mark.parametrize(
        ("mode", "kind"),
        [
            pytest.param("CMYK", "TIFF", id="cmyk"),
            pytest.param("YCbCr", "TIFF", id="ycbcr"),
            pytest.param("P", "BMP", id="palette"),
            pytest.param("RGBA", "TIFF", id="rgba"),
            pytest.param("RGB", "BMP", id="rgb"),
        ],
    )
    def test_colours_survive(self, file: Path, mode: str, kind: str) -> None:
        """Whatever the mode of the file is."""
        assert is_upright(check(prepare(put(file, encode(marked().convert(mode), kind)), 1, VENDOR)))

    @pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "PA", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "I", "F"])
    def test_every_mode_of_a_tiff_becomes_a_png(self, file: Path, mode: str) -> None:
        """None is a crash."""
        payload = prepare(put(file, encode(Image.new(mode, (50, 130)), "TIFF")), 1, VENDOR)
        assert check(payload).mode in {"L", "RGB"}

    @pytest.mark.parametrize("mode", ["I;16", "I;16B"])
    def test_16_bits_are_scaled_to_8(self, file: Path, mode: str) -> None:
        """Not cut off: a light grey stays one."""
        grey = Image.new("I", (150, 150))
        ImageDraw.Draw(grey).rectangle((50, 50, 99, 99), fill=65535)
        ImageDraw.Draw(grey).rectangle((0, 0, 20, 20), fill=32896)
        data = encode(grey.convert("I;16"), "TIFF") if mode == "I;16" else big_endian_tiff(grey)
        payload = prepare(put(file, data), 1, VENDOR)
        page = check(payload)
        assert [page.getpixel(place) for place in ((140, 140), (10, 10), (70, 70))] == [0, 128, 255]

    @pytest.mark.parametrize(
        "page",
        [
            pytest.param(Image.new("RGBA", (50, 50), (0, 0, 0, 0)), id="alpha"),
            pytest.param(Image.new("LA", (50, 50), (0, 0)), id="grey-with-alpha"),
        ],
    )
    def test_what_is_transparent_becomes_white(self, file: Path, page: Image.Image) -> None:
        """Black text on a transparent ground must not become black on black."""
        payload = prepare(put(file, encode(page, "PNG")), 1, VENDOR)
        assert check(payload).convert("RGB").getcolors() == [(10_000, WHITE)]

    def test_a_transparent_colour_of_a_palette_becomes_white(self, file: Path) -> None:
        """In PNG and GIF a palette entry may be the transparent one."""
        page = Image.new("P", (50, 50), 0)
        page.putpalette([0, 0, 0, 20, 20, 220])
        ImageDraw.Draw(page).rectangle((0, 0, 24, 49), fill=1)
        for kind in ("PNG", "GIF"):
            payload = prepare(put(file, encode(page, kind, transparency=0)), 1, VENDOR)
            seen = check(payload).convert("RGB")
            assert [seen.getpixel((30, 50)), seen.getpixel((70, 50))] == [(20, 20, 220), WHITE]

    def test_no_profile_comment_or_orientation_of_the_source_is_written(self, file: Path) -> None:
        """A CMYK profile in an RGB file is an error to decoders, and may be larger than the page."""
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        exif = Image.Exif()
        exif[ORIENTATION_TAG] = 6
        page = marked().convert("CMYK")
        data = encode(page, "JPEG", icc_profile=profile, exif=exif, comment=b"note", dpi=(300, 300))
        seen = check(prepare(put(file, data), 1, VENDOR))
        assert not {"icc_profile", "exif", "comment"} & set(seen.info)
        payload = prepare(put(file, encode(page, "TIFF", icc_profile=profile)), 1, VENDOR)
        assert not check(payload).info


def big_endian_tiff(grey: Image.Image) -> bytes:
    """Return a TIFF of 16-bit grey in the byte order of old scanners' computers."""
    pixels = grey.convert("F").get_flattened_data()
    data = b"".join(struct.pack(">H", int(value)) for value in pixels if isinstance(value, float))
    width, height = grey.size
    tags = [(256, width), (257, height), (258, 16), (259, 1), (262, 1), (273, 8), (277, 1), (278, height)]
    tags.append((279, len(data)))
    directory = struct.pack(">H", len(tags)) + b"".join(struct.pack(">HHII", tag, 4, 1, value) for tag, value in tags)
    return struct.pack(">2sHI", b"MM", 42, 8 + len(data)) + data + directory + bytes(4)


class TestOrientation:
    """Pages end upright."""

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
    @pytest.mark.parametrize("orientation", STORED)
    def test_the_orientation_tag_makes_the_page_upright(self, file: Path, kind: str, orientation: int) -> None:
        """All eight, in every format that has the tag; the record says how far it was turned."""
        payload = prepare(put(file, oriented(kind, orientation)), 1, VENDOR)
        page = check(payload)
        assert page.size == (200, 300)
        assert is_upright(page)
        assert page.getexif().get(ORIENTATION_TAG, 1) == 1
        assert payload.prep is not None
        assert (payload.prep.rotation_deg, payload.prep.scale) == (TURNED_DEG[orientation], 1)

    @pytest.mark.parametrize("orientation", STORED)
    def test_a_turned_page_is_scaled_by_its_upright_size(self, file: Path, orientation: int) -> None:
        """`draft` decodes the stored pixels, the limits hold for the upright ones."""
        data = oriented("JPEG", orientation, (300, 1000))
        payload = prepare(put(file, data), 1, Rules(Limits(max_edge_px=400)))
        page = check(payload, Rules(Limits(max_edge_px=400)))
        assert page.size == (120, 400)
        assert is_near(page.convert("RGB").getpixel((5, 5)), RED)
        assert payload.prep is not None
        assert payload.prep.scale == 0.4

    def test_without_orient_a_page_is_sent_as_it_lies(self, file: Path) -> None:
        """The setting turns the turning off, and the record does not claim it."""
        data = oriented("JPEG", 6)
        payload = prepare(put(file, data), 1, Rules(Limits(), orient=False))
        assert sent(payload) == data
        assert payload.prep == Prep("jpeg", 300, 200, len(data))

    @pytest.mark.parametrize("value", [0, 9, 700])
    def test_a_tag_that_means_nothing_turns_nothing(self, file: Path, value: int) -> None:
        """The page is sent as it is."""
        exif = Image.Exif()
        exif[ORIENTATION_TAG] = value
        data = encode(marked(), "JPEG", exif=exif)
        assert sent(prepare(put(file, data), 1, VENDOR)) == data

    def test_a_broken_exif_block_does_not_fail_the_page(self, file: Path) -> None:
        """The pixels are good."""
        data = encode(marked(), "JPEG", exif=b"Exif\0\0garbage")
        assert sent(prepare(put(file, data), 1, VENDOR)) == data


def oriented(kind: str, orientation: int, size_px: tuple[int, int] = (200, 300)) -> bytes:
    """Return an upright page as a camera held in another way would store it."""
    turn = STORED[orientation]
    stored = marked(size_px) if turn is None else marked(size_px).transpose(turn)
    if kind == "TIFF":
        return encode(stored, kind, tiffinfo={ORIENTATION_TAG: orientation})
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    return encode(stored, kind, exif=exif)


class TestPages:
    """Frames of a TIFF or a GIF are pages."""

    @pytest.mark.parametrize("kind", ["TIFF", "GIF"])
    def test_each_frame_is_a_page(self, file: Path, kind: str) -> None:
        """All of the same file, told apart by their number."""
        greys = [40, 120, 200]
        frames = [Image.new("L", (150, 150), grey) for grey in greys]
        put(file, encode(frames[0], kind, save_all=True, append_images=frames[1:]))
        payloads = [prepare(file, page, VENDOR) for page in (1, 2, 3)]
        assert [payload.pages for payload in payloads] == [3, 3, 3]
        assert [check(payload).convert("L").getpixel((75, 75)) for payload in payloads] == greys
        assert [payload.id.partition("#")[2] for payload in payloads] == ["1", "2", "3"]
        assert len({payload.sha256 for payload in payloads}) == 1

    def test_pages_of_one_file_may_differ_in_size_and_orientation(self, file: Path) -> None:
        """A scanner's TIFF holds covers, thumbnails and turned pages; each is judged by itself."""
        buffer = io.BytesIO()
        with TiffImagePlugin.AppendingTiffWriter(buffer, new=True) as writer:
            turned = marked().transpose(Image.Transpose.ROTATE_90)
            for page, orientation in ((Image.new("L", (4, 4)), 1), (marked(), 1), (turned, 6)):
                page.save(writer, format="TIFF", tiffinfo={ORIENTATION_TAG: orientation})
                writer.newFrame()
        put(file, buffer.getvalue())
        with pytest.raises(UnfittableImageError):
            prepare(file, 1, VENDOR)
        for page_number, rotation_deg in ((2, 0), (3, 90)):
            payload = prepare(file, page_number, VENDOR)
            seen = check(payload)
            assert payload.prep is not None
            assert (seen.size, is_upright(seen), payload.prep.rotation_deg) == ((200, 300), True, rotation_deg)

    def test_a_file_is_read_once_for_all_of_its_pages(self, file: Path) -> None:
        """What happens to the file between two pages does not mix two contents under one identity."""
        frames = [Image.new("L", (150, 150), grey) for grey in (40, 120)]
        image = ImageFile(put(file, encode(frames[0], "TIFF", save_all=True, append_images=frames[1:])), VENDOR)
        assert image.pages == 1
        first = image.prepare(1)
        file.unlink()
        assert (image.pages, image.prepare(2).sha256) == (2, first.sha256)

    @pytest.mark.parametrize("kind", ["TIFF", "GIF"])
    def test_a_damaged_last_page_does_not_take_the_others_along(self, file: Path, kind: str) -> None:
        """Only the page whose data are missing fails, if the file still tells that there is one."""
        frames = [noise((120, 120), "L", seed) for seed in (1, 2)]
        whole = encode(frames[0], kind, save_all=True, append_images=frames[1:])
        put(file, whole[:-200])
        check(prepare(file, 1, VENDOR))
        with pytest.raises((TruncatedImageError, UnreadableFileError)):
            prepare(file, 2, VENDOR)


class TestBadFiles:
    """What cannot be a page fails before it costs a call."""

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
    @pytest.mark.parametrize("kept", [0.02, 0.3, 0.7, 0.99])
    def test_a_truncated_image_fails_as_truncated(self, file: Path, kind: str, kept: float) -> None:
        """Wherever the copy broke off."""
        data = encode(noise((150, 150)), kind)
        with pytest.raises(TruncatedImageError):
            prepare(put(file, data[: int(len(data) * kept)]), 1, VENDOR)

    @pytest.mark.parametrize("kind", SENT_AS_IS)
    def test_only_a_last_mark_that_is_missing_is_forgiven_if_all_pixels_are_there(self, file: Path, kind: str) -> None:
        """Every cut in the last bytes is either refused, or every pixel is decoded from what is sent."""
        page = marked((120, 120)).convert("P")
        data = encode(page.convert("RGB") if kind in {"JPEG", "WEBP"} else page, kind)
        pixels = Image.open(io.BytesIO(data)).convert("RGB").tobytes()
        for cut in range(1, 40):
            try:
                payload = prepare(put(file, data[:-cut]), 1, VENDOR)
            except TruncatedImageError:
                continue
            assert decode(payload).convert("RGB").tobytes() == pixels

    @pytest.mark.parametrize(
        "data",
        [
            pytest.param(b"This is a text, called page.jpg.\n", id="text"),
            pytest.param(b"%PDF-1.7\n", id="pdf"),
            pytest.param(b"<svg xmlns='http://www.w3.org/2000/svg'/>", id="svg"),
            pytest.param(b"RIFF\x24\0\0\0WAVEfmt " + bytes(40), id="wav"),
            pytest.param(b"\0" * 5_000, id="zeros"),
            pytest.param(encode(Image.new("RGB", (150, 150)), "ICO"), id="an-image-of-another-kind"),
            pytest.param(b"\xff", id="one-byte"),
        ],
    )
    def test_what_is_no_image_is_called_so(self, file: Path, data: bytes) -> None:
        """Whatever its name says."""
        with pytest.raises(NotAnImageError, match="not an image"):
            prepare(put(file, data), 1, VENDOR)

    @pytest.mark.parametrize(
        "data", [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF", b"RIFF\0\0\0\0WEBP", b"II*\0", b"MM\0*"]
    )
    def test_a_signature_alone_is_a_truncated_image(self, file: Path, data: bytes) -> None:
        """It was an image once."""
        with pytest.raises(TruncatedImageError):
            prepare(put(file, data), 1, VENDOR)

    def test_a_file_without_a_byte_is_empty(self, file: Path) -> None:
        """A copy that was never filled."""
        with pytest.raises(EmptyFileError):
            prepare(put(file, b""), 1, VENDOR)

    @pytest.mark.parametrize("kind", [*SENT_AS_IS, "BMP", "TIFF"])
    def test_one_pixel_is_no_page(self, file: Path, kind: str) -> None:
        """A tracking pixel is not worth a call."""
        with pytest.raises(UnfittableImageError, match="1×1 px"):
            prepare(put(file, encode(Image.new("RGB", (1, 1)), kind)), 1, VENDOR)

    @pytest.mark.parametrize("size_px", [(60_000, 60_000), (2**31 - 1, 2**31 - 1)])
    def test_a_decompression_bomb_is_refused_by_its_header(self, file: Path, size_px: tuple[int, int]) -> None:
        """Nothing of it is decoded."""
        with pytest.raises(DecompressionBombError, match="300 million pixels"):
            prepare(put(file, png_that_claims(size_px)), 1, VENDOR)

    @pytest.mark.parametrize("kind", ["PNG", "JPEG"])
    def test_damaged_data_fail_as_a_page_error_or_not_at_all(self, file: Path, kind: str) -> None:
        """No damage to a file is a crash of the run."""
        data = encode(noise((40, 40)), kind)  # too small, so that it is decoded
        chance = random.Random(7)
        failed = 0
        for _ in range(150):
            damaged = bytearray(data)
            for _ in range(3):
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
            try:
                check(prepare(put(file, bytes(damaged)), 1, VENDOR))
            except PageError:
                failed += 1
        assert failed > 10

    @pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "BMP"])
    @pytest.mark.filterwarnings("ignore::UserWarning:PIL")
    def test_damage_in_any_byte_of_a_header_is_a_page_error_or_harmless(self, file: Path, kind: str) -> None:
        """Headers are where decoders trip."""
        data = encode(Image.new("L", (40, 40), 128), kind)
        chance = random.Random(8)
        positions = [*range(min(60, len(data))), *range(max(0, len(data) - 140), len(data))]
        for position in positions:
            damaged = bytearray(data)
            damaged[position] = chance.randrange(256)
            try:
                payload = prepare(put(file, bytes(damaged)), 1, VENDOR)
            except PageError:
                continue
            check(payload)


def png_that_claims(size_px: tuple[int, int]) -> bytes:
    """Return a PNG of a few bytes whose header announces this size."""
    header = struct.pack(">IIBBBBB", *size_px, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


class TestReading:
    """The file system's surprises."""

    def test_a_missing_file_is_missing(self, file: Path) -> None:
        """It may come later: the next run tries it again."""
        with pytest.raises(MissingFileError) as caught:
            prepare(file, 1, VENDOR)
        assert caught.value.retryable

    def test_a_dangling_link_is_missing(self, file: Path) -> None:
        """What it points to may come later."""
        file.symlink_to("nowhere")
        with pytest.raises(MissingFileError):
            prepare(file, 1, VENDOR)

    def test_a_fifo_is_refused_at_once(self, file: Path) -> None:
        """Nobody writes into it, and the run does not wait for that."""
        os.mkfifo(file)
        with pytest.raises(UnreadableFileError, match="not a regular file"):
            prepare(file, 1, VENDOR)

    def test_a_device_is_refused(self) -> None:
        """/dev/zero never ends."""
        with pytest.raises(UnreadableFileError, match="not a regular file"):
            prepare(Path("/dev/zero"), 1, VENDOR)

    def test_a_directory_is_refused_and_left_closed(self, tmp_path: Path) -> None:
        """A manifest may name one; no descriptor stays open."""
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(5):
            with pytest.raises(UnreadableFileError, match="Is a directory"):
                prepare(tmp_path, 1, VENDOR)
        assert len(list(Path("/proc/self/fd").iterdir())) == before

    def test_a_file_that_may_not_be_read_is_unreadable(self, file: Path) -> None:
        """It says why, and the next run tries again."""
        file.symlink_to(file.name)  # a loop, because root may read anything else
        with pytest.raises(UnreadableFileError, match="symbolic links") as caught:
            prepare(file, 1, VENDOR)
        assert caught.value.retryable

    def test_a_file_that_changes_while_it_is_read_is_not_sent(self, file: Path) -> None:
        """Half of the old and half of the new bytes would be billed as a page."""
        put(file, encode(noise((1500, 1500)), "BMP"))
        stop = threading.Event()

        def touch() -> None:
            for time_ns in count(1):
                os.utime(file, ns=(time_ns, time_ns))
                if stop.is_set():
                    return

        def read_often() -> None:
            for _ in range(10):
                prepare(file, 1, VENDOR)

        writer = threading.Thread(target=touch)
        writer.start()
        try:
            with pytest.raises(UnreadableFileError, match="changed while it was read"):
                read_often()
        finally:
            stop.set()
            writer.join()

    def test_a_file_whose_size_lies_is_not_sent(self) -> None:
        """Files of /proc say that they are empty and are not."""
        with pytest.raises(UnreadableFileError, match="changed while it was read"):
            prepare(Path("/proc/version"), 1, VENDOR)

    def test_a_library_warning_does_not_reach_stderr(self, file: Path) -> None:
        """Stderr is the log's, which may be JSON."""
        put(file, encode(noise((150, 150)), "TIFF")[:40])  # cut off in its list of tags: "Corrupt EXIF data"
        script = (
            "import sys; from pathlib import Path; from pipeline import errors; from pipeline.inputs import image\n"
            "try: image.ImageFile(Path(sys.argv[1]), image.Rules(image.Limits())).prepare(1)\n"
            "except errors.PageError as exc: print(type(exc).__name__)"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, str(file)],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parents[2],
        )
        assert (done.stdout, done.stderr) == ("TruncatedImageError\n", "")


class TestUrls:
    """Pages that the service fetches by itself."""

    def test_a_page_given_as_a_url_is_known_by_it(self) -> None:
        """Nothing is fetched or described."""
        url = "https://example.org/scans/a%20b.png?x=1&sig=/y"
        payload = prepare_url(url)
        assert json.loads(payload.body) == {
            "document": {"type": "image_url", "image_url": url},
            "filename": "a%20b.png",
        }
        assert payload.id == f"url:{hashlib.sha256(url.encode()).hexdigest()}#1"
        assert (payload.sha256, payload.page, payload.pages, payload.prep) == (None, 1, 1, None)

    def test_two_urls_are_two_pages(self) -> None:
        """Even when only the query differs."""
        assert prepare_url("https://e.org/a?p=1").id != prepare_url("https://e.org/a?p=2").id


@pytest.fixture(scope="module")
def shelf() -> Iterator[Path]:
    """A directory for the property below."""
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.tuples(st.integers(8, 420), st.integers(8, 420)),
    st.booleans(),
    st.sampled_from(["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "I;16"]),
    st.sampled_from([*SENT_AS_IS, "BMP", "TIFF"]),
    st.integers(1, 8),
)
def test_whatever_is_sent_is_within_the_limits_and_truly_described(  # noqa: PLR0917 - drawn values
    shelf: Path,
    size_px: tuple[int, int],
    is_noise: bool,  # noqa: FBT001 - drawn
    mode: str,
    kind: str,
    orientation: int,
) -> None:
    """Any size, mode, format and orientation: it is refused, or the service can take it and the record is true."""
    page = noise(size_px).convert(mode if mode != "I;16" else "L").convert(mode)
    if not is_noise:
        page.paste(0, (0, 0, *size_px))
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    try:
        data = encode(page, kind, **({} if kind in {"BMP", "GIF"} else {"exif": exif}))
    except (OSError, ValueError):  # the format has no such mode
        return
    file = put(shelf / "page", data)
    try:
        payload = prepare(file, 1, SMALL)
    except UnfittableImageError:
        assert is_noise or min(size_px) * 200 / max(size_px) < 8
        return
    image = check(payload, SMALL)
    prep = payload.prep
    assert prep is not None
    assert prep.rotation_deg == (0 if kind in {"BMP", "GIF"} else TURNED_DEG[orientation])
    upright = size_px[::-1] if prep.rotation_deg in {90, 270} else size_px
    for edge, edge_sent in zip(upright, image.size, strict=True):
        assert edge_sent == 100 or abs(edge * prep.scale - edge_sent) <= 3
