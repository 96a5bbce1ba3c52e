"""Conversion of pages: whatever a decoder does with a page is the failure of that page."""

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.errors import (
    ConversionError,
    DecompressionBombError,
    PageError,
    TruncatedImageError,
    UnfittableImageError,
    UnsupportedImageError,
)
from pipeline.inputs import page_conversion
from pipeline.inputs.content import Place
from pipeline.inputs.conversion import Converter
from pipeline.inputs.conversion_messages import Convert, NotConverted
from pipeline.inputs.image import ImageFile
from pipeline.inputs.page_conversion import convert_page
from pipeline.inputs.page_images import PageImages
from pipeline.records import Payload
from pipeline.storage.files import Stamp
from tests.inputs.images import VENDOR, check, encode, marked, noise, prepare, prepare_next, put, sent_image
from tests.pixels.tiffs import DEFLATE, MIN_IS_WHITE, grey_pages, tiff, tiff_page
from tests.server.bombs import jpeg_of_scans

CASES = Path(__file__).parents[1] / "cases"


def case(name: str) -> bytes:
    """Return a file of tests/cases."""
    data = (CASES / name).read_bytes()
    return gzip.decompress(data) if name.endswith(".gz") else data


def outcomes(file: Path) -> list[Payload | PageError]:
    """Return what becomes of each page of a file."""
    image, converter, ended = ImageFile(file, VENDOR), Converter(), list[Payload | PageError]()
    while len(ended) < image.pages:
        try:
            ended.append(prepare_next(image, len(ended) + 1, converter))
        except PageError as exc:
            ended.append(exc)
    return ended


class TestCases:
    """Files that ended a run, or were called damaged, or were sent wrong."""

    @pytest.mark.filterwarnings("ignore::UserWarning")
    def test_a_later_page_without_its_colour_map_fails_alone(self, file: Path) -> None:
        *good, bad = outcomes(put(file, case("crash-1-tif/x.tif")))
        assert [type(outcome) for outcome in good] == [Payload, Payload]
        assert isinstance(bad, TruncatedImageError)
        assert str(bad) == "damaged: KeyError 320"

    def test_a_gif_frame_without_its_palette_is_damaged(self, file: Path) -> None:
        """Its screen is 300×58,568 px, so that each of the other frames needs twelve calls."""
        ended = outcomes(put(file, case("crash-5-gif/x.gif")))
        assert [(type(outcome), str(outcome)) for outcome in ended[1:2]] == [
            (TruncatedImageError, "damaged: AssertionError")
        ]
        assert [isinstance(outcome, Payload) and len(outcome.tiles) for outcome in (ended[0], *ended[2:])] == [12] * 3

    def test_an_unsupported_compression_is_named_and_fails_alone(self, file: Path) -> None:
        *good, bad = outcomes(put(file, case("tiff-unknown-compression-page3/x.tif")))
        assert [type(outcome) for outcome in good] == [Payload, Payload]
        assert isinstance(bad, UnsupportedImageError)
        assert str(bad) == "unsupported compression (JPEG 2000 in TIFF)"

    @pytest.mark.parametrize(
        "name",
        ["jpeg-without-eoi/fails.jpg", "jpeg-without-eoi/passes.jpg", "png-large-text-or-icc/icc.png",
         "png-large-text-or-icc/ztxt.png"],
    )  # fmt: skip
    def test_a_good_file_is_sent_unchanged(self, file: Path, name: str) -> None:
        assert sent_image(prepare(put(file, case(name)), 1, VENDOR)) == case(name)

    @pytest.mark.parametrize("name", ["tiff-12bit-in-16/x.tif.gz", "tiff-float-nan/x.tif.gz"])
    def test_a_page_of_unusual_depth_is_black_on_white(self, file: Path, name: str) -> None:
        page = check(prepare(put(file, case(name)), 1, VENDOR))
        levels = page.convert("L")
        assert sum(levels.histogram()[250:]) > 0.9 * page.width * page.height
        assert levels.getextrema()[0] == 0


class TestBorder:
    """Nothing that a decoder raises passes the border."""

    @pytest.mark.parametrize(
        ("error", "expected"),
        [
            pytest.param(KeyError(320), ("truncated", "damaged: KeyError 320"), id="key"),
            pytest.param(OverflowError("too large"), ("truncated", "damaged: OverflowError too large"), id="overflow"),
            pytest.param(AssertionError(), ("truncated", "damaged: AssertionError"), id="assertion"),
            pytest.param(RecursionError("deep"), ("truncated", "damaged: RecursionError deep"), id="recursion"),
            pytest.param(ZeroDivisionError("x"), ("truncated", "damaged: ZeroDivisionError x"), id="division"),
            pytest.param(OSError("broken"), ("truncated", "damaged or cut off: broken"), id="os-error"),
            pytest.param(
                SyntaxError(KeyError(259)), ("truncated", "damaged: KeyError 259"), id="what-pillow-wraps-in-a-header"
            ),
            pytest.param(MemoryError(), ("conversion-failed", "ran out of memory while it was decoded"), id="memory"),
            pytest.param(
                OSError("decoder error -9"),
                ("conversion-failed", "ran out of memory while it was decoded"),
                id="memory-of-a-decoder",
            ),
        ],
    )
    def test_an_exception_is_the_page_s_failure(
        self, file: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, expected: tuple[str, str]
    ) -> None:
        put(file, encode(marked(), "BMP"))
        converter, task = Converter(), ImageFile(file, VENDOR).read(1)
        assert not isinstance(task, Payload)

        def fail(_: Callable[[], Image.Image]) -> Image.Image:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(page_conversion, "decode", fail)
            failed = converter.run(task)
        assert isinstance(failed, NotConverted)
        assert (failed.error, failed.message, failed.pages) == (*expected, 1)
        assert not isinstance(converter.run(task), NotConverted)

    @pytest.mark.filterwarnings("ignore::UserWarning")
    def test_without_the_border_a_decoder_s_exception_escapes(self) -> None:
        """Negative control."""
        task = Convert(Place(b"", Stamp(0, 0, 0)), 3, VENDOR)
        with pytest.raises(SyntaxError, match="320"):
            convert_page(PageImages(case("crash-1-tif/x.tif")), task)

    def test_one_damaged_page_of_200_costs_one_page(self, file: Path) -> None:
        pages = grey_pages(200)
        pages[99] = tiff_page(b"\0" * 50, 120, bits=8, compression=DEFLATE)
        pages[99]["strips"] = [b"no deflate"]
        pages[99]["tags"][257] = [120]
        ended = outcomes(put(file, tiff(*pages)))
        assert [number for number, outcome in enumerate(ended, 1) if not isinstance(outcome, Payload)] == [100]
        levels = [check(outcome).getpixel((5, 5)) for outcome in ended if isinstance(outcome, Payload)]
        assert levels == [level for level in range(1, 201) if level != 100]

    def test_pages_after_a_damaged_directory_are_read(self, file: Path) -> None:
        """Pillow reads every directory before a page's; each is read alone here."""
        data = bytearray(tiff(*grey_pages(3)))
        entry = bytes.fromhex("0201 0400 01000000 08000000")  # 258: one LONG, 8
        first, second = data.index(entry), data.index(entry, data.index(entry) + 1)
        assert first < second
        data[second + 2 : second + 8] = b"\x05\0\xff\xff\xff\x7f"  # 2³¹ rationals
        types = [type(outcome) for outcome in outcomes(put(file, bytes(data)))]
        assert (types[0], types[2]) == (Payload, Payload)

    @pytest.mark.parametrize(
        ("page", "message"),
        [
            pytest.param(
                tiff_page([0.5] * 14400, 120, bits=64, sample_format=3),
                "unsupported samples (1 × 64 floating-point bits, photometric 1, in TIFF)",
                id="double-floats",
            ),
            pytest.param(
                tiff_page(bytes(14400 * 5), 120, bits=8, channels=5),
                "unsupported samples (5 × 8 bits, photometric 1, in TIFF)",
                id="five-channels",
            ),
            pytest.param(
                tiff_page(bytes(14400), 120, bits=8, compression=50001),
                "unsupported compression (WebP in TIFF)",
                id="codec-that-libtiff-lacks",
            ),
            pytest.param(
                tiff_page(bytes(14400), 120, bits=8, compression=34887),
                "unsupported compression (LERC in TIFF)",
                id="codec-that-pillow-lacks",
            ),
        ],
    )
    def test_what_no_decoder_reads_is_unsupported(self, file: Path, page: dict[str, Any], message: str) -> None:
        first, unsupported, last = outcomes(put(file, tiff(*grey_pages(1), page, *grey_pages(1))))
        assert isinstance(unsupported, UnsupportedImageError)
        assert str(unsupported) == message
        assert isinstance(first, Payload)
        assert isinstance(last, Payload)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            pytest.param(lambda bmp: bmp[:30] + b"\x04" + bmp[31:], "compression (JPEG in BMP)", id="jpeg-in-bmp"),
            pytest.param(
                lambda bmp: bmp[:28] + b"\x40" + bmp[29:], "samples (64 bits per pixel in BMP)", id="64-bit-bmp"
            ),
        ],
    )
    def test_an_unsupported_bmp_is_named(self, file: Path, change: Callable[[bytes], bytes], message: str) -> None:
        with pytest.raises(UnsupportedImageError) as caught:
            prepare(put(file, change(encode(marked(), "BMP"))), 1, VENDOR)
        assert str(caught.value) == f"unsupported {message}"

    def test_an_unsupported_jpeg_is_named(self, file: Path) -> None:
        data = bytearray(encode(marked(), "JPEG"))
        data[data.index(b"\xff\xc0") + 4] = 12
        with pytest.raises(UnsupportedImageError, match=r"unsupported variant \(JPEG of 12 bits per sample\)"):
            prepare(put(file, bytes(data)), 1, VENDOR)

    def test_a_jpeg_of_very_many_scans_is_not_decoded(self, file: Path) -> None:
        """At 700 kB it took 40 s."""
        data = jpeg_of_scans(4008, 4000, 17_000)
        with pytest.raises(ConversionError, match="17000 scans; a JPEG of more than 100 takes too long to decode"):
            prepare(put(file, data), 1, VENDOR)

    def test_the_largest_number_of_pixels_is_a_setting(self, file: Path) -> None:
        put(file, encode(marked((300, 200)), "BMP"))
        with pytest.raises(DecompressionBombError, match=r"300×200 px is more than 0\.05 million pixels"):
            prepare(file, 1, replace(VENDOR, max_pixels=50_000))
        check(prepare(file, 1, replace(VENDOR, max_pixels=60_000)))

    def test_min_is_white_is_inverted_on_the_way(self, file: Path) -> None:
        samples = [0] * 7200 + [4095] * 7200
        page = check(prepare(put(file, tiff(tiff_page(samples, 120, photometric=MIN_IS_WHITE))), 1, VENDOR))
        assert [page.getpixel((5, 5)), page.getpixel((5, 115))] == [255, 0]

    def test_a_page_shrunk_by_the_byte_limit_below_500_px_is_unfittable(self, file: Path) -> None:
        settings = replace(VENDOR, limits=replace(VENDOR.limits, max_bytes=20_000))
        with pytest.raises(UnfittableImageError, match="too small to be read; cut the image into pages"):
            prepare(put(file, encode(noise((800, 700)), "JPEG", quality=95)), 1, settings)
