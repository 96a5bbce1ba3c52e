"""Image files of all formats, and damage to them, both repeatable."""

import random
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from PIL import Image, ImageDraw

from tests.inputs.images import ORIENTATION_TAG, encode, noise
from tests.odd_files import HEIC
from tests.pixels.tiffs import CIELAB, CMYK, DEFLATE, FLOAT, PALETTE, RGB, SIGNED, tiff, tiff_page
from tests.server.bombs import png_with_text

INTERESTING: Final = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFE,
    0xFF,
    0x100,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
)
"""Values at the borders of integer types."""
_HEADER_BYTES: Final = 300


def page(mode: str = "RGB", size_px: tuple[int, int] = (130, 110)) -> Image.Image:
    """Return a page with lines, a picture and some colour."""
    image = Image.new("RGB", size_px, "white")
    draw = ImageDraw.Draw(image)
    for y in range(8, size_px[1] - 40, 8):
        draw.line((6, y, size_px[0] - 6 - y % 30, y), fill=(y % 60, 0, 30), width=2)
    image.paste(noise((40, 30)), (10, size_px[1] - 36))
    return image.convert("L").convert(mode) if mode in {"I", "F", "I;16"} else image.convert(mode)


@cache
def whole_files() -> Mapping[str, bytes]:
    """Return a good file of each kind, by the name of its kind."""
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = 6
    frames = [page("P"), page("P").rotate(90), page("P").rotate(180)]
    return {
        "JPEG baseline": encode(page(), "JPEG", exif=exif),
        "JPEG progressive": encode(page(), "JPEG", progressive=True),
        "JPEG CMYK": encode(page("CMYK"), "JPEG"),
        "JPEG with restart markers": encode(page("L"), "JPEG", restart_marker_blocks=3),
        "PNG": encode(page(), "PNG", exif=exif),
        "PNG palette": encode(page("P"), "PNG", transparency=3),
        "PNG 16 bits": encode(page("I;16"), "PNG"),
        "PNG alpha": encode(page("RGBA"), "PNG"),
        "PNG with text": png_with_text(3000),
        "PNG animated": encode(page(), "PNG", save_all=True, append_images=[page()]),
        "GIF": encode(page("P"), "GIF", transparency=2),
        "GIF animated": encode(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "WebP lossy": encode(page(), "WEBP", exif=exif),
        "WebP lossless": encode(page("RGBA"), "WEBP", lossless=True),
        "WebP animated": encode(page(), "WEBP", save_all=True, append_images=[page()]),
        "JPEG 2000": encode(page(), "JPEG2000"),
        "JPEG 2000 codestream": encode(page("L"), "JPEG2000", no_jp2=True, tile_size=(64, 64)),
        "AVIF": encode(page("RGBA"), "AVIF", exif=exif),
        "HEIC": (HEIC / "exif-orientation.heic").read_bytes(),
        "PNM": encode(page(), "PPM"),
        "PNM of text": b"P1\n# a mark\n120 110\n" + b"0 1 " * 6600,
        "BMP": encode(page(), "BMP"),
        "BMP palette": encode(page("P"), "BMP"),
        "BMP 1 bit": encode(page("1"), "BMP"),
        **{f"TIFF {kind}": data for kind, data in _tiffs().items()},
    }


def _tiffs() -> dict[str, bytes]:
    compressions = {
        "raw": ("RGB", "raw"),
        "LZW": ("RGB", "tiff_lzw"),
        "Deflate": ("RGBA", "tiff_adobe_deflate"),
        "PackBits": ("L", "packbits"),
        "JPEG": ("RGB", "jpeg"),
        "Group 4": ("1", "group4"),
        "Group 3": ("1", "group3"),
        "Zstandard": ("L", "zstd"),
        "LZMA": ("L", "lzma"),
        "palette": ("P", "tiff_lzw"),
        "CMYK": ("CMYK", "tiff_lzw"),
    }
    files = {kind: encode(page(mode), "TIFF", compression=name) for kind, (mode, name) in compressions.items()}
    files["of three pages"] = encode(
        page("L"), "TIFF", compression="tiff_lzw", save_all=True, append_images=[page("RGB"), page("P")]
    )
    grey, colour = range(120 * 110), range(3 * 120 * 110)
    samples: dict[str, dict[str, Any]] = {
        "16 bits": tiff_page([x % 4096 for x in grey], 120),
        "16 bits min-is-white": tiff_page([x % 65536 for x in grey], 120, photometric=0, compression=DEFLATE),
        "16-bit colour": tiff_page([x % 4096 for x in colour], 120, channels=3, photometric=RGB, compression=DEFLATE),
        "32 bits": tiff_page([x * 9 for x in grey], 120, bits=32),
        "signed": tiff_page([x - 9000 for x in grey], 120, bits=32, sample_format=SIGNED),
        "float": tiff_page([x / 9 for x in grey], 120, bits=32, sample_format=FLOAT, compression=DEFLATE),
        "12 bits": tiff_page(bytes(range(180)) * 110, 120, bits=12),
        "CIELAB": tiff_page(bytes([x % 256 for x in colour]), 120, bits=8, channels=3, photometric=CIELAB),
        "16-bit CMYK": tiff_page([x % 65536 for x in range(4 * 120 * 110)], 120, channels=4, photometric=CMYK),
        "in planes": tiff_page([x % 4096 for x in colour], 120, channels=3, photometric=RGB, tags={284: [2]}),
        "8-bit palette": tiff_page(
            bytes([x % 256 for x in grey]), 120, bits=8, photometric=PALETTE, tags={320: [*range(256)] * 3}
        ),
    }
    files |= {kind: tiff(content) for kind, content in samples.items()}
    files["BigTIFF"] = tiff(*samples.values(), big=True)
    files["big-endian"] = tiff(
        tiff_page([x % 4096 for x in grey], 120, order=">"), tiff_page([x % 9 for x in grey], 120, order=">"), order=">"
    )
    return files


def mutate(data: bytes, chance: random.Random) -> bytes:
    """Return the file with one to six damages, most of them in its first or last 300 bytes."""
    damaged = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 6))):
        if not damaged:
            break
        at = _choose_place(len(damaged), chance)
        match chance.randrange(8):
            case 0 | 1:
                damaged[at] = chance.randrange(256)
            case 2:
                damaged[at] ^= 1 << chance.randrange(8)
            case 3 | 4:
                size = chance.choice((1, 2, 4))
                value = chance.choice(INTERESTING) & ((1 << 8 * size) - 1)
                damaged[at : at + size] = value.to_bytes(size, chance.choice(("little", "big")))
            case 5:
                del damaged[at : at + chance.choice((1, 2, 4, 30, 500))]
            case 6:
                other = _choose_place(len(damaged), chance)
                length = chance.choice((1, 4, 12, 60))
                damaged[at : at + chance.choice((0, length))] = damaged[other : other + length]
            case _:
                if chance.random() < 0.5:
                    del damaged[at:]
                else:
                    damaged[at:at] = chance.randbytes(chance.choice((1, 3, 20)))
    return bytes(damaged)


def _choose_place(size: int, chance: random.Random) -> int:
    match chance.randrange(5):
        case 0 | 1:
            return chance.randrange(min(size, _HEADER_BYTES))
        case 2 | 3:
            return size - 1 - chance.randrange(min(size, _HEADER_BYTES))
        case _:
            return chance.randrange(size)
