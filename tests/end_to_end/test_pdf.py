"""Runs over PDFs."""

from pathlib import Path

from pipeline.records import State
from tests.fakes import serve_fake
from tests.inputs.odd_pdfs import FULL, card, encrypted, flate_image
from tests.inputs.pdfs import Pdf
from tests.pages import write_page
from tests.runs import failures, results, run_here


def write_pdf(path: Path, pages: int) -> Path:
    """Write a PDF whose pages are different scans."""
    pdf = Pdf()
    for number in range(pages):
        page = card("L")
        page.putpixel((number, 0), 0)
        pdf.add_page(FULL, images=[flate_image(page)])
    path.write_bytes(pdf.to_bytes())
    return path


async def test_each_page_of_a_pdf_is_a_record(scans: Path, tmp_path: Path) -> None:
    write_pdf(scans / "book.pdf", 3)
    write_page(scans / "a.png", 1)
    async with serve_fake() as fake:
        summary = await run_here(scans, tmp_path / "out", fake.url)
        assert (summary.exit_code, summary.totals[State.DONE], len(fake.calls)) == (0, 4, 4)
        again = await run_here(scans, tmp_path / "out", fake.url)
        assert (again.exit_code, again.settled, len(fake.calls)) == (0, 4, 4)
    found = sorted((line["source"], line["page"]) for line in results(tmp_path / "out"))
    assert found == [("a.png", 1), ("book.pdf", 1), ("book.pdf", 2), ("book.pdf", 3)]


async def test_an_encrypted_pdf_fails_alone(scans: Path, tmp_path: Path) -> None:
    (scans / "secret.pdf").write_bytes(encrypted(b"secret"))
    write_pdf(scans / "book.pdf", 1)
    async with serve_fake() as fake:
        summary = await run_here(scans, tmp_path / "out", fake.url)
        assert (summary.exit_code, summary.totals[State.DONE], len(fake.calls)) == (3, 1, 1)
    assert [(line["source"], line["class"]) for line in failures(tmp_path / "out")] == [("secret.pdf", "encrypted")]
