"""Pages of PDFs, rendered in a process of their own."""

import io
import sys
from collections.abc import Callable

import pytest
from PIL import Image, ImageStat

from pipeline.convert.pdf import PdfFile
from pipeline.convert.pool import PoolOptions
from pipeline.errors import ConversionError, ConverterStartError
from pipeline.server.workers.pdf_renderer import PdfProcess
from pipeline.server.workers.pdf_worker import LIMITS, choose_size, render_page
from tests.inputs.odd_pdfs import encrypted
from tests.inputs.pdfs import DRAW, Pdf, image
from tests.server.pdfs import pdf_of

HANGS = """
import sys, time
from pipeline.convert.frames import Ready, encode_frame
sys.stdout.buffer.write(encode_frame(Ready()))
sys.stdout.flush()
time.sleep(600)
"""


def grey_of(page: bytes) -> float:
    """Return the level of the middle of a page."""
    picture = Image.open(io.BytesIO(page))
    assert picture.format == "JPEG"
    return ImageStat.Stat(picture.convert("L")).mean[0]


async def test_pages_of_two_documents_are_rendered_each_from_its_own() -> None:
    """The file is sent again where the process has another one open."""
    one, other = pdf_of((72, 72), (72, 144)), pdf_of((144, 144))
    async with PdfProcess() as process:
        assert [await process.count_pages("one", one), await process.count_pages("other", other)] == [2, 1]
        levels = [
            grey_of(await process.render(name, content, page))
            for name, content, page in (("one", one, 2), ("one", one, 1), ("other", other, 1), ("one", one, 2))
        ]
    assert levels == pytest.approx([20, 10, 10, 20], abs=2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(lambda: encrypted(b"secret"), "^the PDF needs a password", id="encrypted"),
        pytest.param(lambda: b"%PDF-1.7\nnothing", "^the PDF is damaged", id="damaged"),
        pytest.param(lambda: b"", "^the PDF is damaged", id="empty"),
        pytest.param(lambda: b"\x89PNG\r\n\x1a\n", "^the PDF is damaged", id="no-pdf"),
    ],
)
async def test_a_document_that_cannot_be_opened_is_reported_in_a_sentence(
    content: Callable[[], bytes], message: str
) -> None:
    async with PdfProcess() as process:
        with pytest.raises(ConversionError, match=message):
            await process.count_pages("one", content())
        assert await process.count_pages("two", pdf_of((72, 72))) == 1


async def test_a_page_that_takes_too_long_fails_and_a_process_that_does_not_start_is_an_error_of_the_server() -> None:
    async with PdfProcess(PoolOptions([sys.executable, "-c", HANGS], 1, 0.1)) as process:
        with pytest.raises(ConversionError, match=r"^page 3 of the PDF cannot be rendered: took longer than 0\.1 s"):
            await process.render("one", b"", 3)
    async with PdfProcess(PoolOptions(["/nonexistent"], 1, 1)) as process:
        with pytest.raises(ConverterStartError):
            await process.count_pages("one", b"")


async def test_a_page_that_shows_nothing_of_its_image_is_not_taken_for_a_blank_one() -> None:
    pdf = Pdf()
    pdf.add_page(DRAW % (72, 72, 0, 0), images=[image((120, 120), b"no JPEG", codec="DCTDecode")], box=(0, 0, 72, 72))
    pdf.add_page(b"", box=(0, 0, 72, 72))
    content = pdf.to_bytes()
    async with PdfProcess() as process:
        with pytest.raises(ConversionError, match=r"^page 1 of the PDF shows nothing"):
            await process.render("one", content, 1)
        assert grey_of(await process.render("one", content, 2)) == 255


@pytest.mark.parametrize(
    ("size_pt", "size_px"),
    [
        pytest.param((595, 842), (2479, 3508), id="A4-at-300-dpi"),
        pytest.param((842, 1191), (2828, 4000), id="A3-scaled-to-the-longest-edge"),
        pytest.param((10, 100), (100, 1000), id="a-narrow-one-enlarged-to-the-least-edge"),
        pytest.param((10, 14400), (3, 4000), id="a-strip-that-fits-at-no-scale"),
    ],
)
def test_a_page_is_rendered_at_300_dpi_where_the_limits_allow(
    size_pt: tuple[int, int], size_px: tuple[int, int]
) -> None:
    assert choose_size(size_pt) == size_px


def test_noise_of_the_largest_size_fits_the_limit_in_bytes() -> None:
    noise = Image.effect_noise((2000, 2000), 100).convert("RGB").tobytes()
    pdf = Pdf()
    pdf.add_page(
        DRAW % (960, 960, 0, 0), images=[image((2000, 2000), noise, colours=b"/DeviceRGB")], box=(0, 0, 960, 960)
    )
    page = render_page(PdfFile(pdf.to_bytes()), 1)
    assert Image.open(io.BytesIO(page)).size == (4000, 4000)
    assert len(page) <= LIMITS.max_bytes
