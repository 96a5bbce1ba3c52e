"""Invisible text over a page of a PDF: content streams, and a font whose glyphs are boxes.

A character's code is its number in the order of first use, so that any character of Unicode has one; `bfchar` says
which it is. Its width is one em for a character of East Asian width, half of it for any other.
"""

import math
import struct
import unicodedata
from typing import Final

import pikepdf
from pikepdf import Array, Dictionary, Name, Pdf, Stream

from pipeline.positions import TextLine

FONT: Final = Name("/F1")
"""OCRmyPDF takes fonts of this name from a page of text."""
_EM: Final = 1000
_WIDTHS: Final = (_EM // 2, _EM // 2, _EM)
"""Of the glyphs: .notdef, which PDF/A allows no text to use (ISO 19005-2, 6.2.11.8), and two for characters."""
_ASCENT: Final = 800
"""The base line is a fifth of the line's height above its lower edge."""
_BFCHAR_MAX: Final = 100
"""Most entries of a block. Source: Adobe Technical Note 5014."""
_VERTICAL: Final = 1.5
"""A line of several characters that is higher than wide by this factor runs downwards."""
_CMAP_HEAD: Final = """/CIDInit /ProcSet findresource begin
12 dict begin
begincmap
/CIDSystemInfo << /Registry (Adobe) /Ordering (UCS) /Supplement 0 >> def
/CMapName /Adobe-Identity-UCS def
/CMapType 2 def
1 begincodespacerange
<0000> <FFFF>
endcodespacerange
"""
_CMAP_TAIL: Final = "endcmap\nCMapName currentdict /CMap defineresource pop\nend\nend\n"


class InvisibleFont:
    """The characters of some pages, and their codes."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<InvisibleFont {len(self._codes)} characters>"

    def encode(self, text: str) -> bytes:
        """Return the codes of a text, two bytes each."""
        codes = [self._codes.setdefault(character, len(self._codes) + 1) for character in text]
        return struct.pack(f">{len(codes)}H", *codes)

    def add_to(self, pdf: Pdf) -> pikepdf.Object:
        """Add the font to a file, and return it."""
        file = Stream(pdf, _true_type(), Length1=len(_true_type()))
        descriptor = Dictionary(
            Type=Name.FontDescriptor, FontName=Name.Invisible, Flags=4, FontBBox=Array([0, -200, _EM, _ASCENT]),
            ItalicAngle=0, Ascent=_ASCENT, Descent=_ASCENT - _EM, CapHeight=_ASCENT, StemV=80,
            FontFile2=pdf.make_indirect(file),
        )  # fmt: skip
        wide = [item for text, code in self._codes.items() if char_width(text) == _EM for item in (code, [_EM])]
        wide_or_not = (1 + (char_width(text) == _EM) for text in self._codes)
        glyphs = Stream(pdf, b"\0\0" + b"".join(bytes((0, glyph)) for glyph in wide_or_not))
        descendant = Dictionary(
            Type=Name.Font, Subtype=Name.CIDFontType2, BaseFont=Name.Invisible, DW=_EM // 2, W=Array(wide),
            CIDSystemInfo=Dictionary(Registry=b"Adobe", Ordering=b"Identity", Supplement=0),
            FontDescriptor=pdf.make_indirect(descriptor), CIDToGIDMap=pdf.make_indirect(glyphs),
        )  # fmt: skip
        font = Dictionary(
            Type=Name.Font, Subtype=Name.Type0, BaseFont=Name.Invisible, Encoding=Name("/Identity-H"),
            DescendantFonts=Array([pdf.make_indirect(descendant)]),
            ToUnicode=pdf.make_indirect(Stream(pdf, self._to_unicode())),
        )  # fmt: skip
        return pdf.make_indirect(font)

    def _to_unicode(self) -> bytes:
        entries = [f"<{code:04X}> <{text.encode('utf-16-be').hex().upper()}>\n" for text, code in self._codes.items()]
        blocks = [entries[at : at + _BFCHAR_MAX] for at in range(0, len(entries), _BFCHAR_MAX)]
        body = "".join(f"{len(block)} beginbfchar\n{''.join(block)}endbfchar\n" for block in blocks)
        return (_CMAP_HEAD + body + _CMAP_TAIL).encode("ascii")


def char_width(character: str) -> int:
    """Return the width of a character in thousandths of an em."""
    return _EM if unicodedata.east_asian_width(character) in {"W", "F"} else _EM // 2


def draw_line(line: TextLine, text: str, font: InvisibleFont, height_px: int, pt_per_px: float) -> bytes:
    """Return the operators, inside a text object, that put a text into a line's box.

    Args:
        line: Its box, in px from the top left corner of the page.
        text: What is drawn.
        font: Gets its characters.
        height_px: Of the page.
        pt_per_px: Points per pixel.
    """
    points = list(zip(line.box[::2], line.box[1::2], strict=True))
    if len(text) > 1 and _runs_down(points):
        points = [*points[1:], points[0]]
    (x1, y1), (x2, y2), (x3, y3), (x4, y4) = points
    right = ((x2 - x1 + x3 - x4) / 2, (y2 - y1 + y3 - y4) / 2)
    down = ((x4 - x1 + x3 - x2) / 2, (y4 - y1 + y3 - y2) / 2)
    width_px, size_px = max(math.hypot(*right), 1e-3), max(math.hypot(*down), 1e-3)
    natural_px = sum(map(char_width, text)) / _EM * size_px
    cos, sin = right[0] / width_px, right[1] / width_px
    rise = 1 - _ASCENT / _EM
    x, y = x4 - down[0] * rise, y4 - down[1] * rise
    matrix = (cos, -sin, sin, cos, x * pt_per_px, (height_px - y) * pt_per_px)
    values = " ".join(map(number, matrix))
    stretch = number(100 * width_px / natural_px)
    codes = font.encode(text).hex().encode()
    return b"%b %b Tf %b Tz %b Tm <%b> Tj\n" % (
        str(FONT).encode(), number(size_px * pt_per_px).encode(), stretch.encode(), values.encode(), codes,
    )  # fmt: skip


def number(value: float) -> str:
    """Return a number as PDF writes it: no exponent, four decimals."""
    return f"{value:.4f}".rstrip("0").rstrip(".")


def _runs_down(points: list[tuple[float, float]]) -> bool:
    (x1, y1), (x2, y2), _, (x4, y4) = points
    return math.hypot(x4 - x1, y4 - y1) > _VERTICAL * math.hypot(x2 - x1, y2 - y1)


def _true_type() -> bytes:
    """Return a TrueType font whose glyphs are boxes of these widths, which are never drawn.

    Without outlines, PDFium takes lines that run downwards for lines without a width, and leaves them out.

    Source:
        ISO 14496-22; ISO 32000-1, 9.9, for its tables.
    """
    glyphs = [_box_glyph(width) for width in _WIDTHS]
    ends = [len(b"".join(glyphs[:at])) // 2 for at in range(len(glyphs) + 1)]
    tables = {
        b"glyf": b"".join(glyphs),
        b"head": struct.pack(
            ">IIIIHHQQhhhhHHhhh",
            *(0x10000, 0x10000, 0, 0x5F0F3CF5, 0, _EM, 0, 0, 0, _ASCENT - _EM, _EM, _ASCENT, 0, 8, 2, 0, 0),
        ),
        b"hhea": struct.pack(">IhhhH11hH", 0x10000, _ASCENT, _ASCENT - _EM, 0, _EM, *([0] * 11), len(_WIDTHS)),
        b"hmtx": b"".join(struct.pack(">Hh", width, 0) for width in _WIDTHS),
        b"loca": struct.pack(f">{len(ends)}H", *ends),
        b"maxp": struct.pack(">IHHH11H", 0x10000, len(_WIDTHS), 4, 1, *([0] * 11)),
    }
    offset = 12 + 16 * len(tables)
    directory, body = struct.pack(">IHHHH", 0x10000, len(tables), 64, 2, 16 * len(tables) - 64), b""
    for name, table in tables.items():
        padded = table + bytes(-len(table) % 4)
        checksum = sum(struct.unpack(f">{len(padded) // 4}I", padded)) & 0xFFFFFFFF
        directory += struct.pack(">4sIII", name, checksum, offset + len(body), len(table))
        body += padded
    return directory + body


def _box_glyph(width: int) -> bytes:
    head = struct.pack(">hhhhhHH", 1, 0, _ASCENT - _EM, width, _ASCENT, 3, 0)
    moves = struct.pack(">8h", 0, 0, width, 0, _ASCENT - _EM, _EM, 0, -_EM)
    glyph = head + b"\1\1\1\1" + moves  # on the curve, coordinates of two bytes
    return glyph + bytes(-len(glyph) % 4)
