"""ALTO 4.4, a file per page, and a METS file per document. Source: https://www.loc.gov/standards/alto/ and /mets/."""

import posixpath
from typing import Final
from urllib.parse import quote

from lxml import etree

from pipeline.batch.placed_pages import Box, PlacedPage
from pipeline.export.base import Count, Exported, ExportJob, Files
from pipeline.export.documents import Document
from pipeline.export.names import export_path, page_path
from pipeline.export.placing import PlacedPages, export_by_page
from pipeline.export.xml_text import xml_text
from pipeline.positions import TextLine

NAMESPACE: Final = "http://www.loc.gov/standards/alto/ns-v4#"
METS: Final = "http://www.loc.gov/METS/"
XLINK: Final = "http://www.w3.org/1999/xlink"
SUFFIX: Final = ".alto.xml"


def write_alto(document: Document, pages: PlacedPages) -> Files:
    """Yield a file per page: one block with all its lines, each with one string; then the document's METS file."""
    written: list[tuple[str, str]] = []
    for number, (page, record) in enumerate(pages, 1):
        path = page_path(document, record, SUFFIX)
        written.append((path, page.name))
        yield path, [_serialise(_page(page, number))]
    path = export_path(document.name or "pages", ".mets.xml")
    yield path, [_serialise(_mets(document, path, written))]


def _page(page: PlacedPage, number: int) -> etree._Element:
    root = etree.Element(_alto("alto"), {"SCHEMAVERSION": "4.4"}, nsmap={None: NAMESPACE})
    description = etree.SubElement(root, _alto("Description"))
    etree.SubElement(description, _alto("MeasurementUnit")).text = "pixel"
    image = etree.SubElement(description, _alto("sourceImageInformation"))
    etree.SubElement(image, _alto("fileName")).text = xml_text(page.name)
    processing = etree.SubElement(description, _alto("Processing"), ID="ocr")
    software = etree.SubElement(processing, _alto("processingSoftware"))
    etree.SubElement(software, _alto("softwareName")).text = "pagemill"
    layout = etree.SubElement(root, _alto("Layout"))
    width, height = map(str, page.size_px)
    attributes = {"ID": f"page{number}", "PHYSICAL_IMG_NR": str(page.page), "WIDTH": width, "HEIGHT": height}
    element = etree.SubElement(layout, _alto("Page"), attributes)
    space = etree.SubElement(element, _alto("PrintSpace"), _place((0, 0, *page.size_px)))
    if page.lines or page.unplaced:
        block = etree.SubElement(space, _alto("TextBlock"), {"ID": "b1", **_place(page.around())})
        for at, line in enumerate(page.lines, 1):
            _add_line(block, page, line, at)
        for at, text in enumerate(page.unplaced, 1):
            element = etree.SubElement(block, _alto("TextLine"), ID=f"l{at}")
            etree.SubElement(element, _alto("String"), ID=f"s{at}", CONTENT=xml_text(text))
    return root


def _add_line(block: etree._Element, page: PlacedPage, line: TextLine, number: int) -> None:
    where = _place(page.box(line))
    element = etree.SubElement(block, _alto("TextLine"), {"ID": f"l{number}", **where})
    shape = etree.SubElement(element, _alto("Shape"))
    points = " ".join(f"{x},{y}" for x, y in page.corners(line))
    etree.SubElement(shape, _alto("Polygon"), POINTS=points)
    string = etree.SubElement(element, _alto("String"), {"ID": f"s{number}", **where, "CONTENT": xml_text(line.text)})
    if line.confidence is not None:
        string.set("WC", f"{line.confidence:.4f}")


def _mets(document: Document, path: str, pages: list[tuple[str, str]]) -> etree._Element:
    root = etree.Element(_name("mets"), {"LABEL": xml_text(document.name)}, nsmap={None: METS, "xlink": XLINK})
    header = etree.SubElement(root, _name("metsHdr"), CREATEDATE=max(page.added for page in document.pages))
    agent = etree.SubElement(header, _name("agent"), ROLE="CREATOR", TYPE="OTHER", OTHERTYPE="SOFTWARE")
    etree.SubElement(agent, _name("name")).text = "pagemill"
    section = etree.SubElement(root, _name("fileSec"))
    texts = etree.SubElement(section, _name("fileGrp"), USE="FULLTEXT")
    images = etree.SubElement(section, _name("fileGrp"), USE="IMAGES")
    map_ = etree.SubElement(root, _name("structMap"), TYPE="PHYSICAL")
    sequence = etree.SubElement(map_, _name("div"), TYPE="physSequence", ID="sequence")
    ids: dict[str, str] = {}
    folder = posixpath.dirname(path)
    for order, (alto, source) in enumerate(pages, 1):
        _add_file(texts, f"alto{order}", posixpath.relpath(alto, folder or "."), mime="application/xml")
        if source not in ids:
            ids[source] = f"image{order}"
            _add_file(images, ids[source], source)
        page = etree.SubElement(sequence, _name("div"), TYPE="page", ID=f"page{order}", ORDER=str(order))
        for file in (ids[source], f"alto{order}"):
            etree.SubElement(page, _name("fptr"), FILEID=file)
    return root


def _add_file(group: etree._Element, name: str, reference: str, mime: str | None = None) -> None:
    file = etree.SubElement(group, _name("file"), ID=name)
    if mime is not None:
        file.set("MIMETYPE", mime)
    target = reference if "://" in reference else quote(reference.encode("utf-8", "surrogateescape"))
    etree.SubElement(file, _name("FLocat"), {"LOCTYPE": "URL", f"{{{XLINK}}}href": target})


def _place(box: Box) -> dict[str, str]:
    left, top, right, bottom = box
    return {"HPOS": str(left), "VPOS": str(top), "WIDTH": str(right - left), "HEIGHT": str(bottom - top)}


def _serialise(root: etree._Element) -> bytes:
    return bytes(etree.tostring(root, xml_declaration=True, encoding="UTF-8"))


def _alto(local: str) -> str:
    return f"{{{NAMESPACE}}}{local}"


def _name(local: str) -> str:
    return f"{{{METS}}}{local}"


def export(job: ExportJob, count: Count) -> Exported:
    """Export; see `export_placed`."""
    return export_by_page(job, "alto", write_alto, count)
