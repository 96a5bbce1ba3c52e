"""Images of pages inside PDFs: a JPEG stays the file that it is, any other image is stored without loss."""

import zlib
from io import BytesIO
from typing import Any, Final, NamedTuple

import pikepdf
from pikepdf import Array, Name, Pdf, Stream
from PIL import Image

from pipeline.pixels.decoding import decode
from pipeline.pixels.orientation import read_orientation

_MIN_DPI: Final = 100
"""Files that say 72 or 96 were not scanned so: these are what programs write that do not know."""
_MAX_DPI: Final = 4800
_COLOURS: Final = {"L": Name.DeviceGray, "RGB": Name.DeviceRGB, "CMYK": Name.DeviceCMYK}
_PROFILES: Final = {"L": b"GRAY", "RGB": b"RGB ", "CMYK": b"CMYK"}
_JPEGS: Final = frozenset({"JPEG", "MPO"})


class Picture(NamedTuple):
    """An image in a PDF.

    Attributes:
        stream: The image's object.
        orientation: EXIF orientation that it is drawn with.
        dpi: Its resolution, if it says one that can be.
    """

    stream: pikepdf.Object
    orientation: int
    dpi: float | None


def add_picture(pdf: Pdf, data: bytes) -> Picture:
    """Add an image to a PDF.

    Args:
        pdf: The file.
        data: An image file.

    Raises:
        Exception: whatever a decoder raises.
    """
    with Image.open(BytesIO(data)) as image:
        dpi, profile = _read_dpi(image.info.get("dpi")), image.info.get("icc_profile")
        orientation = 1 if image.format == "TIFF" else read_orientation(image)  # Pillow turns a TIFF as it decodes it
        if image.format in _JPEGS and image.mode in _COLOURS:
            stream = Stream(pdf, data, Filter=Name.DCTDecode, **_describe(image, 8))
            stream.ColorSpace = _colour_space(pdf, image.mode, profile)
            if image.mode == "CMYK" and "adobe" in image.info:  # Adobe's are stored inverted
                stream.Decode = Array([1, 0] * 4)
        elif image.mode == "1":
            stream = Stream(pdf, zlib.compress(image.tobytes()), Filter=Name.FlateDecode)
            for name, value in _describe(image, 1).items():
                stream[f"/{name}"] = value
            stream.ColorSpace = Name.DeviceGray
        else:
            pixels = decode(lambda: Image.open(BytesIO(data)))
            stream = Stream(pdf, zlib.compress(pixels.tobytes()), Filter=Name.FlateDecode, **_describe(pixels, 8))
            same = pixels.mode == image.mode
            stream.ColorSpace = _colour_space(pdf, pixels.mode, profile if same else None)
    return Picture(pdf.make_indirect(stream), orientation, dpi)


def _describe(image: Image.Image, bits: int) -> dict[str, Any]:
    size = {"Width": image.width, "Height": image.height, "BitsPerComponent": bits}
    return {"Type": Name.XObject, "Subtype": Name.Image, **size}


def _colour_space(pdf: Pdf, mode: str, profile: object) -> pikepdf.Object:
    """Return the colour space of a mode, by a profile that fits it."""
    if not isinstance(profile, bytes) or profile[16:20] != _PROFILES[mode]:
        return _COLOURS[mode]
    components = {"L": 1, "RGB": 3, "CMYK": 4}[mode]
    stream = Stream(pdf, profile, N=components, Alternate=_COLOURS[mode])
    return Array([Name.ICCBased, pdf.make_indirect(stream)])


def _read_dpi(value: object) -> float | None:
    try:
        dpi = float(value[0])  # type: ignore[index]
    except (TypeError, ValueError, IndexError, ZeroDivisionError):
        return None
    is_possible = _MIN_DPI <= round(dpi, 1) <= _MAX_DPI  # a PNG states whole pixels per metre: 100 dpi are 99.9998
    return dpi if is_possible else None
