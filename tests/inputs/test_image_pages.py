"""The pages of image files: upright, one per frame, and as described."""

import io
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, TiffImagePlugin

from pipeline.errors import (
    TruncatedImageError,
    UnfittableImageError,
    UnreadableFileError,
)
from pipeline.inputs.conversion import Converter
from pipeline.inputs.conversion_messages import PrepareSettings
from pipeline.inputs.image import ImageFile
from pipeline.records import Prep
from pipeline.wire import Limits
from tests.inputs.images import (
    API_FORMATS,
    ORIENTATION_TAG,
    RED,
    SMALL,
    STORED,
    TURNED_DEG,
    VENDOR,
    check,
    encode,
    is_near,
    is_upright,
    marked,
    noise,
    prepare,
    prepare_next,
    prepare_tiles,
    put,
    sent_image,
)


class TestOrientation:
    """Pages are sent upright."""

    @pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
    @pytest.mark.parametrize("orientation", STORED)
    def test_the_orientation_tag_makes_the_page_upright(self, file: Path, image_format: str, orientation: int) -> None:
        payload = prepare(put(file, oriented(image_format, orientation)), 1, VENDOR)
        page = check(payload)
        assert page.size == (200, 300)
        assert is_upright(page)
        assert page.getexif().get(ORIENTATION_TAG, 1) == 1
        assert payload.prep is not None
        assert (payload.prep.rotation_deg, payload.prep.scale) == (TURNED_DEG[orientation], 1)

    @pytest.mark.parametrize("orientation", STORED)
    def test_a_turned_page_is_scaled_by_its_upright_size(self, file: Path, orientation: int) -> None:
        """`draft` decodes the stored pixels, while the limits apply to the upright page."""
        data = oriented("JPEG", orientation, (300, 1000))
        payload = prepare(put(file, data), 1, PrepareSettings(Limits(max_edge_px=500)))
        page = check(payload, PrepareSettings(Limits(max_edge_px=500)))
        assert page.size == (150, 500)
        assert is_near(page.convert("RGB").getpixel((5, 5)), RED)
        assert payload.prep is not None
        assert payload.prep.scale == 0.5

    def test_without_orient_a_page_is_not_turned(self, file: Path) -> None:
        data = oriented("JPEG", 6)
        payload = prepare(put(file, data), 1, PrepareSettings(Limits(), orient=False))
        assert sent_image(payload) == data
        assert payload.prep == Prep("jpeg", 300, 200, len(data))

    @pytest.mark.parametrize("value", [0, 9, 700])
    def test_an_invalid_orientation_turns_nothing(self, file: Path, value: int) -> None:
        exif = Image.Exif()
        exif[ORIENTATION_TAG] = value
        data = encode(marked(), "JPEG", exif=exif)
        assert sent_image(prepare(put(file, data), 1, VENDOR)) == data

    def test_a_damaged_exif_block_does_not_fail_the_page(self, file: Path) -> None:
        data = encode(marked(), "JPEG", exif=b"Exif\0\0garbage")
        assert sent_image(prepare(put(file, data), 1, VENDOR)) == data


def oriented(image_format: str, orientation: int, size_px: tuple[int, int] = (200, 300)) -> bytes:
    """Return an upright page as a camera that was held in this orientation stores it."""
    turn = STORED[orientation]
    stored = marked(size_px) if turn is None else marked(size_px).transpose(turn)
    if image_format == "TIFF":
        return encode(stored, image_format, tiffinfo={ORIENTATION_TAG: orientation})
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    return encode(stored, image_format, exif=exif)


class TestPages:
    """Frames of a TIFF or a GIF are pages."""

    @pytest.mark.parametrize("image_format", ["TIFF", "GIF"])
    def test_each_frame_is_a_page(self, file: Path, image_format: str) -> None:
        greys = [40, 120, 200]
        frames = [Image.new("L", (150, 150), grey) for grey in greys]
        put(file, encode(frames[0], image_format, save_all=True, append_images=frames[1:]))
        payloads = [prepare(file, page, VENDOR) for page in (1, 2, 3)]
        assert [payload.pages for payload in payloads] == [3, 3, 3]
        assert [check(payload).convert("L").getpixel((75, 75)) for payload in payloads] == greys
        assert [payload.id.partition("#")[2] for payload in payloads] == ["1", "2", "3"]
        assert len({payload.sha256 for payload in payloads}) == 1

    def test_pages_of_one_file_may_differ_in_size_and_orientation(self, file: Path) -> None:
        """A scanner's TIFF can hold thumbnails and rotated pages."""
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
        """A file that changes between two pages must not mix two contents under one identity."""
        frames = [Image.new("L", (150, 150), grey) for grey in (40, 120)]
        image = ImageFile(put(file, encode(frames[0], "TIFF", save_all=True, append_images=frames[1:])), VENDOR)
        converter = Converter()
        assert image.pages == 1
        first = prepare_next(image, 1, converter)
        file.unlink()
        assert (image.pages, prepare_next(image, 2, converter).sha256) == (2, first.sha256)

    @pytest.mark.parametrize("image_format", ["TIFF", "GIF"])
    def test_a_damaged_last_page_does_not_fail_the_others(self, file: Path, image_format: str) -> None:
        frames = [noise((120, 120), "L", seed) for seed in (1, 2)]
        whole = encode(frames[0], image_format, save_all=True, append_images=frames[1:])
        put(file, whole[:-200])
        check(prepare(file, 1, VENDOR))
        with pytest.raises((TruncatedImageError, UnreadableFileError)):
            prepare(file, 2, VENDOR)


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    """Return a directory for all examples of the property below."""
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.tuples(st.integers(8, 420), st.integers(8, 420)),
    st.booleans(),
    st.sampled_from(["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "I;16"]),
    st.sampled_from([*API_FORMATS, "BMP", "TIFF"]),
    st.integers(1, 8),
)
def test_a_sent_page_is_within_the_limits_and_matches_its_description(  # noqa: PLR0917 - drawn values
    directory: Path,
    size_px: tuple[int, int],
    is_noise: bool,  # noqa: FBT001 - drawn
    mode: str,
    image_format: str,
    orientation: int,
) -> None:
    """Any size, mode, format and orientation: the page is unfittable, or within the limits and as described."""
    page = noise(size_px).convert(mode if mode != "I;16" else "L").convert(mode)
    if not is_noise:
        page.paste(0, (0, 0, *size_px))
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    try:
        data = encode(page, image_format, **({} if image_format in {"BMP", "GIF"} else {"exif": exif}))
    except (OSError, ValueError):  # the format has no such mode
        return
    file = put(directory / "page", data)
    try:
        payload = prepare(file, 1, SMALL)
        tiles = prepare_tiles(file, 1, SMALL) if payload.tiles else []
    except UnfittableImageError:
        scale = min(1, 200 / max(size_px))
        assert is_noise or scale < 0.5 or min(size_px) * scale < 8
        return
    if payload.tiles:
        for tile in tiles:
            check(tile, SMALL)
        return
    image = check(payload, SMALL)
    prep = payload.prep
    assert prep is not None
    assert prep.rotation_deg == (0 if image_format in {"BMP", "GIF"} else TURNED_DEG[orientation])
    upright = size_px[::-1] if prep.rotation_deg in {90, 270} else size_px
    for edge, edge_sent in zip(upright, image.size, strict=True):
        assert edge_sent == 100 or abs(edge * prep.scale - edge_sent) <= 3
