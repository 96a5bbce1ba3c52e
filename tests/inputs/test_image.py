"""Image files become pages that the API accepts and that match their description."""

import hashlib
import json
import os
import struct
from pathlib import Path

import pytest
from PIL import Image, ImageCms, ImageDraw

from pipeline.errors import UnfittableImageError
from pipeline.inputs.conversion_messages import PrepareSettings
from pipeline.inputs.image import prepare_url
from pipeline.records import Prep
from pipeline.wire import Limits
from tests.inputs.images import (
    API_FORMATS,
    ORIENTATION_TAG,
    RED,
    SMALL,
    VENDOR,
    WHITE,
    check,
    encode,
    is_near,
    is_upright,
    marked,
    noise,
    prepare,
    put,
    sent_image,
)


class TestSentUnchanged:
    """A page that fits is sent unchanged."""

    @pytest.mark.parametrize("image_format", API_FORMATS)
    def test_an_image_that_fits_is_sent_unchanged(self, file: Path, image_format: str) -> None:
        data = encode(marked(), image_format)
        payload = prepare(put(file, data), 1, VENDOR)
        digest = hashlib.sha256(data).hexdigest()
        assert sent_image(payload) == data
        assert payload.prep == Prep(image_format.lower(), 200, 300, len(data))
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
    def test_every_kind_of_pixel_that_the_api_accepts_is_sent_unchanged(self, file: Path, data: bytes) -> None:
        payload = prepare(put(file, data), 1, VENDOR)
        assert sent_image(payload) == data
        assert payload.pages == 1
        check(payload)

    def test_bytes_after_the_end_mark_of_a_jpeg_are_sent_too(self, file: Path) -> None:
        """Some cameras and scanners append their own data."""
        data = encode(marked(), "JPEG") + b"\0\0MAKER NOTE"
        assert sent_image(prepare(put(file, data), 1, VENDOR)) == data

    def test_a_file_name_that_is_not_utf_8_is_sent_with_replacement_characters(self, tmp_path: Path) -> None:
        path = tmp_path / os.fsdecode(b"caf\xe9.png")
        payload = prepare(put(path, encode(marked(), "PNG")), 1, VENDOR)
        assert json.loads(payload.body)["filename"] == "caf\ufffd.png"

    def test_the_identity_is_the_content_not_the_name_or_the_settings(self, tmp_path: Path) -> None:
        one, other = put(tmp_path / "a", encode(marked(), "BMP")), put(tmp_path / "b", encode(marked(), "BMP"))
        assert prepare(one, 1, VENDOR).id == prepare(other, 1, SMALL).id


class TestConversion:
    """A page that does not fit is converted with the least change."""

    @pytest.mark.parametrize("image_format", ["BMP", "TIFF"])
    def test_a_flat_page_in_a_format_that_the_api_does_not_take_becomes_png(
        self, file: Path, image_format: str
    ) -> None:
        page = marked((150, 130))
        payload = prepare(put(file, encode(page, image_format)), 1, VENDOR)
        assert payload.prep == Prep("png", 150, 130, len(sent_image(payload)))
        assert check(payload).convert("RGB").tobytes() == page.tobytes()

    @pytest.mark.parametrize("compression", ["group4", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
    def test_compressed_tiffs_are_read(self, file: Path, compression: str) -> None:
        page = marked().convert("1")
        payload = prepare(put(file, encode(page, "TIFF", compression=compression)), 1, VENDOR)
        assert check(payload).convert("1").tobytes() == page.tobytes()

    @pytest.mark.parametrize(
        ("image_format", "sent_format"),
        [("JPEG", "jpeg"), ("WEBP", "jpeg"), ("PNG", "png"), ("GIF", "png"), ("BMP", "png"), ("TIFF", "png")],
    )
    def test_a_page_above_the_largest_edge_is_scaled_to_it(
        self, file: Path, image_format: str, sent_format: str
    ) -> None:
        page = marked((4800, 1000)) if sent_format == "png" else noise((600, 125)).resize((4800, 1000))
        payload = prepare(put(file, encode(page, image_format)), 1, VENDOR)
        assert payload.prep is not None
        assert (payload.prep.format, payload.prep.width_px, payload.prep.height_px) == (sent_format, 4000, 833)
        assert payload.prep.scale == round(4000 / 4800, 6)
        check(payload)

    @pytest.mark.parametrize("image_format", ["JPEG", "PNG", "TIFF"])
    def test_a_page_that_is_too_small_is_centred_on_white(self, file: Path, image_format: str) -> None:
        payload = prepare(put(file, encode(Image.new("RGB", (40, 20), RED), image_format)), 1, VENDOR)
        page = check(payload).convert("RGB")
        assert payload.prep is not None
        assert (page.size, payload.prep.scale) == ((100, 100), 1)
        assert is_near(page.getpixel((50, 50)), RED)
        assert is_near(page.getpixel((50, 20)), WHITE)
        assert is_near(page.getpixel((10, 50)), WHITE)

    def test_a_strip_is_scaled_and_padded(self, file: Path) -> None:
        payload = prepare(put(file, encode(Image.new("L", (8000, 100)), "PNG")), 1, VENDOR)
        assert check(payload).size == (4000, 100)
        assert payload.prep is not None
        assert payload.prep.scale == 0.5

    @pytest.mark.parametrize("image_format", ["PNG", "JPEG", "BMP"])
    def test_a_page_above_the_byte_limit_is_compressed_and_then_shrunk(self, file: Path, image_format: str) -> None:
        settings = PrepareSettings(Limits(max_bytes=50_000))
        payload = prepare(put(file, encode(noise((500, 400)), image_format)), 1, settings)
        assert payload.prep is not None
        assert payload.prep.format == "jpeg"
        page = check(payload, settings)
        assert page.width < 500
        assert payload.prep.scale == pytest.approx(page.width / 500, abs=1e-6)
        assert page.width / page.height == pytest.approx(500 / 400, rel=0.02)

    def test_a_page_that_fits_at_a_lower_quality_keeps_its_size(self, file: Path) -> None:
        data = encode(noise((300, 300)), "JPEG", quality=95)
        settings = PrepareSettings(Limits(max_bytes=len(data) - 1))
        payload = prepare(put(file, data), 1, settings)
        assert check(payload, settings).size == (300, 300)
        assert payload.prep is not None
        assert payload.prep.scale == 1

    def test_a_page_above_the_byte_limit_at_the_smallest_edge_is_unfittable(self, file: Path) -> None:
        settings = PrepareSettings(Limits(max_bytes=1_000))
        with pytest.raises(UnfittableImageError, match="does not fit into 1000 bytes"):
            prepare(put(file, encode(noise((110, 2000)), "PNG")), 1, settings)

    @pytest.mark.parametrize(
        ("mode", "image_format"),
        [
            pytest.param("CMYK", "TIFF", id="cmyk"),
            pytest.param("YCbCr", "TIFF", id="ycbcr"),
            pytest.param("P", "BMP", id="palette"),
            pytest.param("RGBA", "TIFF", id="rgba"),
            pytest.param("RGB", "BMP", id="rgb"),
        ],
    )
    def test_colours_survive_in_every_mode(self, file: Path, mode: str, image_format: str) -> None:
        assert is_upright(check(prepare(put(file, encode(marked().convert(mode), image_format)), 1, VENDOR)))

    @pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "PA", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "I", "F"])
    def test_every_mode_of_a_tiff_becomes_a_png(self, file: Path, mode: str) -> None:
        payload = prepare(put(file, encode(Image.new(mode, (50, 130)), "TIFF")), 1, VENDOR)
        assert check(payload).mode in {"1", "L", "RGB"}

    @pytest.mark.parametrize("mode", ["I;16", "I;16B"])
    def test_16_bits_are_scaled_to_8(self, file: Path, mode: str) -> None:
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
    def test_transparent_pixels_become_white(self, file: Path, page: Image.Image) -> None:
        """Black text on a transparent page would become black on black."""
        payload = prepare(put(file, encode(page, "PNG")), 1, VENDOR)
        assert check(payload).convert("RGB").getcolors() == [(10_000, WHITE)]

    def test_a_transparent_colour_of_a_palette_becomes_white(self, file: Path) -> None:
        page = Image.new("P", (50, 50), 0)
        page.putpalette([0, 0, 0, 20, 20, 220])
        ImageDraw.Draw(page).rectangle((0, 0, 24, 49), fill=1)
        for image_format in ("PNG", "GIF"):
            payload = prepare(put(file, encode(page, image_format, transparency=0)), 1, VENDOR)
            seen = check(payload).convert("RGB")
            assert [seen.getpixel((30, 50)), seen.getpixel((70, 50))] == [(20, 20, 220), WHITE]

    def test_no_profile_comment_or_orientation_of_the_source_is_written(self, file: Path) -> None:
        """Decoders reject a CMYK profile in an RGB file, and a profile can be larger than the page."""
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
    """Return a TIFF of 16-bit grey in big-endian byte order."""
    pixels = grey.convert("F").get_flattened_data()
    data = b"".join(struct.pack(">H", int(value)) for value in pixels if isinstance(value, float))
    width, height = grey.size
    tags = [(256, width), (257, height), (258, 16), (259, 1), (262, 1), (273, 8), (277, 1), (278, height)]
    tags.append((279, len(data)))
    directory = struct.pack(">H", len(tags)) + b"".join(struct.pack(">HHII", tag, 4, 1, value) for tag, value in tags)
    return struct.pack(">2sHI", b"MM", 42, 8 + len(data)) + data + directory + bytes(4)


class TestUrls:
    """Pages that the service fetches."""

    def test_the_identity_of_a_page_given_as_a_url_is_the_url(self) -> None:
        url = "https://example.org/scans/a%20b.png?x=1&sig=/y"
        payload = prepare_url(url)
        assert json.loads(payload.body) == {
            "document": {"type": "image_url", "image_url": url},
            "filename": "a%20b.png",
        }
        assert payload.id == f"url:{hashlib.sha256(url.encode()).hexdigest()}#1"
        assert (payload.sha256, payload.page, payload.pages, payload.prep) == (None, 1, 1, None)

    def test_urls_that_differ_in_the_query_are_two_pages(self) -> None:
        assert prepare_url("https://e.org/a?p=1").id != prepare_url("https://e.org/a?p=2").id
