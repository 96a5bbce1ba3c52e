"""hOCR, PAGE, ALTO and PDF of texts whose positions no run can add: one block that covers the page."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio.to_thread
import orjson
import pypdfium2
import pytest
from aiohttp import web
from PIL import Image

from pipeline.batch.placed_pages import place
from pipeline.errors import UsageError
from pipeline.export.base import ExportJob
from pipeline.records import Prep
from pipeline.review import Review
from pipeline.workspace.result_lines import encode_record, parse_whole_result
from tests.corrections import correct
from tests.export.test_positioned import FORMATS, TEXTS, answer, parse, pdftotext, schema, texts
from tests.export.workspaces import put_records, run_export
from tests.factories import RECORD, make_record
from tests.fakes import Call, answer_error, serve_fake
from tests.inputs.odd_pdfs import one_page
from tests.inputs.test_pdf_text import TEXT, written
from tests.pages import write_page
from tests.runs import run_command, run_here

HAND = "Von Hand <gelesen>\n\n人民法院\0"
SHOWN = ["Von Hand <gelesen>", "人民法院\ufffd"]
WITHOUT_CALL: dict[str, Any] = {
    "text_from": "correction", "attempts": (), "prep": None, "review": Review(RECORD.added, ""),
}  # fmt: skip


def refuse_one(call: Call) -> web.Response:
    response = answer_error(400)(call) if call.filename == "failed.jpg" else answer(call)
    assert isinstance(response, web.Response)
    return response


@pytest.fixture
async def workspace(tmp_path: Path) -> Path:
    """A page with positions, one of a text layer, and one that failed and was transcribed; it is stored lying down."""
    scans = tmp_path / "scans"
    write_page(scans / "a.jpg", 1, size_px=(400, 310))
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.new("RGB", (4400, 2000), "white")
    image.paste("black", (0, 0, 600, 300))
    image.save(scans / "failed.jpg", exif=exif)
    (scans / "text.pdf").write_bytes(one_page(written()))
    async with serve_fake(refuse_one) as fake:
        settings = {"text_layer": "use", "max_edge_px": 4000}
        await run_here(scans, tmp_path / "out", fake.url, run={"positions": True}, prepare=settings)
        assert sorted(call.filename for call in fake.calls) == ["a.jpg", "failed.jpg"]
    correction = {"source": "failed.jpg", "page": 1, "text": HAND}
    await anyio.to_thread.run_sync(lambda: correct(tmp_path / "out", correction))
    return tmp_path / "out"


@pytest.mark.parametrize("form", FORMATS)
async def test_they_are_exported_counted_and_named(workspace: Path, tmp_path: Path, form: str) -> None:
    done = await run_command("export", workspace, "--to", form, tmp_path / form, "--json")
    exported = orjson.loads(done.stdout)
    assert (done.returncode, exported["pages"], exported["without_positions"], exported["missing"]) == (0, 3, 2, 0)
    assert b"failed.jpg page 1 and 1 others: no positions of the text, and no run can add them" in done.stderr
    again = await run_command("export", workspace, "--to", form, tmp_path / form)
    assert b"0 files written, 3 unchanged" in again.stderr
    assert b"no positions" not in again.stderr


def test_alto_has_lines_without_a_place(workspace: Path, tmp_path: Path) -> None:
    run_export("alto", ExportJob(workspace, tmp_path / "alto"))
    failed = tmp_path / "alto/failed.jpg.alto.xml"
    assert texts(failed, "//alto:String/@CONTENT") == SHOWN
    assert texts(failed, "//alto:TextBlock/@WIDTH | //alto:TextBlock/@HEIGHT | //alto:Page/@WIDTH") == [
        "2000", "2000", "4400",
    ]  # fmt: skip
    assert texts(failed, "//alto:TextLine/@HPOS | //alto:String/@HPOS") == []
    assert texts(tmp_path / "alto/a.jpg.alto.xml", "//alto:String/@CONTENT") == TEXTS


def test_page_xml_has_a_region_without_lines_and_is_valid(workspace: Path, tmp_path: Path) -> None:
    xsd = schema("page.xsd")
    run_export("page", ExportJob(workspace, tmp_path / "page"))
    for path in (tmp_path / "page").glob("*.xml"):
        xsd.assertValid(parse(path))
    failed = tmp_path / "page/failed.jpg.page.xml"
    assert texts(failed, "//page:TextRegion/page:TextEquiv/page:Unicode/text()") == ["\n".join(SHOWN)]
    assert texts(failed, "//page:TextRegion/page:Coords/@points") == ["0,0 2000,0 2000,4400 0,4400"]
    assert texts(failed, "//page:TextLine") == []


def test_hocr_has_a_text_area_without_lines(workspace: Path, tmp_path: Path) -> None:
    run_export("hocr", ExportJob(workspace, tmp_path / "hocr"))
    failed = tmp_path / "hocr/failed.jpg.hocr"
    assert texts(failed, "//html:div[@class='ocr_carea']/@title") == ["bbox 0 0 2000 4400"]
    found = texts(failed, "//html:div[@class='ocr_carea']//text()")
    assert [text.strip() for text in found] == SHOWN


def test_pdf_has_the_text_over_the_upright_page(workspace: Path, tmp_path: Path) -> None:
    run_export("pdf", ExportJob(workspace, tmp_path / "pdf"))
    assert "Von Hand <gelesen>" in pdftotext(tmp_path / "pdf/failed.jpg.pdf")
    assert "".join(TEXT.split()) in "".join(pdftotext(tmp_path / "pdf/text.pdf.pdf").split())
    with pypdfium2.PdfDocument(tmp_path / "pdf/failed.jpg.pdf") as pdf:
        assert pdf[0].get_size() == pytest.approx((2000 * 72 / 300, 4400 * 72 / 300), abs=0.01)
        shown = pdf[0].render(scale=0.25).to_pil().convert("L")
    assert [shown.getpixel(point) for point in ((3, 3), (117, 3))] == [255, 0]  # turned clockwise


@pytest.mark.parametrize("form", ["hocr", "page", "alto"])
@pytest.mark.parametrize("root", ["there", "gone"])
def test_a_page_whose_image_is_gone_has_the_size_of_a_sheet_and_is_written_again(
    form: str, root: str, tmp_path: Path
) -> None:
    scans = tmp_path / "scans"
    workspace = put_records(tmp_path / "out", [replace(make_record("a.png", 1), **WITHOUT_CALL)], root=scans)
    if root == "there":
        scans.mkdir()
    job = ExportJob(workspace, tmp_path / form)
    for _ in range(2):
        exported = run_export(form, job)
        assert (exported.pages, exported.missing, exported.unchanged) == (1, 1, 0)
    [path] = [
        path for path in (tmp_path / form).iterdir() if path.suffix in {".hocr", ".xml"} and ".mets" not in path.name
    ]
    assert "2480" in path.read_text("utf-8")


@pytest.mark.parametrize(
    ("changes", "is_placed"),
    [
        pytest.param({}, False, id="recognised"),
        pytest.param({"text_from": "text-layer", "attempts": ()}, True, id="text-layer"),
        pytest.param({"lines": ()}, True, id="the-service-returned-none"),
        pytest.param(WITHOUT_CALL, True, id="a-page-that-had-failed"),
    ],
)
def test_only_a_text_whose_positions_no_run_can_add_is_placed_as_a_block(
    changes: dict[str, Any],
    is_placed: bool,  # noqa: FBT001
) -> None:
    record = replace(RECORD, text="one\n\ntwo", **{"prep": Prep("png", 40, 30, 1, scale=0.5), **changes})
    line = parse_whole_result(encode_record(record).rstrip())
    if not is_placed:
        with pytest.raises(UsageError, match="run --positions sends such pages again"):
            place(line)
        return
    page = place(line, (800, 600))
    assert (page.lines, page.unplaced) == ((), ("one", "two"))
    assert page.size_px == ((800, 600) if record.prep is None else (80, 60))
