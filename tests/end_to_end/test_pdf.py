"""Runs over PDFs."""

from concurrent.futures import Executor
from pathlib import Path

import pytest

from pipeline.inputs.image import Converter, ImageFile
from pipeline.records import Payload, State
from tests.fakes import serve_fake
from tests.inputs.odd_pdfs import FULL, card, encrypted, flate_image, one_page
from tests.inputs.pdfs import Pdf
from tests.inputs.test_pdf_text import TEXT, written
from tests.pages import write_page
from tests.runs import failures, results, run_command, run_here


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


class TestPages:
    """`--pages`."""

    @pytest.mark.parametrize(("pages", "expected"), [("1,3-", [1, 3, 4]), ("2-3", [2, 3]), ("9-", [])])
    async def test_these_pages_are_sent_and_no_others(
        self, scans: Path, tmp_path: Path, pages: str, expected: list[int]
    ) -> None:
        """A file of one page is sent whatever is given: as it is, or converted."""
        write_pdf(scans / "book.pdf", 4)
        write_page(scans / "a.png", 1)
        card("L").save(scans / "b.tif")
        async with serve_fake() as fake:
            summary = await run_here(scans, tmp_path / "out", fake.url, input={"pages": pages})
            again = await run_here(scans, tmp_path / "out", fake.url, input={"pages": pages})
            assert len(fake.calls) == len(expected) + 2
        found = [line["page"] for line in results(tmp_path / "out") if line["source"] == "book.pdf"]
        assert sorted(found) == expected
        for each in (summary, again):
            assert (each.exit_code, each.totals[State.DONE], each.totals[State.PENDING]) == (0, len(expected) + 2, 0)

    async def test_a_later_run_without_the_flag_sends_the_others(self, scans: Path, tmp_path: Path) -> None:
        book = write_pdf(scans / "book.pdf", 4)
        async with serve_fake() as fake:
            first = await run_here(book, tmp_path / "out", fake.url, input={"pages": "2"})
            whole = await run_here(book, tmp_path / "out", fake.url)
            assert len(fake.calls) == 4
        assert (first.totals[State.DONE], first.totals[State.PENDING]) == (1, 0)
        assert (whole.exit_code, whole.totals[State.DONE]) == (0, 4)
        assert [line["page"] for line in results(tmp_path / "out")] == [2, 1, 3, 4]

    async def test_a_file_that_cannot_be_read_fails_once(self, scans: Path, tmp_path: Path) -> None:
        (scans / "broken.pdf").write_bytes(b"%PDF-1.7\n")
        async with serve_fake() as fake:
            summary = await run_here(scans, tmp_path / "out", fake.url, input={"pages": "2-"})
        assert (summary.exit_code, len(failures(tmp_path / "out"))) == (3, 1)


async def test_pages_that_are_done_are_not_rendered_again(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that was interrupted at page 1,500 goes on there; only the first page tells that the file is the same."""
    prepared: list[int] = []
    prepare = ImageFile.prepare

    async def count(image: ImageFile, page: int, converter: Converter, threads: Executor) -> Payload:
        prepared.append(page)
        return await prepare(image, page, converter, threads)

    book = write_pdf(scans / "book.pdf", 6)
    async with serve_fake() as fake:
        await run_here(book, tmp_path / "out", fake.url, input={"pages": "1-4"})
        monkeypatch.setattr(ImageFile, "prepare", count)
        summary = await run_here(book, tmp_path / "out", fake.url)
    assert prepared == [1, 5, 6]
    assert (summary.exit_code, summary.totals[State.DONE], summary.settled) == (0, 6, 4)


class TestTextLayer:
    """`--text-layer`."""

    async def test_a_page_with_text_costs_no_call(self, scans: Path, tmp_path: Path) -> None:
        """A copy is its duplicate; the accounts add up; `--again` and the default send it."""
        pdf = Pdf()
        pdf.add_page(written())
        pdf.add_page(FULL, images=[flate_image(card("L"))])
        (scans / "a.pdf").write_bytes(pdf.to_bytes())
        (scans / "b.pdf").write_bytes(pdf.to_bytes())
        out = tmp_path / "out"
        async with serve_fake() as fake:
            summary = await run_here(scans, out, fake.url, prepare={"text_layer": "use"})
            assert (summary.exit_code, len(fake.calls)) == (0, 1)
            again = await run_here(scans, out, fake.url)
            assert (again.exit_code, again.settled, len(fake.calls)) == (0, 4, 1)
        assert (summary.totals[State.DONE], summary.totals[State.DUPLICATE]) == (2, 2)
        first = [line for line in results(out) if line["page"] == 1]
        assert [(line["text"], line["text_from"], line["attempts"]) for line in first] == [(TEXT, "text-layer", [])] * 2
        assert all("text_from" not in line and line["attempts"] for line in results(out) if line["page"] == 2)
        assert (await run_command("verify", out)).returncode == 0

    async def test_it_is_sent_again_when_asked(self, scans: Path, tmp_path: Path) -> None:
        (scans / "a.pdf").write_bytes(one_page(written()))
        out = tmp_path / "out"
        async with serve_fake() as fake:
            await run_here(scans, out, fake.url, prepare={"text_layer": "use"})
            await run_here(scans, out, fake.url, again="*")
            assert len(fake.calls) == 1
        assert ["text_from" in line for line in results(out)] == [True, False]
        assert (await run_command("verify", out)).returncode == 0
