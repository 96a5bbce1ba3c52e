"""PDFs that the tests write: raw objects of ISO 32000-1, a cross-reference table and a trailer."""

import zlib
from collections.abc import Mapping, Sequence
from typing import Final

A4: Final = (0, 0, 595, 842)
DRAW: Final = b"q %d 0 0 %d %d %d cm /Im0 Do Q\n"
"""Draws the image at (width, height, left, bottom) in points."""


def name(text: str) -> bytes:
    """Return a name object."""
    return b"/" + text.encode("ascii")


def array(*numbers: float) -> bytes:
    """Return an array of numbers."""
    return b"[" + b" ".join(b"%g" % number for number in numbers) + b"]"


def dictionary(entries: Mapping[str, bytes]) -> bytes:
    """Return a dictionary whose values are objects."""
    return b"<< " + b" ".join(name(key) + b" " + value for key, value in entries.items()) + b" >>"


def stream(data: bytes, entries: Mapping[str, bytes] | None = None) -> bytes:
    """Return a stream object."""
    head = dictionary({**(entries or {}), "Length": b"%d" % len(data)})
    return head + b"\nstream\n" + data + b"\nendstream"


def image(
    size_px: tuple[int, int],
    data: bytes,
    *,
    colours: bytes = b"/DeviceGray",
    bits: int = 8,
    codec: str | None = None,
    more: Mapping[str, bytes] | None = None,
) -> bytes:
    """Return an image object; without a codec its samples are compressed here.

    Args:
        size_px: (width, height).
        data: Samples, or the file that the codec reads.
        colours: Its colour space; empty for none.
        bits: Per sample.
        codec: The name of the filter, such as "DCTDecode".
        more: Further entries.
    """
    fields = {
        "Type": b"/XObject",
        "Subtype": b"/Image",
        "Width": b"%d" % size_px[0],
        "Height": b"%d" % size_px[1],
        "BitsPerComponent": b"%d" % bits,
        "Filter": name(codec or "FlateDecode"),
        **({"ColorSpace": colours} if colours else {}),
        **(more or {}),
    }
    return stream(zlib.compress(data) if codec is None else data, fields)


class Pdf:
    """A PDF that is written object by object; the first two objects are the catalogue and the page tree."""

    def __init__(self) -> None:
        self._objects: list[bytes] = [b"", b""]
        self._pages: list[int] = []
        self.catalogue: dict[str, bytes] = {}

    def add(self, value: bytes) -> bytes:
        """Add an object; return the reference to it."""
        self._objects.append(value)
        return b"%d 0 R" % len(self._objects)

    def add_page(
        self,
        content: bytes,
        *,
        images: Sequence[bytes] = (),
        resources: Mapping[str, bytes] | None = None,
        box: tuple[float, float, float, float] = A4,
        more: Mapping[str, bytes] | None = None,
    ) -> None:
        """Add a page.

        Args:
            content: Its operators.
            images: Image objects, named /Im0, /Im1 and so on.
            resources: Further resources.
            box: Its MediaBox, in points.
            more: Further entries of the page.
        """
        named = {f"Im{number}": self.add(value) for number, value in enumerate(images)}
        fonts = dictionary({"F0": b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"})
        fields = {
            "Type": b"/Page",
            "Parent": b"2 0 R",
            "MediaBox": array(*box),
            "Resources": dictionary({"XObject": dictionary(named), "Font": fonts, **(resources or {})}),
            "Contents": self.add(stream(content)),
            **(more or {}),
        }
        self.add(dictionary(fields))
        self._pages.append(len(self._objects))

    def objects(self) -> list[bytes]:
        """Return all objects; the first has the number 1."""
        kids = b"[" + b" ".join(b"%d 0 R" % number for number in self._pages) + b"]"
        tree = dictionary({"Type": b"/Pages", "Count": b"%d" % len(self._pages), "Kids": kids})
        root = dictionary({"Type": b"/Catalog", "Pages": b"2 0 R", **self.catalogue})
        return [root, tree, *self._objects[2:]]

    def to_bytes(self, **trailer: bytes) -> bytes:
        """Return the file, with these further entries in its trailer."""
        out, offsets = bytearray(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"), list[int]()
        for number, value in enumerate(self.objects(), 1):
            offsets.append(len(out))
            out += b"%d 0 obj\n%b\nendobj\n" % (number, value)
        start = len(out)
        out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(offsets) + 1)
        out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
        entries = {"Size": b"%d" % (len(offsets) + 1), "Root": b"1 0 R", **trailer}
        return bytes(out) + b"trailer\n%b\nstartxref\n%d\n%%%%EOF\n" % (dictionary(entries), start)

    def to_object_streams(self) -> bytes:
        """Return the file with all objects but streams in an object stream, and a cross-reference stream."""
        out, rows = bytearray(b"%PDF-1.7\n"), dict[int, tuple[int, int, int]]()
        objects = self.objects()
        packed = {number: value for number, value in enumerate(objects, 1) if b"stream\n" not in value}
        holder, table = len(objects) + 1, len(objects) + 2
        heads, body = list[bytes](), b""
        for place, (number, value) in enumerate(packed.items()):
            heads.append(b"%d %d" % (number, len(body)))
            rows[number] = (2, holder, place)
            body += value + b"\n"
        first = b" ".join(heads) + b"\n"
        entries = {"Type": b"/ObjStm", "N": b"%d" % len(packed), "First": b"%d" % len(first)}
        holding = stream(zlib.compress(first + body), {**entries, "Filter": b"/FlateDecode"})
        for number, value in [*enumerate(objects, 1), (holder, holding)]:
            if number not in packed:
                rows[number] = (1, len(out), 0)
                out += b"%d 0 obj\n%b\nendobj\n" % (number, value)
        rows[0], rows[table] = (0, 0, 65535), (1, len(out), 0)
        data = b"".join(
            kind.to_bytes(1, "big") + place.to_bytes(4, "big") + more.to_bytes(2, "big")
            for _, (kind, place, more) in sorted(rows.items())
        )
        fields = {"Type": b"/XRef", "Size": b"%d" % len(rows), "W": b"[1 4 2]", "Root": b"1 0 R"}
        start = len(out)
        out += b"%d 0 obj\n%b\nendobj\n" % (table, stream(data, fields))
        return bytes(out) + b"startxref\n%d\n%%%%EOF\n" % start
