"""hOCR: a page of XHTML per document, with a box for each line. Source: hOCR 1.2, https://kba.github.io/hocr-spec/1.2/."""

from collections.abc import Iterator
from html import escape

from pipeline.batch.placed_pages import PlacedPage
from pipeline.export.base import Count, Exported, ExportJob, Files
from pipeline.export.documents import Document
from pipeline.export.names import export_path
from pipeline.export.placing import PlacedPages, export_by_page
from pipeline.export.xml_text import xml_text
from pipeline.positions import TextLine

_HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN" "http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml">
<head>
<title>{title}</title>
<meta http-equiv="Content-Type" content="text/html; charset=utf-8"/>
<meta name="ocr-system" content="pagemill"/>
<meta name="ocr-capabilities" content="ocr_page ocr_carea ocr_line ocrp_wconf"/>
</head>
<body>
"""
_TAIL = b"</body>\n</html>\n"


def write_hocr(document: Document, pages: PlacedPages) -> Files:
    """Yield the file of a document."""
    yield export_path(document.name or "pages", ".hocr"), _write(document, pages)


def _write(document: Document, pages: PlacedPages) -> Iterator[bytes]:
    yield _HEAD.format(title=escape(xml_text(document.name))).encode()
    for number, (page, _) in enumerate(pages, 1):
        yield _page(page, number).encode()
    yield _TAIL


def _page(page: PlacedPage, number: int) -> str:
    width, height = page.size_px
    image = xml_text(page.name).replace('"', "%22").replace(";", "%3B")  # they end a name, and a property
    title = escape(f'image "{image}"; bbox 0 0 {width} {height}; ppageno {number - 1}')
    lines = [_line(page, line, f"line_{number}_{at}") for at, line in enumerate(page.lines, 1)]
    content = "".join(lines) if not page.unplaced else _block(page, number)
    return f'<div class="ocr_page" id="page_{number}" title="{title}">\n{content}</div>\n'


def _block(page: PlacedPage, number: int) -> str:
    """Return a text area of the whole page, without lines: nothing says where they are."""
    width, height = page.size_px
    texts = "<br/>\n".join(escape(xml_text(text), quote=False) for text in page.unplaced)
    return f'<div class="ocr_carea" id="block_{number}" title="bbox 0 0 {width} {height}">\n{texts}\n</div>\n'


def _line(page: PlacedPage, line: TextLine, name: str) -> str:
    title = "bbox " + " ".join(map(str, page.box(line)))
    title += "; poly " + " ".join(f"{x} {y}" for x, y in page.corners(line))
    if line.confidence is not None:
        title += f"; x_wconf {round(line.confidence * 100)}"
    return (
        f'<span class="ocr_line" id="{name}" title="{title}">{escape(xml_text(line.text), quote=False)}</span><br/>\n'
    )


def export(job: ExportJob, count: Count) -> Exported:
    """Export; see `export_placed`."""
    return export_by_page(job, "hocr", write_hocr, count)
