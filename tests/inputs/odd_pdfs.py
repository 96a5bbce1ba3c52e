"""Odd PDFs, each of which shows the same page: what `card` draws, or a part of it."""

import hashlib
import io
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from PIL import Image, ImageChops, ImageDraw, ImageOps

from tests.inputs.images import encode
from tests.inputs.pdfs import DRAW, Pdf, dictionary, image, stream

SIZE_PX: Final = (595, 842)
FULL: Final = DRAW % (595, 842, 0, 0)
How = Literal["stored", "pixels", "rendered"]


@dataclass(frozen=True)
class OddPdf:
    """A PDF of one page and what becomes of it.

    Attributes:
        data: The file.
        how: "stored": the JPEG in it is sent; "pixels": the pixels of its image; "rendered": a rendering.
        original: What is sent, to the pixel, for "stored" and "pixels".
    """

    data: bytes
    how: How
    original: Image.Image | bytes | None = None


def card(mode: str = "RGB", size_px: tuple[int, int] = SIZE_PX) -> Image.Image:
    """Return a page that no turn, mirroring, inversion or cropping leaves alone."""
    width, height = size_px
    page = Image.new("RGB", size_px, (250, 248, 240))
    draw = ImageDraw.Draw(page)
    draw.rectangle((0, 0, width // 3, height // 6), fill=(200, 30, 30))
    draw.rectangle((width * 3 // 4, height * 4 // 5, width, height), fill=(30, 60, 190))
    for line in range(12):
        top = height // 4 + line * height // 24
        draw.rectangle((width // 10, top, width * (9 - line % 4) // 10, top + height // 60), fill=(20, 20, 20))
    if mode == "1":
        return page.convert("L").point(lambda level: 255 * (level > 128)).convert("1")
    return page.convert(mode)


def one_page(content: bytes, *images: bytes, more: Mapping[str, bytes] | None = None) -> bytes:
    """Return a PDF of one A4 page."""
    pdf = Pdf()
    pdf.add_page(content, images=images, more=more)
    return pdf.to_bytes()


def jpeg_image(page: Image.Image, more: Mapping[str, bytes] | None = None) -> tuple[bytes, bytes]:
    """Return a JPEG and the image object that holds it."""
    data = encode(page, "JPEG", quality=90)
    colours = {"L": b"/DeviceGray", "RGB": b"/DeviceRGB", "CMYK": b"/DeviceCMYK"}[page.mode]
    return data, image(page.size, data, colours=colours, codec="DCTDecode", more=more)


def flate_image(page: Image.Image, more: Mapping[str, bytes] | None = None) -> bytes:
    """Return the object of an image whose samples are compressed without loss."""
    colours = {"1": b"/DeviceGray", "L": b"/DeviceGray", "RGB": b"/DeviceRGB"}[page.mode]
    return image(page.size, page.tobytes(), colours=colours, bits=1 if page.mode == "1" else 8, more=more)


def turned(degrees: int) -> OddPdf:
    """Return a lossless scan whose stored image is turned upright by /Rotate."""
    stored = card().rotate(degrees, expand=True)  # Pillow turns counterclockwise
    pdf = Pdf()
    width, height = stored.size
    content = DRAW % (width, height, 0, 0)
    pdf.add_page(content, images=[flate_image(stored)], box=(0, 0, width, height), more={"Rotate": b"%d" % degrees})
    return OddPdf(pdf.to_bytes(), "pixels", card())


def turned_jpeg() -> OddPdf:
    pdf = Pdf()
    _, stored = jpeg_image(card().rotate(90, expand=True))
    pdf.add_page(DRAW % (842, 595, 0, 0), images=[stored], box=(0, 0, 842, 595), more={"Rotate": b"90"})
    return OddPdf(pdf.to_bytes(), "pixels")


def plain_jpeg(mode: str) -> OddPdf:
    data, stored = jpeg_image(card(mode))
    return OddPdf(one_page(FULL, stored), "stored", data)


def jpeg_in_flate() -> OddPdf:
    data = encode(card(), "JPEG", quality=90)
    held = image(
        SIZE_PX, zlib.compress(data), colours=b"/DeviceRGB", codec="X", more={"Filter": b"[/FlateDecode /DCTDecode]"}
    )
    return OddPdf(one_page(FULL, held), "stored", data)


def jpeg_with_line_end() -> OddPdf:
    data = encode(card(), "JPEG", quality=90)
    held = image(SIZE_PX, data + b"\r\n", colours=b"/DeviceRGB", codec="DCTDecode")
    return OddPdf(one_page(FULL, held), "stored", data)


def jpeg_turned_by_exif() -> OddPdf:
    """A viewer ignores the tag, and a service might not."""
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(card(), "JPEG", quality=90, exif=exif)
    return OddPdf(one_page(FULL, image(SIZE_PX, data, colours=b"/DeviceRGB", codec="DCTDecode")), "pixels")


def inverted_jpeg() -> OddPdf:
    _, stored = jpeg_image(ImageOps.invert(card()), more={"Decode": b"[1 0 1 0 1 0]"})
    return OddPdf(one_page(FULL, stored), "pixels")


def inverted_bits() -> OddPdf:
    page = card("1")
    return OddPdf(
        one_page(FULL, flate_image(ImageChops.invert(page), more={"Decode": b"[1 0]"})), "pixels", page.convert("L")
    )


def cmyk_jpeg(decode: bytes) -> OddPdf:
    page = card().convert("CMYK")
    # Pillow stores what Adobe does: inverted levels
    _, stored = jpeg_image(page if decode else ImageChops.invert(page), more={"Decode": decode} if decode else None)
    return OddPdf(one_page(FULL, stored), "pixels")


def stencil() -> OddPdf:
    page = card("1")
    mask = image(SIZE_PX, page.tobytes(), colours=b"", bits=1, more={"ImageMask": b"true"})
    return OddPdf(one_page(b"0 g\n" + FULL, mask), "pixels", page.convert("L"))


def coloured_stencil() -> OddPdf:
    mask = image(SIZE_PX, card("1").tobytes(), colours=b"", bits=1, more={"ImageMask": b"true"})
    return OddPdf(one_page(b"0.1 0.6 0.1 rg\n" + FULL, mask), "rendered")


def soft_mask() -> OddPdf:
    """All black; its soft mask holds the text, as mixed raster content has it."""
    pdf = Pdf()
    mask = pdf.add(flate_image(ImageOps.invert(card("L"))))
    black = flate_image(Image.new("L", SIZE_PX, 0), more={"SMask": mask})
    pdf.add_page(FULL, images=[black])
    return OddPdf(pdf.to_bytes(), "rendered")


def colour_key() -> OddPdf:
    page = card("L")
    seen = page.point([255 if level <= 120 else level for level in range(256)])
    return OddPdf(one_page(FULL, flate_image(page, more={"Mask": b"[0 120]"})), "pixels", seen)


def tilted() -> OddPdf:
    pdf = Pdf()
    pdf.add_page(b"q 0 842 -595 0 595 0 cm /Im0 Do Q\n", images=[flate_image(card().rotate(-90, expand=True))])
    return OddPdf(pdf.to_bytes(), "rendered")


def mirrored() -> OddPdf:
    return OddPdf(one_page(b"q -595 0 0 842 595 0 cm /Im0 Do Q\n", flate_image(card())), "rendered")


def cropped() -> OddPdf:
    return OddPdf(one_page(FULL, flate_image(card()), more={"CropBox": b"[0 421 595 842]"}), "rendered")


def cropped_to_the_scan() -> OddPdf:
    pdf = Pdf()
    content = DRAW % (595, 842, 100, 150)
    pdf.add_page(content, images=[flate_image(card())], box=(0, 0, 800, 1200), more={"CropBox": b"[100 150 695 992]"})
    return OddPdf(pdf.to_bytes(), "pixels", card())


def larger_than_the_page() -> OddPdf:
    return OddPdf(one_page(DRAW % (655, 926, -30, -42), flate_image(card())), "rendered")


def smaller_than_the_page() -> OddPdf:
    return OddPdf(one_page(DRAW % (500, 700, 40, 90), flate_image(card())), "rendered")


def two_images() -> OddPdf:
    top, bottom = card().crop((0, 0, 595, 421)), card().crop((0, 421, 595, 842))
    halves = b"q 595 0 0 421 0 421 cm /Im0 Do Q q 595 0 0 421 0 0 cm /Im1 Do Q\n"
    return OddPdf(one_page(halves, flate_image(top), flate_image(bottom)), "rendered")


def layered_images() -> OddPdf:
    """A background that covers the page, and the text in front of it."""
    mask = image(SIZE_PX, card("1").tobytes(), colours=b"", bits=1, more={"ImageMask": b"true"})
    front = b"0 g " + FULL.replace(b"Im0", b"Im1")
    return OddPdf(one_page(FULL + front, flate_image(Image.new("RGB", SIZE_PX, (240, 230, 200))), mask), "rendered")


def with_text(mode: int) -> OddPdf:
    """A scan with text of this rendering mode."""
    text = b"BT /F0 40 Tf %d Tr 60 300 Td (INVOICE 4711) Tj ET\n" % mode
    is_hidden = mode == 3
    data = one_page(FULL + text, flate_image(card()))
    return OddPdf(data, "pixels" if is_hidden else "rendered", card() if is_hidden else None)


def with_annotation() -> OddPdf:
    pdf = Pdf()
    look = {"Type": b"/XObject", "Subtype": b"/Form", "BBox": b"[0 0 200 100]"}
    drawn = pdf.add(stream(b"0 0.6 0 rg 0 0 200 100 re f\n", look))
    rect = {"Type": b"/Annot", "Subtype": b"/Square", "Rect": b"[300 50 500 150]", "F": b"4"}
    square = pdf.add(dictionary({**rect, "AP": dictionary({"N": drawn})}))
    pdf.add_page(FULL, images=[flate_image(card())], more={"Annots": b"[" + square + b"]"})
    return OddPdf(pdf.to_bytes(), "rendered")


def with_form_field() -> OddPdf:
    pdf = Pdf()
    look = {"Type": b"/XObject", "Subtype": b"/Form", "BBox": b"[0 0 200 100]"}
    drawn = pdf.add(stream(b"0 0.6 0 rg 0 0 200 100 re f\n", look))
    field = {"Type": b"/Annot", "Subtype": b"/Widget", "FT": b"/Tx", "T": b"(a)", "Rect": b"[300 50 500 150]"}
    text = pdf.add(dictionary({**field, "F": b"4", "AP": dictionary({"N": drawn})}))
    pdf.catalogue["AcroForm"] = dictionary({"Fields": b"[" + text + b"]"})
    pdf.add_page(FULL, images=[flate_image(card())], more={"Annots": b"[" + text + b"]"})
    return OddPdf(pdf.to_bytes(), "rendered")


def in_a_form() -> OddPdf:
    pdf = Pdf()
    held = dictionary({"XObject": dictionary({"Im0": pdf.add(flate_image(card()))})})
    look = {"Type": b"/XObject", "Subtype": b"/Form", "BBox": b"[0 0 1 1]", "Resources": held}
    form = stream(DRAW % (1, 1, 0, 0), look)
    pdf.add_page(FULL, images=[form])
    return OddPdf(pdf.to_bytes(), "pixels", card())


def clipped() -> OddPdf:
    return OddPdf(one_page(b"0 0 595 500 re W n\n" + FULL, flate_image(card())), "rendered")


def inline() -> OddPdf:
    small = card("L", (119, 168))
    fields = b"BI /W 119 /H 168 /BPC 8 /CS /G ID "
    return OddPdf(one_page(b"q 595 0 0 842 0 0 cm\n" + fields + small.tobytes() + b"\nEI Q\n"), "pixels", small)


def fax(page: Image.Image) -> bytes:
    """Return the page in CCITT group 4, black runs for black."""
    data = encode(ImageChops.invert(page), "TIFF", compression="group4", tiffinfo={278: page.height})
    with Image.open(io.BytesIO(data)) as written:
        tags = written.tag_v2  # type: ignore[attr-defined]
        return data[tags[273][0] : tags[273][0] + tags[279][0]]


def ccitt() -> OddPdf:
    page = card("1")
    parameters = dictionary({"K": b"-1", "Columns": b"595", "Rows": b"842"})
    held = image(SIZE_PX, fax(page), bits=1, codec="CCITTFaxDecode", more={"DecodeParms": parameters})
    return OddPdf(one_page(FULL, held), "pixels", page.convert("L"))


def jbig2() -> OddPdf:
    """A generic region in MMR coding, which is CCITT group 4. Source: ITU-T T.88, 7.4.6 and 7.4.8."""
    page = card("1")
    sides = b"".join(side.to_bytes(4, "big") for side in SIZE_PX)
    region = sides + bytes(8) + b"\0" + b"\x01" + fax(page)
    segments = [(48, sides + bytes(8) + b"\0" + bytes(2)), (38, region)]
    data = b"".join(
        number.to_bytes(4, "big") + bytes([kind, 0, 1]) + len(body).to_bytes(4, "big") + body
        for number, (kind, body) in enumerate(segments)
    )
    return OddPdf(one_page(FULL, image(SIZE_PX, data, bits=1, codec="JBIG2Decode")), "pixels", page.convert("L"))


def jpx() -> OddPdf:
    data = encode(card(), "JPEG2000")
    return OddPdf(one_page(FULL, image(SIZE_PX, data, colours=b"", codec="JPXDecode")), "pixels")


def indexed() -> OddPdf:
    page = card().convert("P", palette=Image.Palette.ADAPTIVE, colors=16)
    palette = bytes(page.getpalette() or [])[:48]
    colours = b"[/Indexed /DeviceRGB 15 <" + palette.hex().encode() + b">]"
    return OddPdf(one_page(FULL, image(SIZE_PX, page.tobytes(), colours=colours)), "pixels", page.convert("RGB"))


def sixteen_bits() -> OddPdf:
    page = card("L")
    samples = b"".join(bytes((level, 77)) for level in page.tobytes())
    return OddPdf(one_page(FULL, image(SIZE_PX, samples, bits=16)), "pixels", page)


def blank() -> OddPdf:
    return OddPdf(one_page(b""), "rendered")


def text_only() -> OddPdf:
    return OddPdf(one_page(b"BT /F0 24 Tf 72 700 Td (The quick brown fox) Tj ET\n"), "rendered")


def zero_size() -> OddPdf:
    pdf = Pdf()
    pdf.add_page(FULL, images=[flate_image(card())], box=(0, 0, 0, 0))
    return OddPdf(pdf.to_bytes(), "rendered")


def huge() -> OddPdf:
    pdf = Pdf()
    pdf.add_page(b"q 14400 0 0 14400 0 0 cm /Im0 Do Q 0 0 4000 9000 re f\n", images=[flate_image(card())],
                 box=(0, 0, 14400, 14400), more={"UserUnit": b"10"})  # fmt: skip
    return OddPdf(pdf.to_bytes(), "rendered")


def broken_table() -> OddPdf:
    data = one_page(FULL, flate_image(card()))
    start = data.rindex(b"startxref\n") + 10
    return OddPdf(data[:start] + b"99999999\n%%EOF\n", "pixels", card())


def bytes_before_the_header() -> OddPdf:
    return OddPdf(b"\n" * 900 + one_page(FULL, flate_image(card())), "pixels", card())


def object_streams() -> OddPdf:
    pdf = Pdf()
    pdf.add_page(FULL, images=[flate_image(card())])
    return OddPdf(pdf.to_object_streams(), "pixels", card())


def owner_password() -> OddPdf:
    return OddPdf(encrypted(b""), "pixels", card("L"))


ODD_PDFS: Final[dict[str, Callable[[], OddPdf]]] = {
    "jpeg-in-colour": lambda: plain_jpeg("RGB"),
    "jpeg-in-grey": lambda: plain_jpeg("L"),
    "jpeg-in-flate": jpeg_in_flate,
    "jpeg-and-a-line-end": jpeg_with_line_end,
    "jpeg-with-exif-orientation": jpeg_turned_by_exif,
    "jpeg-turned": turned_jpeg,
    "jpeg-inverted-by-decode": inverted_jpeg,
    "jpeg-cmyk": lambda: cmyk_jpeg(b""),
    "jpeg-cmyk-of-adobe": lambda: cmyk_jpeg(b"[1 0 1 0 1 0 1 0]"),
    "bits-inverted-by-decode": inverted_bits,
    "stencil": stencil,
    "stencil-in-colour": coloured_stencil,
    "soft-mask": soft_mask,
    "colour-key-mask": colour_key,
    "rotate-0": lambda: turned(0),
    "rotate-90": lambda: turned(90),
    "rotate-180": lambda: turned(180),
    "rotate-270": lambda: turned(270),
    "turned-by-its-matrix": tilted,
    "mirrored-by-its-matrix": mirrored,
    "cropped": cropped,
    "cropped-to-the-scan": cropped_to_the_scan,
    "image-larger-than-the-page": larger_than_the_page,
    "image-smaller-than-the-page": smaller_than_the_page,
    "two-images": two_images,
    "layered-images": layered_images,
    "text-hidden-under-the-scan": lambda: with_text(3),
    "text-over-the-scan": lambda: with_text(0),
    "annotation": with_annotation,
    "form-field": with_form_field,
    "image-in-a-form": in_a_form,
    "clipped": clipped,
    "inline-image": inline,
    "ccitt": ccitt,
    "jbig2": jbig2,
    "jpx": jpx,
    "indexed": indexed,
    "sixteen-bits": sixteen_bits,
    "blank": blank,
    "text-only": text_only,
    "page-without-size": zero_size,
    "page-of-200-inches": huge,
    "broken-table": broken_table,
    "bytes-before-the-header": bytes_before_the_header,
    "object-streams": object_streams,
    "owner-password": owner_password,
}


# --- the standard security handler, revision 2 (ISO 32000-1, 7.6.3) --------------------------------------------------

_PADDING: Final = bytes.fromhex("28BF4E5E4E758A4164004E56FFFA01082E2E00B6D0683E802F0CA9FE6453697A")
_FILE_ID: Final = bytes(range(16))
_PERMISSIONS: Final = -44


def encrypted(user_password: bytes) -> bytes:
    """Return a PDF in RC4 of 40 bits, with this user password and an owner password."""
    pdf = Pdf()
    owner = _rc4(hashlib.md5(_pad(b"owner")).digest()[:5], _pad(user_password))
    seed = _pad(user_password) + owner + _PERMISSIONS.to_bytes(4, "little", signed=True) + _FILE_ID
    key = hashlib.md5(seed).digest()[:5]
    entries = {
        "Filter": b"/Standard",
        "V": b"1",
        "R": b"2",
        "O": _hex(owner),
        "U": _hex(_rc4(key, _PADDING)),
        "P": b"%d" % _PERMISSIONS,
    }
    handler = pdf.add(dictionary(entries))  # object 3, of which no string is encrypted
    samples = zlib.compress(card("L").tobytes())
    # The page takes the numbers 4 (image), 5 (content) and 6.
    held = image(SIZE_PX, _rc4(_object_key(key, 4), samples), codec="FlateDecode")
    pdf.add_page(_rc4(_object_key(key, 5), FULL), images=[held])
    return pdf.to_bytes(Encrypt=handler, ID=b"[" + _hex(_FILE_ID) * 2 + b"]")


def _pad(password: bytes) -> bytes:
    return (password + _PADDING)[:32]


def _hex(data: bytes) -> bytes:
    return b"<" + data.hex().encode("ascii") + b">"


def _object_key(key: bytes, number: int) -> bytes:
    return hashlib.md5(key + number.to_bytes(3, "little") + bytes(2)).digest()[:10]


def _rc4(key: bytes, data: bytes) -> bytes:
    state, other = list(range(256)), 0
    for one in range(256):
        other = (other + state[one] + key[one % len(key)]) % 256
        state[one], state[other] = state[other], state[one]
    out, one, other = bytearray(), 0, 0
    for byte in data:
        one = (one + 1) % 256
        other = (other + state[one]) % 256
        state[one], state[other] = state[other], state[one]
        out.append(byte ^ state[(state[one] + state[other]) % 256])
    return bytes(out)
