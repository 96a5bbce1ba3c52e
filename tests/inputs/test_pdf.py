"""Pages of PDFs: what a viewer shows is sent, as it is stored where that is possible."""

import io
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pypdfium2
import pytest
from PIL import Image, ImageChops

from pipeline.convert.pdf import PdfFile
from pipeline.convert.resources import private_bytes
from pipeline.errors import EncryptedFileError, PageError, TruncatedImageError, UnsupportedImageError
from pipeline.inputs.conversion import Converter
from pipeline.inputs.conversion_messages import Convert, Converted, NotConverted, PrepareSettings
from pipeline.inputs.image import ImageFile, open_converter
from pipeline.inputs.pdf_scan import Matrix
from pipeline.records import Prep
from tests.inputs.images import VENDOR, check, encode, noise, place_of, prepare, prepare_next, put, sent_image
from tests.inputs.odd_pdfs import FULL, ODD_PDFS, SIZE_PX, OddPdf, card, encrypted, flate_image, jpeg_image, one_page
from tests.inputs.pdfs import DRAW, Pdf, image

MEAN, BLOCK = 10, 30
"""Levels of 255 by which a page may differ from a viewer's, on average and on average of 6×6 px, at 96 px."""


def convert(path: Path, page: int = 1, settings: PrepareSettings = VENDOR) -> Converted:
    """Return the page as a worker would."""
    result = Converter().run(task_for(path, page, settings))
    assert isinstance(result, Converted), result
    return result


def task_for(path: Path, page: int = 1, settings: PrepareSettings = VENDOR) -> Convert:
    return Convert(place_of(path), page, settings)


def shown_by_a_viewer(data: bytes, size_px: tuple[int, int], page: int = 1) -> Image.Image:
    """Return PDFium's own rendering of a page, with forms and annotations."""
    with pypdfium2.PdfDocument(data) as document:
        document.init_forms()
        opened = document[page - 1]
        scale = max(size_px) / max(opened.get_size())
        rendered: Image.Image = opened.render(scale=scale).to_pil()
        return rendered.convert("RGB").resize(size_px)


def distance(one: Image.Image, other: Image.Image) -> tuple[float, float]:
    """Return how much two images of one size differ at 96 px: in the mean, and in the worst block of 6×6 px."""
    scale = 96 / max(one.size)
    small_px = (max(1, round(one.width * scale)), max(1, round(one.height * scale)))
    pair = [each.convert("RGB").resize(small_px, Image.Resampling.BOX) for each in (one, other)]
    bands = ImageChops.difference(*pair).split()
    blocks = [band.reduce(6).getextrema()[1] for band in bands]
    means = [sum(band.tobytes()) / len(band.tobytes()) for band in bands]
    return max(means), max(int(block) for block in blocks)  # type: ignore[arg-type]


def pdf_of(pages: int) -> bytes:
    """Return a PDF whose pages are scans in a grey level of their own number."""
    pdf = Pdf()
    for number in range(1, pages + 1):
        pdf.add_page(
            DRAW % (72, 72, 0, 0), images=[image((120, 120), bytes([number % 256]) * 14400)], box=(0, 0, 72, 72)
        )
    return pdf.to_bytes()


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in ODD_PDFS.items()])
class TestOddPdfs:
    def test_a_page_is_sent_as_a_viewer_shows_it(self, file: Path, make: Callable[[], OddPdf]) -> None:
        odd = make()
        sent = convert(put(file, odd.data)).image
        assert sent is not None
        page = Image.open(io.BytesIO(sent))
        mean, block = distance(page, shown_by_a_viewer(odd.data, page.size))
        assert (mean <= MEAN, block <= BLOCK) == (True, True), (mean, block)

    def test_only_a_page_that_is_one_scan_is_taken_out(self, file: Path, make: Callable[[], OddPdf]) -> None:
        odd = make()
        converted = convert(put(file, odd.data))
        assert converted.image is not None
        page = Image.open(io.BytesIO(converted.image))
        if odd.how == "stored":
            assert converted.image == odd.original
        elif isinstance(odd.original, Image.Image):
            difference = ImageChops.difference(page.convert("RGB"), odd.original.convert("RGB"))
            assert (converted.prep.format, page.size) == ("png", odd.original.size)
            assert max(highest for _, highest in difference.getextrema()) <= 1  # type: ignore[misc]
        else:
            assert (page.size == SIZE_PX) == (odd.how == "pixels")


def test_there_are_as_many_odd_pdfs_as_promised() -> None:
    assert len(ODD_PDFS) >= 28


@pytest.mark.parametrize("name", ["jpeg-inverted-by-decode", "soft-mask", "clipped", "stencil-in-colour"])
def test_without_the_comparison_a_wrong_image_would_be_sent(
    file: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Negative control."""
    monkeypatch.setattr("pipeline.inputs.pdf_scan.are_alike", lambda *_: True)
    odd = ODD_PDFS[name]()
    sent = convert(put(file, odd.data)).image
    assert sent is not None
    page = Image.open(io.BytesIO(sent))
    mean, block = distance(page, shown_by_a_viewer(odd.data, page.size))
    assert mean >= 25
    assert block >= 90


class TestRendering:
    def test_the_resolution_is_a_setting(self, file: Path) -> None:
        put(file, ODD_PDFS["text-only"]().data)
        assert convert(file).prep == replace(convert(file).prep, width_px=2479, height_px=3508, scale=1.0)
        coarse = convert(file, settings=replace(VENDOR, pdf_dpi=100)).prep
        assert (coarse.width_px, coarse.height_px) == (826, 1169)

    def test_a_page_of_200_inches_is_rendered_at_the_size_that_is_sent(self, file: Path) -> None:
        prep = convert(put(file, ODD_PDFS["page-of-200-inches"]().data)).prep
        assert (prep.width_px, prep.height_px, prep.scale) == (4000, 4000, 0.066667)

    def test_black_and_white_is_sent_without_colour(self, file: Path) -> None:
        sent = convert(put(file, ODD_PDFS["text-only"]().data)).image
        assert Image.open(io.BytesIO(sent or b"")).mode in {"L", "1"}

    @pytest.mark.parametrize("degrees", [0, 90, 180, 270])
    def test_the_rotation_is_recorded(self, file: Path, degrees: int) -> None:
        assert convert(put(file, ODD_PDFS[f"rotate-{degrees}"]().data)).prep.rotation_deg == degrees

    def test_a_scan_above_the_limits_is_made_to_fit(self, file: Path) -> None:
        stored = flate_image(card("L", (4200, 5940)))
        prep = convert(put(file, one_page(FULL, stored))).prep
        assert prep == Prep(prep.format, 2828, 4000, prep.bytes, round(4000 / 5940, 6))

    def test_a_scan_of_too_many_pixels_is_rendered(self, file: Path) -> None:
        path = put(file, one_page(FULL, flate_image(card("L"))))
        assert convert(path, settings=replace(VENDOR, max_pixels=595 * 842)).prep.width_px == 595
        assert convert(path, settings=replace(VENDOR, max_pixels=595 * 842 - 1)).prep.width_px == 2479

    def test_a_damaged_jpeg_is_rendered_as_far_as_a_viewer_shows_it(self, file: Path) -> None:
        data, _ = jpeg_image(card())
        cut = image(SIZE_PX, data[: len(data) // 2], colours=b"/DeviceRGB", codec="DCTDecode")
        path = put(file, one_page(FULL, cut))
        assert isinstance(convert(path).image, bytes)


class TestFailures:
    def test_a_password_that_is_needed_is_named(self, file: Path) -> None:
        with pytest.raises(EncryptedFileError, match=r"^encrypted: the PDF needs a password; save it without one$"):
            prepare(put(file, encrypted(b"secret")), 1, VENDOR)

    def test_a_file_without_objects_is_damaged(self, file: Path) -> None:
        with pytest.raises(TruncatedImageError, match=r"^damaged: PDFium cannot open the PDF$"):
            prepare(put(file, b"%PDF-1.7\n" + bytes(100)), 1, VENDOR)

    def test_a_pdf_without_pages_is_damaged(self, file: Path) -> None:
        with pytest.raises(TruncatedImageError, match=r"^damaged: "):
            prepare(put(file, Pdf().to_bytes()), 1, VENDOR)

    @pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
    def test_a_cut_off_file_fails_or_shows_what_is_left(self, file: Path, share: float) -> None:
        data = pdf_of(20)
        path = put(file, data[: int(share * len(data))])
        result = Converter().run(task_for(path))
        assert isinstance(result, Converted) or result.error == "truncated"  # type: ignore[union-attr]

    @pytest.mark.parametrize("codec", ["Odd", "DCT\xe9"])
    def test_an_image_that_cannot_be_decoded_costs_no_call(self, file: Path, codec: str) -> None:
        """A viewer shows an empty page."""
        held = image(SIZE_PX, b"?" * 99, codec="Odd").replace(b"/Odd", b"/" + codec.encode("latin-1"))
        with pytest.raises(TruncatedImageError, match=r"^damaged: the image that the page consists of"):
            prepare(put(file, one_page(FULL, held)), 1, VENDOR)

    def test_a_damaged_page_costs_that_page(self, file: Path) -> None:
        data = pdf_of(3)
        second = data.index(b"/Type /Page /Parent", data.index(b"/Type /Page /Parent") + 1)
        put(file, data[:second] + b"/Type /Frog/Parent" + data[second + 18 :])
        opened, converter = ImageFile(file, VENDOR), Converter()
        ended: list[object] = []
        for page in (1, 2, 3):
            try:
                ended.append(prepare_next(opened, page, converter).pages)
            except PageError as exc:
                ended.append(exc.name)
        assert ended in ([3, "truncated", 3], [3, 3, 3])  # a reader may take it for a page by its place

    def test_without_the_extra_the_failure_names_it(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "pypdfium2", None)
        with pytest.raises(UnsupportedImageError, match=r"pip install 'pagemill\[pdf\]', then .* pagemill retry"):
            prepare(put(file, pdf_of(1)), 1, VENDOR)


class TestPages:
    def test_the_pages_are_those_of_the_file(self, file: Path) -> None:
        opened, converter = ImageFile(put(file, pdf_of(5)), VENDOR), Converter()
        payloads = [prepare_next(opened, page, converter) for page in range(1, 6)]
        assert [check(payload).getpixel((50, 50)) for payload in payloads] == [1, 2, 3, 4, 5]
        assert {payload.pages for payload in payloads} == {5}

    def test_a_page_is_sent_before_the_others_are_read(self, file: Path) -> None:
        data = pdf_of(2000)
        first_end = data.index(b"/Type /Page /Parent") + 500
        tail = data.index(b"xref\n0 ")
        broken = data[:first_end] + b"@" * (tail - first_end) + data[tail:]
        assert convert(put(file, broken)).pages == 2000

    def test_memory_does_not_grow_with_the_pages(self, file: Path) -> None:
        """Each page has 0.5 MB in the file; PDFium keeps what it has read as long as the file is open."""
        pdf, samples = Pdf(), noise((400, 400)).tobytes()
        for number in range(160):
            pdf.add_page(FULL, images=[image((400, 400), bytes([number]) + samples[1:], colours=b"/DeviceRGB")])
        put(file, pdf.to_bytes())
        converter, task = Converter(), task_for(file)
        held: list[int] = []
        for page in range(1, 161):
            assert isinstance(converter.run(Convert(task.place, page, VENDOR)), Converted)
            held.append(private_bytes(os.getpid()))
        assert max(held) - held[32] < 25_000_000

    async def test_pages_are_rendered_in_a_worker(self, file: Path) -> None:
        put(file, pdf_of(3))
        async with open_converter(VENDOR) as pool:
            with ThreadPoolExecutor(1) as threads:
                opened = ImageFile(file, VENDOR)
                payloads = [await opened.prepare(page, pool, threads) for page in (1, 2, 3)]
            assert len(pool.worker_pids) == 1
        assert [check(payload).getpixel((50, 50)) for payload in payloads] == [1, 2, 3]

    @pytest.mark.parametrize(("colour", "mode"), [(b"0.4 0.4 0.4", "L"), (b"0.4 0.4 0.5", "RGB")])
    def test_a_page_without_colour_is_rendered_in_grey(self, file: Path, colour: bytes, mode: str) -> None:
        """Also a faint and short line of colour shows, however large the page is."""
        pdf = Pdf()
        pdf.add_page(b"%b RG 1 w 100 400 m 104 400 l S BT /F0 12 Tf 50 700 Td (type) Tj ET" % colour)
        with PdfFile(pdf.to_bytes()).open(1) as page:
            image = page.render((2479, 3508))
        assert image.mode == mode
        assert distance(image, shown_by_a_viewer(pdf.to_bytes(), image.size)) < (MEAN, BLOCK)

    def test_a_jpeg_of_a_scan_is_the_file_that_is_sent(self, file: Path) -> None:
        odd = ODD_PDFS["jpeg-in-colour"]()
        assert sent_image(prepare(put(file, odd.data), 1, VENDOR)) == odd.original


class TestMatrix:
    BOX = (100.0, 200.0, 700.0, 1000.0)

    @pytest.mark.parametrize(
        ("matrix", "expected"),
        [
            pytest.param(Matrix(600, 0, 0, 800, 100, 200), True, id="covers"),
            pytest.param(Matrix(605, 0, 0, 807, 96, 195), True, id="within-the-tolerance"),
            pytest.param(Matrix(620, 0, 0, 800, 90, 200), False, id="larger"),
            pytest.param(Matrix(590, 0, 0, 800, 100, 200), False, id="smaller"),
            pytest.param(Matrix(600, 0, 0, 800, 110, 200), False, id="moved"),
            pytest.param(Matrix(-600, 0, 0, 800, 700, 200), False, id="mirrored"),
            pytest.param(Matrix(0, 800, -600, 0, 700, 200), False, id="turned"),
            pytest.param(Matrix(600, 20, 0, 800, 100, 200), False, id="skewed"),
        ],
    )
    def test_an_image_covers_its_page(self, matrix: Matrix, expected: bool) -> None:  # noqa: FBT001
        assert matrix.covers(self.BOX) is expected

    def test_a_box_without_size_is_not_covered(self) -> None:
        assert not Matrix(1, 0, 0, 1, 0, 0).covers((0.0, 0.0, 0.0, 0.0))

    def test_matrices_are_applied_one_after_the_other(self) -> None:
        assert Matrix(2, 0, 0, 3, 1, 1).then(Matrix(10, 0, 0, 10, 5, 6)) == Matrix(20, 0, 0, 30, 15, 16)


def test_a_jpeg_that_mentions_a_pdf_is_a_jpeg(file: Path) -> None:
    data = encode(card("L"), "JPEG", comment=b"%PDF-1.7")
    payload = prepare(put(file, data), 1, VENDOR)
    assert sent_image(payload) == data
    result = Converter().run(task_for(file))
    assert not isinstance(result, NotConverted)
