"""PAGE XML 2019-07-15: a file per page. Source: https://ocr-d.de/en/gt-guidelines/pagexml/pagecontent_xsd_Complex_Type.html."""

from typing import Final

from lxml import etree

from pipeline.batch.placed_pages import Box, PlacedPage
from pipeline.export.base import Count, Exported, ExportJob, Files
from pipeline.export.documents import Document
from pipeline.export.names import page_path
from pipeline.export.placing import PlacedPages, export_by_page
from pipeline.export.xml_text import xml_text
from pipeline.positions import TextLine

NAMESPACE: Final = "http://schema.primaresearch.org/PAGE/gts/pagecontent/2019-07-15"
SUFFIX: Final = ".page.xml"


def write_page_xml(document: Document, pages: PlacedPages) -> Files:
    """Yield a file per page: one region with all its lines, in reading order."""
    for page, record in pages:
        root = _page(page, record.added)
        yield page_path(document, record, SUFFIX), [etree.tostring(root, xml_declaration=True, encoding="UTF-8")]


def _page(page: PlacedPage, added: str) -> etree._Element:
    root = etree.Element(_name("PcGts"), nsmap={None: NAMESPACE})
    metadata = etree.SubElement(root, _name("Metadata"))
    for name, text in (("Creator", "pagemill"), ("Created", added), ("LastChange", added)):
        etree.SubElement(metadata, _name(name)).text = text
    width, height = page.size_px
    attributes = {"imageFilename": xml_text(page.name), "imageWidth": str(width), "imageHeight": str(height)}
    place_ = etree.SubElement(root, _name("Page"), attributes)
    if page.lines or page.unplaced:
        region = etree.SubElement(place_, _name("TextRegion"), id="r1")
        etree.SubElement(region, _name("Coords"), points=_points(_rectangle(page.around())))
        for number, line in enumerate(page.lines, 1):
            _add_line(region, page, line, f"r1l{number}")
        texts = page.unplaced or [line.text for line in page.lines]
        _add_text(region, "\n".join(map(xml_text, texts)), None)
    return root


def _add_line(region: etree._Element, page: PlacedPage, line: TextLine, name: str) -> None:
    element = etree.SubElement(region, _name("TextLine"), id=name)
    etree.SubElement(element, _name("Coords"), points=_points(page.corners(line)))
    _add_text(element, xml_text(line.text), line.confidence)


def _add_text(element: etree._Element, text: str, confidence: float | None) -> None:
    equivalent = etree.SubElement(element, _name("TextEquiv"))
    if confidence is not None:
        equivalent.set("conf", f"{confidence:.4f}")
    etree.SubElement(equivalent, _name("Unicode")).text = text


def _rectangle(box: Box) -> tuple[tuple[int, int], ...]:
    left, top, right, bottom = box
    return (left, top), (right, top), (right, bottom), (left, bottom)


def _points(points: tuple[tuple[int, int], ...]) -> str:
    return " ".join(f"{x},{y}" for x, y in points)


def _name(local: str) -> str:
    return f"{{{NAMESPACE}}}{local}"


def export(job: ExportJob, count: Count) -> Exported:
    """Export; see `export_placed`."""
    return export_by_page(job, "page", write_page_xml, count)
