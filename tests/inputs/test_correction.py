"""Corrected pages, and where their places are in the source."""

import io
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageStat, TiffImagePlugin

from pipeline.batch.line_positions import to_upright, upright_px
from pipeline.inputs.conversion_messages import PrepareSettings
from pipeline.inputs.correction import Correction, Source, correct, describe, find_correction
from pipeline.inputs.tone import Levels
from pipeline.pixels.affine import orienting, rotating, scaling
from pipeline.pixels.orientation import rotation_deg, turn_upright, upright_size_px
from pipeline.records import Prep
from pipeline.wire import Limits
from tests.inputs.images import ORIENTATION_TAG, STORED, VENDOR, check, decode, encode, prepare, put, sent_image
from tests.inputs.odd_pdfs import jpeg_image, one_page
from tests.inputs.pdfs import DRAW, image
from tests.inputs.skewed import PAGE_PX, grey_border, skewed, text_page, toned, yellowed
from tests.rendering import turned

DESKEW = replace(VENDOR, deskew=True)
CONTRAST = replace(VENDOR, contrast=True)
BOTH = replace(VENDOR, deskew=True, contrast=True)
TOLERANCE_DEG = 0.15

PAGE = text_page(41)
SKEWED = skewed(PAGE, 4)


def corrected(path: Path, page: int = 1, options: PrepareSettings = BOTH) -> tuple[Image.Image, Prep]:
    """Return a page as sent, and its description."""
    payload = prepare(path, page, options)
    assert payload.prep is not None
    return check(payload, options), payload.prep


def stored_as(page: Image.Image, orientation: int) -> Image.Image:
    """Return a page as a camera that was held in this orientation stores it."""
    turn = STORED[orientation]
    return page if turn is None else page.transpose(turn)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "page"


class Journey(NamedTuple):
    """All that may happen to a page, and a place on it in shares of its edges."""

    source: Source
    correction: Correction
    limits: Limits
    place: tuple[float, float]


SIZES = st.tuples(st.integers(40, 100), st.integers(40, 100))
ORIENTATIONS = st.integers(1, 8)
JOURNEYS = st.builds(
    Journey,
    # a TIFF is turned by its decoder, other pages afterwards
    st.builds(Source, SIZES, ORIENTATIONS, st.just(1)) | st.builds(Source, SIZES, st.just(1), ORIENTATIONS),
    st.builds(
        Correction,
        st.sampled_from([0, 90, 180, 270]),
        st.just(0.0) | st.floats(-15, 15).map(lambda angle: round(angle, 2)),
    ),
    st.sampled_from([Limits(), Limits(100, 110), Limits(20, 80), Limits(20, 400)]),
    st.tuples(st.floats(0.2, 0.8), st.floats(0.2, 0.8)),
)


class TestPlaces:
    """`Corrections.source_point` and `sent_point` for all that may happen to a page."""

    @given(JOURNEYS)
    @settings(max_examples=300, deadline=None)
    def test_a_dot_of_the_source_is_where_the_map_says(self, journey: "Journey") -> None:
        source, correction, limits = journey.source, journey.correction, journey.limits
        dot = [round(share * edge) for share, edge in zip(journey.place, source.stored_px, strict=True)]
        stored = Image.new("L", source.stored_px, 255)
        stored.paste(0, (dot[0] - 4, dot[1] - 4, dot[0] + 4, dot[1] + 4))
        decoded = turn_upright(stored, source.decoded_as)
        made = correct(decoded, source, correction, limits)
        corrections = describe(correction, made.from_source)
        seen = _centre_of_ink(made.image)
        assert corrections.sent_point(*dot) == pytest.approx(seen, abs=0.6)
        assert corrections.source_point(*seen) == pytest.approx(dot, abs=0.6 / made.scale)
        assert all(limits.min_edge_px <= edge <= limits.max_edge_px for edge in made.image.size)
        orientation = source.decoded_as * source.orientation  # one of them is 1
        turned_deg = (rotation_deg(orientation) + correction.turned_deg) % 360
        prep = Prep("png", *made.image.size, 1, made.scale, rotation_deg=turned_deg, corrections=corrections)
        upright = orienting(source.stored_px, orientation).map(*dot)
        place = to_upright(prep, source.upright_px()).map(*seen)
        assert place == pytest.approx(upright, abs=0.6 / made.scale)
        assert upright_px(prep) == pytest.approx(source.upright_px(), abs=1 + 1 / made.scale)

    @given(
        size_px=st.tuples(st.integers(8, 30_000), st.integers(8, 30_000)),
        orientation=st.integers(1, 8),
        turned_deg=st.sampled_from([0, 90, 180, 270]),
        point=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    )
    def test_a_point_of_the_source_comes_back(
        self, size_px: tuple[int, int], orientation: int, turned_deg: int, point: tuple[float, float]
    ) -> None:
        upright_px = upright_size_px(size_px, orientation)
        moved = orienting(size_px, orientation).then(scaling(upright_px, (3000, 4000)))
        found = describe(Correction(turned_deg, 7.3), moved.then(rotating((3000, 4000), 7.3, (3500, 4000))))
        there = point[0] * size_px[0], point[1] * size_px[1]
        assert found.source_point(*found.sent_point(*there)) == pytest.approx(there, abs=1e-3)


def _centre_of_ink(image: Image.Image) -> tuple[float, float]:
    ink = ImageChops.invert(image).point(lambda level: level if level > 60 else 0)
    total = x_sum = y_sum = 0.0
    for y in range(ink.height):
        for x, level in enumerate(ink.crop((0, y, ink.width, y + 1)).tobytes()):
            total, x_sum, y_sum = total + level, x_sum + level * (x + 0.5), y_sum + level * (y + 0.5)
    return x_sum / total, y_sum / total


class TestPages:
    @pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "JPEG2000"])
    def test_a_skewed_page_of_each_format_is_deskewed(self, file: Path, image_format: str) -> None:
        _, prep = corrected(put(file, encode(SKEWED, image_format)), options=DESKEW)
        assert prep.corrections is not None
        assert prep.corrections.deskewed_deg == pytest.approx(-4, abs=TOLERANCE_DEG)
        assert prep.corrections.levels is None
        assert (prep.scale, prep.rotation_deg) == (1, 0)

    @pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP"])
    def test_a_page_on_which_nothing_is_to_be_corrected_is_sent_as_it_is(self, file: Path, image_format: str) -> None:
        data = encode(PAGE, image_format)
        payload = prepare(put(file, data), 1, BOTH)
        assert sent_image(payload) == data
        assert payload.prep == Prep(image_format.lower(), *PAGE.size, len(data))

    def test_a_deskewed_page_is_like_the_page_before_it_was_skewed(self, file: Path) -> None:
        image, prep = corrected(put(file, encode(SKEWED, "PNG")), options=DESKEW)
        assert prep.corrections is not None
        left, top = (round(edge) for edge in prep.corrections.sent_point(*_corner_in_skewed()))
        difference = ImageChops.difference(image.crop((left, top, left + PAGE.width, top + PAGE.height)), PAGE)
        assert ImageStat.Stat(difference).mean[0] < 12
        assert ImageStat.Stat(ImageChops.difference(SKEWED.resize(PAGE.size), PAGE)).mean[0] > 18

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
    def test_the_tag_of_a_skewed_page_is_applied_first(self, file: Path, image_format: str, orientation: int) -> None:
        """OCRmyPDF issue 104: a page that its file turns was deskewed in the wrong place."""
        options: dict[str, object] = {"tiffinfo": {ORIENTATION_TAG: orientation}}
        if image_format == "PNG":
            options = {"exif": Image.Exif()}
            options["exif"][ORIENTATION_TAG] = orientation  # type: ignore[index]
        stored = stored_as(SKEWED, orientation)
        image, prep = corrected(put(file, encode(stored, image_format, **options)), options=DESKEW)
        assert prep.corrections is not None
        assert prep.corrections.deskewed_deg == pytest.approx(-4, abs=TOLERANCE_DEG)
        plain, _ = corrected(put(file, encode(SKEWED, "PNG")), options=DESKEW)
        assert image.size == plain.size
        assert ImageStat.Stat(ImageChops.difference(image.convert("L"), plain)).mean[0] < 1
        x, y = prep.corrections.source_point(prep.width_px / 2, prep.height_px / 2)
        assert (x, y) == pytest.approx((stored.width / 2, stored.height / 2), abs=1)

    def test_frames_are_corrected_one_by_one(self, file: Path) -> None:
        frames = PAGE.copy(), SKEWED.copy(), toned(PAGE, 180, 230)  # Pillow keeps what it saved an image as
        put(file, encode(frames[0], "TIFF", save_all=True, append_images=frames[1:]))
        preps = [corrected(file, page)[1].corrections for page in (1, 2, 3)]
        assert preps[0] is None
        assert preps[1] is not None
        assert preps[1].levels is None
        assert preps[2] is not None
        assert (preps[2].deskewed_deg, preps[2].to_source) == (0, (1, 0, 0, 0, 1, 0))

    @pytest.mark.parametrize("image_format", ["PNG", "JPEG", "JPEG2000"])
    def test_a_page_above_the_limits_keeps_its_corners(self, file: Path, image_format: str) -> None:
        """A JPEG and a JPEG 2000 are decoded at half of their size then."""
        options = replace(DESKEW, limits=Limits(max_edge_px=1000))
        large = SKEWED.resize((2 * SKEWED.width, 2 * SKEWED.height), Image.Resampling.BICUBIC)
        image, prep = corrected(put(file, encode(large, image_format)), options=options)
        assert prep.corrections is not None
        assert max(image.size) == 1000
        for corner in ((0, 0), (large.width, 0), (0, large.height), large.size):
            x, y = prep.corrections.sent_point(*corner)
            assert -0.6 <= x <= image.width + 0.6
            assert -0.6 <= y <= image.height + 0.6

    def test_the_corners_beside_a_deskewed_page_have_the_colour_of_its_paper(self, file: Path) -> None:
        image, _ = corrected(put(file, encode(yellowed(SKEWED), "PNG")), options=DESKEW)
        assert image.getpixel((1, 1)) == pytest.approx((228, 208, 165), abs=1)

    def test_a_page_that_would_not_fit_deskewed_stays_skewed(self) -> None:
        strip = Image.new("L", (3900, 500), 255)
        assert find_correction(strip, Source((3900, 500)), DESKEW) == Correction()

    def test_a_page_that_is_encoded_smaller_is_placed_by_what_was_sent(self, file: Path) -> None:
        noisy = ImageChops.add(SKEWED, Image.effect_noise(SKEWED.size, 30), offset=-128)
        options = replace(DESKEW, limits=Limits(max_bytes=120_000))
        image, prep = corrected(put(file, encode(noisy, "PNG")), options=options)
        assert prep.corrections is not None
        assert prep.scale < 1
        centre = prep.corrections.source_point(image.width / 2, image.height / 2)
        assert centre == pytest.approx((SKEWED.width / 2, SKEWED.height / 2), abs=1)

    def test_an_empty_sheet_before_a_grey_background_is_turned_by_its_edge_at_most(self) -> None:
        """galfar/deskew issue 71: turned by 9.5 degrees."""
        assert abs(find_correction(grey_border(), Source(PAGE_PX), DESKEW).deskewed_deg) < 1

    def test_without_orient_the_stored_page_is_corrected(self, file: Path) -> None:
        exif = Image.Exif()
        exif[ORIENTATION_TAG] = 6
        options = replace(DESKEW, orient=False)
        image, prep = corrected(put(file, encode(SKEWED, "PNG", exif=exif)), options=options)
        assert prep.rotation_deg == 0
        assert image.height > image.width
        assert prep.corrections is not None


def _corner_in_skewed() -> tuple[float, float]:
    """Return where the top left corner of `PAGE` is on `SKEWED`."""
    return rotating(PAGE.size, 4, SKEWED.size).map(0, 0)


def _place_of_corner(prep: Prep) -> tuple[float, float]:
    """Return where, in the upright page, the corner of `PAGE` is: it is in the middle of what was sent."""
    left, top = (prep.width_px - PAGE.width) / 2, (prep.height_px - PAGE.height) / 2
    return to_upright(prep, upright_px(prep)).map(left, top)


class TestContrast:
    def test_a_faint_page_gets_its_levels(self, file: Path) -> None:
        image, prep = corrected(put(file, encode(toned(PAGE, 190, 235, noise=2), "PNG")), options=CONTRAST)
        assert prep.corrections is not None
        assert prep.corrections.levels is not None
        black, white = prep.corrections.levels
        assert black == pytest.approx(190, abs=8)
        assert white == pytest.approx(232, abs=6)
        assert image.getextrema() == (0, 255)
        assert prep.corrections.to_source == (1, 0, 0, 0, 1, 0)

    def test_the_levels_of_each_channel_are_recorded(self, file: Path) -> None:
        _, prep = corrected(put(file, encode(yellowed(PAGE), "PNG")), options=CONTRAST)
        assert prep.corrections is not None
        assert prep.corrections.levels is not None
        assert len(prep.corrections.levels) == 4

    def test_levels_are_applied_before_a_page_is_turned(self) -> None:
        """The corners get the colour that the paper has then."""
        correction = Correction(0, 5.0, Levels(100, (200,)))
        made = correct(toned(PAGE, 100, 200), Source(PAGE.size), correction, Limits())
        assert made.image.getpixel((0, 0)) == 255


class TestPdf:
    @pytest.mark.parametrize("rotate", [0, 90, 180, 270])
    @pytest.mark.parametrize("codec", ["jpeg", "flate"])
    def test_a_scan_that_would_be_taken_out_as_it_is_is_deskewed(self, file: Path, codec: str, rotate: int) -> None:
        stored = turned(SKEWED, -rotate)
        width, height = (edge * 72 // 150 for edge in stored.size)
        scan = image(stored.size, stored.tobytes()) if codec == "flate" else jpeg_image(stored)[1]
        more = {"Rotate": b"%d" % rotate, "MediaBox": b"[0 0 %d %d]" % (width, height)}
        put(file, one_page(DRAW % (width, height, 0, 0), scan, more=more))
        _, plain = corrected(file, options=VENDOR)
        assert plain.corrections is None
        _, prep = corrected(file, options=DESKEW)
        assert prep.corrections is not None
        assert prep.corrections.deskewed_deg == pytest.approx(-4, abs=TOLERANCE_DEG)
        assert prep.rotation_deg == rotate
        x, y = prep.corrections.source_point(prep.width_px / 2, prep.height_px / 2)
        assert (x, y) == pytest.approx((stored.width / 2, stored.height / 2), abs=1)
        assert upright_px(prep) == pytest.approx(SKEWED.size, abs=1)
        assert _place_of_corner(prep) == pytest.approx(_corner_in_skewed(), abs=12)

    @pytest.mark.parametrize("rotate", [0, 90, 180, 270])
    def test_a_page_that_is_rendered_has_its_places_in_what_a_viewer_shows(self, file: Path, rotate: int) -> None:
        """Its renderer turns it: a scan beside a stroke of a pen is not taken out."""
        stored = turned(SKEWED, -rotate)
        width, height = (edge * 72 // 150 for edge in stored.size)
        more = {"Rotate": b"%d" % rotate, "MediaBox": b"[0 0 %d %d]" % (width, height)}
        draw = DRAW % (width, height, 0, 0) + b" 2 2 3 3 re f"
        put(file, one_page(draw, jpeg_image(stored)[1], more=more))
        _, prep = corrected(file, options=replace(DESKEW, pdf_dpi=150))
        assert prep.corrections is not None
        assert prep.rotation_deg == rotate
        assert upright_px(prep) == pytest.approx(SKEWED.size, abs=3)
        assert _place_of_corner(prep) == pytest.approx(_corner_in_skewed(), abs=12)

    def test_a_level_scan_is_still_its_own_bytes(self, file: Path) -> None:
        width, height = (edge * 72 // 150 for edge in PAGE.size)
        data, scan = jpeg_image(PAGE)
        put(file, one_page(DRAW % (width, height, 0, 0), scan, more={"MediaBox": b"[0 0 %d %d]" % (width, height)}))
        assert sent_image(prepare(file, 1, BOTH)) == data


def test_apng_and_other_files_of_several_pictures_are_decoded_once(file: Path) -> None:
    """The first picture is sent where it has to be corrected."""
    put(file, encode(SKEWED, "PNG", save_all=True, append_images=[PAGE.resize(SKEWED.size)]))
    payload = prepare(file, 1, DESKEW)
    assert payload.prep is not None
    assert payload.prep.corrections is not None
    assert getattr(decode(payload), "n_frames", 1) == 1


def test_pages_of_one_tiff_may_be_turned_and_skewed(file: Path) -> None:
    buffer = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(buffer, new=True) as writer:
        for orientation in (3, 6):
            stored = stored_as(SKEWED, orientation)
            stored.save(writer, format="TIFF", tiffinfo={ORIENTATION_TAG: orientation})
            writer.newFrame()
    put(file, buffer.getvalue())
    for page, turned_deg in ((1, 180), (2, 90)):
        _, prep = corrected(file, page, DESKEW)
        assert prep.rotation_deg == turned_deg
        assert prep.corrections is not None
        assert prep.corrections.deskewed_deg == pytest.approx(-4, abs=TOLERANCE_DEG)
