"""hOCR, PAGE, ALTO with METS, and PDF, made by a real run, and read back: all lines, in px of the source."""

import hashlib
import subprocess
from dataclasses import replace
from importlib.metadata import distribution
from pathlib import Path

import pypdfium2
import pytest
from aiohttp import web
from lxml import etree
from PIL import Image

from pipeline.batch.placed_pages import place
from pipeline.errors import UsageError
from pipeline.export.base import ExportJob
from pipeline.export.invisible_text import char_width, number
from pipeline.export.selection import Where
from pipeline.pixels.orientation import turn_upright
from pipeline.positions import TextLine, corners_of
from pipeline.records import PageId, Prep
from pipeline.tiles import Tile
from pipeline.workspace.result_lines import encode_record, parse_whole_result
from tests.corrections import correct
from tests.export.workspaces import put_records, run_export, tree
from tests.factories import RECORD, make_record
from tests.fakes import Call, serve_fake
from tests.pages import write_page
from tests.runs import results, run_here

TEXTS = ["第一行 人民法院", "𠮷野家 and 𝄞", "Second line & <more>", "竖排文字"]
BOXES = [
    [20, 20, 320, 20, 320, 50, 20, 50],
    [20, 80, 320, 90, 319, 120, 19, 110],  # skewed
    [20, 140, 380, 140, 380, 165, 20, 165],
    [340, 180, 370, 180, 370, 300, 340, 300],  # downwards
]
SCHEMAS = Path(str(distribution("ocrd").locate_file("ocrd_validators")))
"""Schemas of PAGE and METS."""
FORMATS = ["hocr", "page", "alto", "pdf"]
NAMESPACES = {
    "alto": "http://www.loc.gov/standards/alto/ns-v4#",
    "mets": "http://www.loc.gov/METS/",
    "page": "http://schema.primaresearch.org/PAGE/gts/pagecontent/2019-07-15",
    "html": "http://www.w3.org/1999/xhtml",
}


def answer(_: Call) -> web.Response:
    lines = [{"text": text, "location": box, "confidence": 0.9} for text, box in zip(TEXTS, BOXES, strict=True)]
    reply = {"id": "doc", "content": "\n".join(TEXTS), "timestamp": 1, "ocrResult": {"words_info": lines}}
    return web.json_response(reply)


@pytest.fixture
async def workspace(tmp_path: Path) -> Path:
    """A JPEG that is sent as it is, a PNG of twice the size that fits, and a TIFF of two pages."""
    scans = tmp_path / "scans"
    write_page(scans / "a b.jpg", 1, size_px=(400, 310))
    write_page(scans / "large.png", 2, size_px=(800, 620))
    pages = [Image.new("L", (400, 310), level) for level in (200, 250)]
    pages[0].save(scans / "book.tif", save_all=True, append_images=pages[1:])
    async with serve_fake(answer) as fake:
        await run_here(scans, tmp_path / "out", fake.url, run={"positions": True}, prepare={"max_edge_px": 400})
    return tmp_path / "out"


def parse(path: Path) -> etree._ElementTree:
    return etree.parse(path)


def texts(path: Path, query: str) -> list[str]:
    return [str(found) for found in parse(path).xpath(query, namespaces=NAMESPACES)]


def test_hocr_has_a_page_per_page_and_all_lines(workspace: Path, tmp_path: Path) -> None:
    run_export("hocr", ExportJob(workspace, tmp_path / "hocr"))
    assert sorted(tree(tmp_path / "hocr")) == ["a b.jpg.hocr", "book.tif.hocr", "large.png.hocr"]
    book = tmp_path / "hocr/book.tif.hocr"
    assert texts(book, "//html:span[@class='ocr_line']/text()") == TEXTS * 2
    titles = texts(tmp_path / "hocr/a b.jpg.hocr", "//html:span/@title")
    assert titles[0] == "bbox 20 20 320 50; poly 20 20 320 20 320 50 20 50; x_wconf 90"
    assert titles[1].startswith("bbox 19 80 320 120; ")
    [page] = texts(tmp_path / "hocr/large.png.hocr", "//html:div/@title")
    assert page == 'image "large.png"; bbox 0 0 800 620; ppageno 0'
    assert texts(tmp_path / "hocr/large.png.hocr", "//html:span/@title")[0].startswith("bbox 40 40 640 100;")


def test_page_xml_has_a_file_per_page(workspace: Path, tmp_path: Path) -> None:
    run_export("page", ExportJob(workspace, tmp_path / "page"))
    assert sorted(tree(tmp_path / "page")) == [
        "a b.jpg.page.xml", "book.tif.0001.page.xml", "book.tif.0002.page.xml", "large.png.page.xml",
    ]  # fmt: skip
    large = tmp_path / "page/large.png.page.xml"
    assert texts(large, "//page:TextLine/page:TextEquiv/page:Unicode/text()") == TEXTS
    assert texts(large, "//page:TextLine/page:Coords/@points")[0] == "40,40 640,40 640,100 40,100"
    assert texts(large, "//page:Page/@imageWidth") == ["800"]


def test_alto_has_a_file_per_page_and_mets_names_them(workspace: Path, tmp_path: Path) -> None:
    run_export("alto", ExportJob(workspace, tmp_path / "alto"))
    large = tmp_path / "alto/large.png.alto.xml"
    assert texts(large, "//alto:String/@CONTENT") == TEXTS
    assert texts(large, "//alto:TextLine/@HPOS")[0] == "40"
    assert texts(large, "//alto:TextLine/@WIDTH")[0] == "600"
    mets = tmp_path / "alto/book.tif.mets.xml"
    links = texts(mets, "//mets:fileGrp[@USE='FULLTEXT']//mets:FLocat/@*[local-name()='href']")
    assert links == ["book.tif.0001.alto.xml", "book.tif.0002.alto.xml"]
    assert all((mets.parent / link).exists() for link in links)
    assert texts(mets, "//mets:div[@TYPE='page']/@ORDER") == ["1", "2"]
    ids = set(texts(mets, "//mets:file/@ID"))
    assert set(texts(mets, "//mets:fptr/@FILEID")) == ids


class _Local(etree.Resolver):  # type: ignore[misc]
    """Resolves the one schema that METS imports from the package that holds both."""

    def resolve(self, url: str, _: str, context: object) -> object:
        return self.resolve_filename(str(SCHEMAS / "xlink.xsd"), context) if url.endswith("xlink.xsd") else None


def schema(name: str) -> etree.XMLSchema:
    """Return the schema of PAGE, `page.xsd`, or of METS, `mets.xsd`."""
    parser = etree.XMLParser(no_network=True)
    parser.resolvers.add(_Local())
    return etree.XMLSchema(etree.parse(SCHEMAS / name, parser))


@pytest.mark.parametrize(("form", "kind", "files"), [("page", "page", 4), ("alto", "mets", 3)])
def test_page_and_mets_are_valid(workspace: Path, tmp_path: Path, form: str, kind: str, files: int) -> None:
    xsd = schema(f"{kind}.xsd")
    run_export(form, ExportJob(workspace, tmp_path / form))
    found = list((tmp_path / form).glob(f"*.{kind}.xml"))
    assert len(found) == files
    for path in found:
        xsd.assertValid(parse(path))


def pdftotext(path: Path) -> str:
    return subprocess.run(["pdftotext", str(path), "-"], check=True, capture_output=True, text=True).stdout


def test_pdftotext_and_pdfium_find_the_text(workspace: Path, tmp_path: Path) -> None:
    exported = run_export("pdf", ExportJob(workspace, tmp_path / "pdf"))
    assert (exported.documents, exported.pages, exported.missing) == (3, 4, 0)
    for name, pages in (("a b.jpg", 1), ("book.tif", 2), ("large.png", 1)):
        path = tmp_path / f"pdf/{name}.pdf"
        found = pdftotext(path)
        for text in TEXTS:
            assert "".join(found.split()).count("".join(text.split())) == pages, (name, text)
        with pypdfium2.PdfDocument(path) as pdf:
            assert len(pdf) == pages
            page = pdf[0].get_textpage()
            assert "𠮷野家 and 𝄞" in page.get_text_range()  # PDFium's search knows no character beyond the BMP
            for text in ("人民法院", "野家", "Second line", "竖排文字"):
                assert page.search(text).get_next() is not None, text


def test_the_boxes_of_the_text_are_over_the_lines(workspace: Path, tmp_path: Path) -> None:
    run_export("pdf", ExportJob(workspace, tmp_path / "pdf"))
    with pypdfium2.PdfDocument(tmp_path / "pdf/large.png.pdf") as pdf:
        page = pdf[0]
        assert page.get_size() == pytest.approx((800 * 72 / 300, 620 * 72 / 300), abs=0.01)
        found = page.get_textpage()
        first, count = found.search("Second line & <more>").get_next()
        boxes = [found.get_charbox(at) for at in range(first, first + count)]
    left, right = min(box[0] for box in boxes), max(box[2] for box in boxes)
    assert left * 300 / 72 == pytest.approx(40, abs=3)
    assert right * 300 / 72 == pytest.approx(760, abs=3)
    tops = [620 - box[3] * 300 / 72 for box in boxes]
    assert 275 <= min(tops) <= max(tops) <= 335


def test_a_jpeg_stays_the_file_that_it_is_and_is_shown_as_it_was(workspace: Path, tmp_path: Path) -> None:
    scan = workspace.parent / "scans/a b.jpg"
    run_export("pdf", ExportJob(workspace, tmp_path / "pdf"))
    assert scan.read_bytes() in (tmp_path / "pdf/a b.jpg.pdf").read_bytes()
    with pypdfium2.PdfDocument(tmp_path / "pdf/a b.jpg.pdf") as pdf:
        shown = pdf[0].render(scale=300 / 72).to_pil().convert("L")
    with Image.open(scan) as image:
        assert shown.size == pytest.approx(image.size, abs=1)
        stored = image.convert("L").getpixel((200, 200))
    assert shown.getpixel((200, 200)) == pytest.approx(stored, abs=3)  # and no text is drawn over it


@pytest.mark.parametrize(
    ("orientation", "orient"),
    [*((orientation, True) for orientation in range(2, 9)), (2, False), (3, False), (6, False)],
)
async def test_a_jpeg_is_shown_turned_as_it_was_read(tmp_path: Path, orientation: int, *, orient: bool) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.new("RGB", (400, 310), "white")
    image.paste("black", (0, 0, 60, 30))
    (tmp_path / "scans").mkdir()
    image.save(tmp_path / "scans/a.jpg", exif=exif, quality=95)
    async with serve_fake(answer) as fake:
        prepare = {"orient": orient}
        await run_here(tmp_path / "scans", tmp_path / "out", fake.url, run={"positions": True}, prepare=prepare)
    [record] = results(tmp_path / "out")
    run_export("pdf", ExportJob(tmp_path / "out", tmp_path / "pdf"))
    upright = turn_upright(image, orientation if orient else 1)
    assert record["pixels"] == f"{upright.width}x{upright.height}"
    with pypdfium2.PdfDocument(tmp_path / "pdf/a.jpg.pdf") as pdf:
        shown = pdf[0].render(scale=300 / 72).to_pil().convert("L")
    assert shown.size == pytest.approx(upright.size, abs=1)
    for point in ((5, 5), (upright.width - 9, 5), (5, upright.height - 9), (upright.width - 9, upright.height - 9)):
        assert shown.getpixel(point) == pytest.approx(upright.convert("L").getpixel(point), abs=10)


def test_many_pages_are_joined_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.export import searchable_pdf  # noqa: PLC0415 - its library is slow to import

    monkeypatch.setattr(searchable_pdf, "_PAGES_PER_PART", 2)
    monkeypatch.setattr(searchable_pdf, "_PARTS_AT_ONCE", 3)
    scans = tmp_path / "scans"
    scans.mkdir()
    records = [
        replace(
            make_record("gone.tif", 1, page=page, text=f"page {page}"),
            prep=Prep("png", 400, 300, 1),
            lines=(TextLine(f"page {page}", (20, 20, 110, 20, 110, 50, 20, 50)),),
        )
        for page in range(1, 16)
    ]
    workspace = put_records(tmp_path / "out", records, root=scans)
    exported = run_export("pdf", ExportJob(workspace, tmp_path / "pdf"))
    assert exported.missing == 15
    found = pdftotext(tmp_path / "pdf/gone.tif.pdf").split("\f")
    assert [text.strip() for text in found if text] == [f"page {page}" for page in range(1, 16)]


def test_a_page_is_no_longer_than_viewers_take(tmp_path: Path) -> None:
    """A long screenshot whose file says 100 dpi: 29,000 px are 20,880 pt."""
    (tmp_path / "scans").mkdir()
    Image.new("1", (60, 29_000)).save(tmp_path / "scans/long.png", dpi=(100, 100))
    prep = Prep("png", 60, 29_000, 1, tiles=(Tile(1, 1, (0, 0, 60, 29_000), "begin"),))
    content = hashlib.sha256((tmp_path / "scans/long.png").read_bytes()).hexdigest()
    line = TextLine("at the end", (5, 28_900, 55, 28_900, 55, 28_990, 5, 28_990))
    record = replace(
        RECORD, id=PageId(f"sha256:{content}#1"), sha256=content, source="long.png", prep=prep, lines=(line,)
    )
    workspace = put_records(tmp_path / "out", [record], root=tmp_path / "scans")
    assert run_export("pdf", ExportJob(workspace, tmp_path / "pdf")).missing == 0
    with pypdfium2.PdfDocument(tmp_path / "pdf/long.png.pdf") as pdf:
        assert pdf[0].get_size() == pytest.approx((60 * 14_400 / 29_000, 14_400), abs=0.01)
        assert "at the end" in pdf[0].get_textpage().get_text_range()


@pytest.mark.parametrize("form", FORMATS)
def test_texts_without_positions_are_refused_before_anything_is_written(form: str, tmp_path: Path) -> None:
    placed = replace(make_record("a.png", 1), lines=(TextLine("text 1", (20, 20, 110, 20, 110, 50, 20, 50)),))
    records = [placed, make_record("letters/b.png", 2), replace(make_record("c.png", 3), text_from="text-layer")]
    workspace = put_records(tmp_path / "out", records, root=tmp_path)
    job = ExportJob(workspace, tmp_path / form)
    message = r"^letters/b.png page 1: no positions of the text.*run --positions sends such pages again"
    with pytest.raises(UsageError, match=message):
        run_export(form, job)
    assert not (tmp_path / form).exists()
    run_export(form, replace(job, where=Where.parse(["source=a.png"])))
    before = {path: path.read_bytes() for path in (tmp_path / form).glob("a.png*")}
    with pytest.raises(UsageError, match=message):
        run_export(form, job)
    assert before
    assert {path: path.read_bytes() for path in (tmp_path / form).glob("*.*") if path.name[0] != "."} == before


@pytest.mark.parametrize("form", ["hocr", "page", "alto"])
def test_odd_characters_and_boxes_beyond_the_page_are_written(form: str, tmp_path: Path) -> None:
    lines = (TextLine("a\0b\x1f \ufffe\n c", (-50, -10, 9000, -10, 9000, 20, -50, 20), 1.0),)
    record = replace(RECORD, prep=Prep("png", 400, 300, 1), source='q"u;o\x01te.png', lines=lines)
    workspace = put_records(tmp_path / "out", [record])
    run_export(form, ExportJob(workspace, tmp_path / form))
    [path] = [
        path for path in (tmp_path / form).rglob("*") if path.suffix in {".hocr", ".xml"} and "mets" not in path.name
    ]
    assert "a\ufffdb \ufffd c" in path.read_text("utf-8")
    assert "9000" not in path.read_text("utf-8")
    parse(path)


@pytest.mark.parametrize(
    "box", [(-9, -9, -5, -9, -5, -5, -9, -5), (900, 10, 950, 10, 950, 20, 900, 20), (7, 7, 7, 7, 7, 7, 7, 7)]
)
def test_a_line_without_an_area_on_the_page_has_a_pixel(box: tuple[float, ...]) -> None:
    """Validators of PAGE refuse a polygon that encloses nothing, and coordinates outside the page."""
    record = replace(RECORD, prep=Prep("png", 400, 300, 1), lines=(TextLine("x", corners_of(box)),))
    page = place(parse_whole_result(encode_record(record).rstrip()))
    (left, top), _, (right, bottom), _ = page.corners(page.lines[0])
    assert 0 <= left < right <= 400
    assert 0 <= top < bottom <= 300


def test_a_page_without_text_needs_no_positions() -> None:
    line = parse_whole_result(encode_record(replace(RECORD, text=" \n")).removesuffix(b"\n"))
    assert place(line).lines == ()


def test_numbers_of_a_pdf_have_no_exponent() -> None:
    assert [number(value) for value in (1.0, 0.00001, -12.34567, 100.0)] == ["1", "0", "-12.3457", "100"]
    assert (char_width("中"), char_width("a"), char_width("𠮷")) == (1000, 500, 1000)


def test_a_corrected_page_has_its_words_at_their_places(workspace: Path, tmp_path: Path) -> None:
    """One line is changed, one is joined to the next, and one is added."""
    text = "第一行 人民法庭\n𠮷野家 and 𝄞 Second line & <more>\n竖排文字\nadded"
    correct(workspace, {"source": "large.png", "page": 1, "text": text})
    for form in FORMATS:
        assert run_export(form, ExportJob(workspace, tmp_path / form)).pages == 4
    expected = ["第一行 人民法庭", *TEXTS[1:], "added"]
    assert texts(tmp_path / "hocr/large.png.hocr", "//html:span[@class='ocr_line']/text()") == expected
    large = tmp_path / "alto/large.png.alto.xml"
    assert texts(large, "//alto:String/@CONTENT") == expected
    assert texts(large, "//alto:TextLine/@HPOS")[0] == "40"
    found = "".join(pdftotext(tmp_path / "pdf/large.png.pdf").split())
    assert all("".join(each.split()) in found for each in expected)


def test_texts_without_positions_are_counted(tmp_path: Path) -> None:
    records = [make_record("a.png", 1), make_record("b.png", 2), replace(make_record("c.png", 3), lines=())]
    put_records(tmp_path / "out", records)
    with pytest.raises(UsageError, match=r"^a\.png page 1 and 1 others: no positions"):
        run_export("hocr", ExportJob(tmp_path / "out", tmp_path / "hocr"))
