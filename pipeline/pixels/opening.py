"""Open an image as far as its header: nothing is decoded until its pixels are asked for."""

from io import BytesIO
from typing import IO, Final, Protocol, cast

from PIL import Image, ImageFile, ImagePalette, TiffImagePlugin

from pipeline.errors import UnsupportedImageError
from pipeline.pixels import jpeg, png, tiff

II, MM = b"II", b"MM"
_SIGNED, _UNSIGNED = (2,), (1,)

_SAMPLES: Final = {
    (II, _SIGNED, (8,)): ("I", "I;8S"),
    (MM, _SIGNED, (8,)): ("I", "I;8S"),
    (MM, _UNSIGNED, (16,)): ("I;16B", "I;16B"),
    (II, _SIGNED, (16,)): ("I", "I;16S"),
    (MM, _SIGNED, (16,)): ("I", "I;16BS"),
    (II, _UNSIGNED, (32,)): ("I", "I;32"),
    (MM, _UNSIGNED, (32,)): ("I", "I;32B"),
    (II, _SIGNED, (32,)): ("I", "I;32S"),
    (MM, _SIGNED, (32,)): ("I", "I;32BS"),
    (II, _UNSIGNED, (12,)): ("I;16", "I;12"),
    (MM, _UNSIGNED, (12,)): ("I;16", "I;12"),
}
"""Samples of one channel whose values Pillow can unpack, but not in both byte orders and both senses of black; it reads
signed samples of 8 bits as unsigned."""

for (_order, _format, _bits), _modes in _SAMPLES.items():
    for _photometric in (0, 1):
        TiffImagePlugin.OPEN_INFO[_order, _photometric, _format, 1, _bits, ()] = _modes

_NATIVE: Final = {
    "I;16S": "I;16NS",
    "I;16BS": "I;16NS",
    "I;32": "I;32N",
    "I;32B": "I;32N",
    "I;32S": "I;32NS",
    "I;32BS": "I;32NS",
    "F;32F": "F;32NF",
    "F;32BF": "F;32NF",
}
"""libtiff returns samples in the byte order of the machine; Pillow knows that of unsigned 16-bit samples only."""


class TiffInMemory(Protocol):
    """A TIFF in memory whose header may be changed: `BytesIO`, or what reads and writes like it."""

    def getbuffer(self) -> memoryview: ...  # noqa: D102
    def read(self, size: int | None = -1, /) -> bytes: ...  # noqa: D102
    def seek(self, position: int, whence: int = 0, /) -> int: ...  # noqa: D102
    def write(self, data: bytes, /) -> int: ...  # noqa: D102


def open_image(data: bytes, formats: tuple[str, ...]) -> ImageFile.ImageFile:
    """Return an image of one of these formats with its header read; metadata that are damaged do not matter.

    Raises:
        Exception: whatever Pillow raises for a damaged file; `UnidentifiedImageError` when it is in no such format.
    """
    if data.startswith(png.SIGNATURE):
        image = Image.open(BytesIO(png.keep_pixels(data)), formats=formats)
        _scale_transparent_grey(image, png.sample_bits(data))
    elif data.startswith(jpeg.SIGNATURE):
        pixels = jpeg.keep_pixels(data)
        image = Image.open(BytesIO(pixels if pixels.endswith(jpeg.END) else pixels + jpeg.END), formats=formats)
        image.info["exif"] = jpeg.read_exif(data)
    else:
        image = Image.open(BytesIO(data), formats=formats)
    return image


def open_heic(data: bytes) -> ImageFile.ImageFile:
    """Return the primary image of a HEIC file, upright, with its header read.

    Raises:
        UnsupportedImageError: the decoder is not installed.
        Exception: whatever the decoder raises for a damaged file.
    """
    try:
        from pi_heif import as_plugin, options  # noqa: PLC0415 - an extra, and slow to import
    except ImportError as exc:
        raise UnsupportedImageError("HEIC needs the extra heic: pip install 'pagemill[heic]'") from exc
    options.DECODE_THREADS = 1  # there is a worker process per core
    image: ImageFile.ImageFile = as_plugin.HeifImageFile(BytesIO(data))
    return image


def open_tiff_page(file: TiffInMemory, offset: int) -> TiffImagePlugin.TiffImageFile:
    """Return the page of a TIFF whose directory is at this offset; damage to other pages does not matter.

    Args:
        file: The whole file; its header is changed to name this directory as the first.
        offset: Of the page's directory.

    Raises:
        Exception: whatever Pillow raises for a damaged or unsupported page.
    """
    with file.getbuffer() as whole:
        field_at, field = tiff.first_offset_field(whole[:8], offset)
    file.seek(field_at)
    file.write(field)
    file.seek(0)
    image = TiffImagePlugin.TiffImageFile(cast("IO[bytes]", file))
    if is_planar(image) and 16 in image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, ()):
        image = _open_with_libtiff(file)  # Pillow's own reader takes half of each sample
    image.tile = [_in_native_order(tile) for tile in image.tile]
    _scale_palette(image)
    return image


def is_planar(image: Image.Image) -> bool:
    """Return whether a TIFF stores each channel alone."""
    tags = getattr(image, "tag_v2", {})
    return bool(tags.get(TiffImagePlugin.PLANAR_CONFIGURATION) == 2)


def rawmodes(image: ImageFile.ImageFile) -> list[str]:
    """Return how the file stores the samples of an image that is not decoded yet, such as "RGB;16B"."""
    return [tile.args if isinstance(tile.args, str) else str(tile.args[0]) for tile in image.tile if tile.args]


def _open_with_libtiff(file: TiffInMemory) -> TiffImagePlugin.TiffImageFile:
    TiffImagePlugin.READ_LIBTIFF = True
    try:
        file.seek(0)
        return TiffImagePlugin.TiffImageFile(cast("IO[bytes]", file))
    finally:
        TiffImagePlugin.READ_LIBTIFF = False


def _in_native_order(tile: ImageFile._Tile) -> ImageFile._Tile:
    if tile.codec_name != "libtiff":
        return tile
    assert isinstance(tile.args, tuple)
    rawmode, *rest = tile.args
    return tile._replace(args=(_NATIVE.get(rawmode, rawmode), *rest))


def _scale_palette(image: TiffImagePlugin.TiffImageFile) -> None:
    """Read a colour map of 8 bits as such; TIFF 6.0 demands 16, and some writers use 8, as libtiff's tools know."""
    if image.mode in {"P", "PA"}:
        levels = image.tag_v2[TiffImagePlugin.COLORMAP]
        if max(levels) < 256:
            image.palette = ImagePalette.raw("RGB;L", bytes(levels))


def _scale_transparent_grey(image: Image.Image, bits: int) -> None:
    """Scale the transparent grey of a PNG of fewer than 8 bits like Pillow scales its pixels."""
    grey = image.info.get("transparency")
    if image.mode in {"1", "L"} and isinstance(grey, int) and bits < 8:
        image.info["transparency"] = grey * 255 // ((1 << bits) - 1)
