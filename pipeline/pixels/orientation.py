"""The orientation of a page: how its EXIF block says that the stored image must be turned."""

from typing import Final

from PIL import Image

from pipeline.pixels import tiff

ORIENTATION_TAG: Final = 0x0112
"""Exif 2.32 and TIFF 6.0, "Orientation"."""

_EXIF_HEAD: Final = b"Exif\0\0"

_TRANSPOSE: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The operation that makes an image of each orientation upright. Source: Exif 2.32, "Orientation"."""

TURNED_BY: Final = {0: 1, 90: 6, 180: 3, 270: 8}
"""The EXIF orientation that stands for each clockwise turn."""

MIRRORED_AND_TURNED_BY: Final = {0: 2, 90: 5, 180: 4, 270: 7}
"""The EXIF orientation that stands for each clockwise turn of an image that is mirrored first."""

_ROTATION_DEG: Final = {3: 180, 4: 180, 5: 90, 6: 90, 7: 270, 8: 270}


def read_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation from 1 to 8; 1 where there is none, or none that can be read.

    Reads the header only: Pillow's `getexif()` of a PNG would decode all of its pixels. A damaged EXIF block means no
    turn, because the pixels of the file may be good.
    """
    tags = getattr(image, "tag_v2", None)  # only a TIFF has it
    if tags is not None:
        orientation = tags.get(ORIENTATION_TAG, 1)
    else:
        exif = image.info.get("exif", b"")
        values = read_exif(exif).get(ORIENTATION_TAG, ()) if isinstance(exif, bytes) else ()
        orientation = values[0] if len(values) == 1 else 1
    return orientation if orientation in range(1, 9) else 1


def read_exif(exif: bytes) -> dict[int, tuple[int, ...]]:
    """Return the integers of the first directory of an EXIF block, by tag; none when the block is damaged."""
    block = exif.removeprefix(_EXIF_HEAD)
    offsets = tiff.directory_offsets(block)
    return tiff.read_directory(block, offsets[0]) if offsets else {}


def upright_size_px(size_px: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Return (width, height) of the upright page from the stored size, or the stored size from the upright one."""
    return size_px if orientation < 5 else (size_px[1], size_px[0])


def rotation_deg(orientation: int) -> int:
    """Return the clockwise rotation that makes a page of this EXIF orientation upright: 0, 90, 180 or 270."""
    return _ROTATION_DEG.get(orientation, 0)


def turn_upright(image: Image.Image, orientation: int) -> Image.Image:
    """Return the image rotated and mirrored as its EXIF orientation demands."""
    return image.transpose(_TRANSPOSE[orientation]) if orientation in _TRANSPOSE else image
