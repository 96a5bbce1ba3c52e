"""Odd image files as archives hold them, each with what becomes of its pages.

Every page shows the same: white, with a corner at the top left that is red, or dark where the samples have no colour.
A page of `SMALL_PX` is below the API's least edge, so that it is converted although the API knows its format.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from PIL import Image, ImageCms

from tests.inputs.images import ORIENTATION_TAG, STORED, encode, marked, noise
from tests.pixels.tiffs import CIELAB, CMYK, DEFLATE, FLOAT, MIN_IS_WHITE, PALETTE, RGB, tiff, tiff_page

Page = Literal["png", "jpeg", "gif", "webp", "truncated", "unsupported", "not-an-image", "unfittable", "empty"]
"""The format in which a page is sent, or the class of its failure."""

PAGE_PX: Final = (200, 300)
SMALL_PX: Final = (90, 135)
HEIC: Final = Path(__file__).parent / "cases" / "heic"
JPEG_2000_IN_TIFF: Final = 34712


class OddFile(NamedTuple):
    """A file and what becomes of its pages.

    Attributes:
        data: The file.
        pages: What becomes of each.
        is_sent_unchanged: Whether the file itself is sent.
    """

    data: bytes
    pages: Sequence[Page] = ("png",)
    is_sent_unchanged: bool = False


@cache
def odd_files() -> dict[str, OddFile]:
    """Return the files by their names."""
    tiffs = (_tiffs(), _tiff_samples(), _damaged_tiffs())
    others = (_jpegs(), _pngs(), _gifs_and_webps(), _bmps(), _pnms(), _jpeg_2000s(), _heifs(), _others())
    return dict(chain.from_iterable((*tiffs, *others)))


def _grey(size_px: tuple[int, int] = PAGE_PX) -> Image.Image:
    return marked(size_px).convert("L").point(lambda level: 255 if level > 128 else 60)


def _bitonal(size_px: tuple[int, int] = PAGE_PX) -> Image.Image:
    return marked(size_px).convert("L").point(lambda level: 255 * (level > 128)).convert("1")


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    return exif


def _turned(orientation: int) -> Image.Image:
    turn = STORED[orientation]
    return marked() if turn is None else marked().transpose(turn)


def _transparent(size_px: tuple[int, int] = PAGE_PX) -> Image.Image:
    """Return a page whose paper is transparent black."""
    page = Image.new("RGBA", size_px, (0, 0, 0, 0))
    page.paste((220, 20, 20, 255), (0, 0, 60, 60))
    return page


def _palette() -> Image.Image:
    return marked().quantize(4)


def _tiffs() -> Iterator[tuple[str, OddFile]]:
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "zstd", "lzma", "jpeg"):
        yield f"{compression}.tif", OddFile(encode(marked(), "TIFF", compression=compression))
    for compression in ("group3", "group4", "tiff_ccitt", "tiff_lzw"):
        yield f"bitonal-{compression}.tif", OddFile(encode(_bitonal(), "TIFF", compression=compression))
    yield "grey-jpeg.tif", OddFile(encode(_grey(), "TIFF", compression="jpeg"))
    for mode in ("CMYK", "YCbCr", "LAB", "RGBA", "LA", "I;16", "I", "F"):
        page = _grey() if mode in {"LA", "I;16", "I", "F"} else marked()
        yield f"{mode.replace(';', '-')}.tif", OddFile(encode(page.convert(mode), "TIFF", compression="tiff_lzw"))
    yield "palette.tif", OddFile(encode(_palette(), "TIFF", compression="tiff_lzw"))
    for orientation in (3, 6):
        tags = {ORIENTATION_TAG: orientation}
        yield f"turned-{orientation}.tif", OddFile(encode(_turned(orientation), "TIFF", tiffinfo=tags))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    yield "profile.tif", OddFile(encode(marked().convert("CMYK"), "TIFF", icc_profile=profile))
    mixed = [_bitonal((300, 200)), _grey((120, 400)), _palette()]
    book = encode(marked(), "TIFF", compression="tiff_lzw", save_all=True, append_images=mixed)
    yield "pages-of-many-sizes.tif", OddFile(book, ["png"] * 4)
    yield "tiff-named.jpg", OddFile(encode(marked(), "TIFF"))


def _tiff_samples() -> Iterator[tuple[str, OddFile]]:
    rgb, grey = marked().tobytes(), _grey().tobytes()
    width = PAGE_PX[0]
    planes = b"".join(band.tobytes() for band in marked().split())
    deep = [level * 257 for level in rgb]
    twelve_in_16 = [level * 16 for level in grey]
    white = (255).__sub__
    inks = marked().convert("CMYK").tobytes()
    kinds: dict[str, dict[str, Any]] = {
        "planes": tiff_page(planes, width, bits=8, channels=3, photometric=RGB, tags={284: [2]}),
        "planes-of-16-bits": tiff_page(
            [level * 257 for level in planes], width, channels=3, photometric=RGB, tags={284: [2]}
        ),
        "colour-of-16-bits": tiff_page(deep, width, channels=3, photometric=RGB, compression=DEFLATE),
        "12-bits-in-16": tiff_page(twelve_in_16, width),
        "white-is-zero-of-16-bits": tiff_page([white(level) * 257 for level in grey], width, photometric=MIN_IS_WHITE),
        "white-is-zero": tiff_page(bytes(map(white, grey)), width, bits=8, photometric=MIN_IS_WHITE),
        "cmyk-of-16-bits": tiff_page([level * 257 for level in inks], width, channels=4, photometric=CMYK),
        "float": tiff_page([level / 255 for level in grey], width, bits=32, sample_format=FLOAT),
        "cielab": tiff_page(_cielab(), width, bits=8, channels=3, photometric=CIELAB),
        "palette-of-8-bits": tiff_page(
            _palette().tobytes(), width, bits=8, photometric=PALETTE, tags={320: _colour_map(_palette())}
        ),
        "tiles": _tiles(),
    }
    for name, page in kinds.items():
        yield f"{name}.tif", OddFile(tiff(page))
    yield "big.tif", OddFile(tiff(kinds["tiles"], kinds["planes"], big=True), ["png"] * 2)
    big_endian = tiff_page(deep, width, channels=3, photometric=RGB, order=">")
    yield "big-endian.tif", OddFile(tiff(big_endian, order=">"))


def _tiles() -> dict[str, Any]:
    """Return a page of tiles of 64×64 px, of which those at the right and bottom are padded with black."""
    edge = 64
    padded = Image.new("RGB", (256, 320))
    padded.paste(marked())
    page = tiff_page(
        marked().tobytes(), PAGE_PX[0], bits=8, channels=3, photometric=RGB, tags={322: [edge], 323: [edge]}
    )
    boxes = [(x, y, x + edge, y + edge) for y in range(0, padded.height, edge) for x in range(0, padded.width, edge)]
    return {**page, "strips": [padded.crop(box).tobytes() for box in boxes]}


def _cielab() -> bytes:
    """Return the page in CIELAB of signed 8 bits; the corner has L* 47, a* 67, b* 47."""
    corner, paper = bytes([120, 67, 47]), bytes([255, 0, 0])
    return b"".join(corner if x < 60 and y < 60 else paper for y in range(PAGE_PX[1]) for x in range(PAGE_PX[0]))


def _colour_map(image: Image.Image) -> list[int]:
    palette = image.getpalette() or []
    palette += [0] * (768 - len(palette))
    return [*palette[::3], *palette[1::3], *palette[2::3]]


def _damaged_tiffs() -> Iterator[tuple[str, OddFile]]:
    page = tiff_page(marked().tobytes(), PAGE_PX[0], bits=8, channels=3, photometric=RGB)
    yield "big-in-big-endian.tif", OddFile(tiff(page, order=">", big=True), ["unsupported"])
    unknown = tiff_page(bytes(9), PAGE_PX[0], bits=8, compression=JPEG_2000_IN_TIFF)
    yield "jpeg-2000-inside.tif", OddFile(tiff(page, unknown, page), ["png", "unsupported", "png"])
    whole = encode(noise(PAGE_PX), "TIFF", compression="tiff_lzw")
    yield "cut-off.tif", OddFile(whole[: len(whole) // 2], ["truncated"])


def _jpegs() -> Iterator[tuple[str, OddFile]]:
    yield "cmyk.jpg", OddFile(encode(marked().convert("CMYK"), "JPEG"), ["jpeg"], is_sent_unchanged=True)
    inks = marked(SMALL_PX).convert("CMYK")
    yield "cmyk-inverted.jpg", OddFile(encode(inks, "JPEG"))  # Pillow writes Adobe's marker and inverted inks
    yield "progressive.jpg", OddFile(encode(marked(), "JPEG", progressive=True), ["jpeg"], is_sent_unchanged=True)
    yield "turned-6.jpg", OddFile(encode(_turned(6), "JPEG", exif=_exif(6)))
    yield (
        "two-pictures.mpo",
        OddFile(
            encode(marked(), "MPO", save_all=True, append_images=[noise(PAGE_PX)]), ["jpeg"], is_sent_unchanged=True
        ),
    )
    cut = encode(noise(PAGE_PX), "JPEG")
    yield "cut-off.jpg", OddFile(cut[: len(cut) // 2], ["truncated"])
    yield "noise.jpg", OddFile(encode(noise((5000, 600)), "JPEG"), ["jpeg"])


def _pngs() -> Iterator[tuple[str, OddFile]]:
    plain = encode(marked(SMALL_PX), "PNG")
    gamma = _chunk(b"gAMA", struct.pack(">I", 45455))
    yield "gamma.png", OddFile(plain[:33] + gamma + plain[33:])
    yield "16-bits.png", OddFile(encode(_grey(SMALL_PX).convert("I").point(lambda x: x * 257).convert("I;16"), "PNG"))
    palette = marked(SMALL_PX).quantize(4)
    paper = palette.getpixel((89, 134))
    yield "transparent-colour.png", OddFile(encode(palette, "PNG", transparency=paper))
    yield "alpha.png", OddFile(encode(_transparent(SMALL_PX), "PNG"))
    yield "1-bit.png", OddFile(encode(_bitonal(SMALL_PX), "PNG"))
    frames = [noise(SMALL_PX, seed=seed) for seed in (1, 2)]
    yield "animated.png", OddFile(encode(marked(SMALL_PX), "PNG", save_all=True, append_images=frames))
    yield (
        "animated-that-fits.png",
        OddFile(
            encode(marked(), "PNG", save_all=True, append_images=[noise(PAGE_PX)]), ["png"], is_sent_unchanged=True
        ),
    )
    yield "of-a-telephone.png", OddFile(plain[:8] + _chunk(b"CgBI", bytes(4)) + plain[8:], ["unsupported"])
    whole = encode(noise(PAGE_PX), "PNG")
    yield "cut-off.png", OddFile(whole[: len(whole) // 2], ["truncated"])


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _gifs_and_webps() -> Iterator[tuple[str, OddFile]]:
    frames = [marked().quantize(4) for _ in range(2)]
    frames[1].paste(frames[1].crop((0, 0, 10, 10)), (150, 150))  # writers drop frames that are equal
    animated = encode(frames[0], "GIF", save_all=True, append_images=frames[1:], disposal=2)
    yield "animated.gif", OddFile(animated, ["png"] * 2)
    yield "still.gif", OddFile(encode(frames[0], "GIF"), ["gif"], is_sent_unchanged=True)
    yield "transparent.gif", OddFile(encode(_transparent(SMALL_PX), "GIF"))
    yield "alpha.webp", OddFile(encode(_transparent(SMALL_PX), "WEBP", lossless=True))
    moving = [noise(SMALL_PX, seed=seed) for seed in (1, 2)]
    yield "animated.webp", OddFile(encode(marked(SMALL_PX), "WEBP", save_all=True, append_images=moving))
    whole = encode(noise(PAGE_PX), "WEBP", lossless=True)
    yield "cut-off.webp", OddFile(whole[: len(whole) // 2], ["truncated"])


def _bmps() -> Iterator[tuple[str, OddFile]]:
    for mode in ("1", "L", "P", "RGB", "RGBA"):
        page = _bitonal() if mode == "1" else _grey() if mode == "L" else _palette() if mode == "P" else marked()
        yield f"{mode}.bmp", OddFile(encode(page.convert(mode), "BMP"))
    whole = encode(marked(), "BMP")
    rows = marked().transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    upside_down = bytearray(encode(rows, "BMP"))
    struct.pack_into("<i", upside_down, 22, -PAGE_PX[1])
    yield "top-down.bmp", OddFile(bytes(upside_down))
    yield "unused-alpha.bmp", OddFile(_bmp(32, [b"\x14\x14\xdc\0", b"\xff\xff\xff\0"]))
    yield "16-bits.bmp", OddFile(_bmp(16, [struct.pack("<H", 27 << 10 | 2 << 5 | 2), struct.pack("<H", 0x7FFF)]))
    png_inside = bytearray(whole)
    png_inside[30] = 5
    yield "png-inside.bmp", OddFile(bytes(png_inside), ["unsupported"])
    yield "cut-off.bmp", OddFile(whole[: len(whole) // 2], ["truncated"])


def _bmp(bits: int, pixels: Sequence[bytes]) -> bytes:
    """Return the page as a BMP of these pixels for the corner and the paper."""
    corner, paper = pixels
    width, height = PAGE_PX
    rows = [b"".join(corner if x < 60 and y < 60 else paper for x in range(width)) for y in range(height)]
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, 0, 0, 0, 0, 0, 0)
    body = b"".join(reversed(rows))
    return b"BM" + struct.pack("<IHHI", 54 + len(body), 0, 0, 54) + header + body


def _pnms() -> Iterator[tuple[str, OddFile]]:
    width, height = PAGE_PX
    size = b"%d %d\n" % PAGE_PX
    grey, rgb = _grey().tobytes(), marked().tobytes()
    bits = [1 - level // 255 for level in _bitonal().convert("L").tobytes()]
    floats = [level / 255 for row in range(height) for level in grey[(height - 1 - row) * width :][:width]]
    files = {
        "plain.pbm": b"P1\n# by hand\n" + size + b" ".join(b"%d" % bit for bit in bits),
        "plain.pgm": b"P2\n" + size + b"255\n" + b" ".join(b"%d" % level for level in grey),
        "plain.ppm": b"P3\n" + size + b"255\n" + b" ".join(b"%d" % level for level in rgb),
        "raw.pbm": encode(_bitonal(), "PPM"),
        "raw.pgm": b"P5\n#\n" + size + b"255\n" + grey,
        "raw.ppm": b"P6 " + size + b"255\n" + rgb,
        "16-bits.pgm": b"P5\n" + size + b"65535\n" + struct.pack(f">{len(grey)}H", *(x * 257 for x in grey)),
        "16-bits.ppm": b"P6\n" + size + b"65535\n" + struct.pack(f">{len(rgb)}H", *(x * 257 for x in rgb)),
        "float.pnm": b"Pf\n" + size + b"-1.0\n" + struct.pack(f"<{len(floats)}f", *floats),
    }
    yield from ((name, OddFile(data)) for name, data in files.items())
    yield "cut-off.ppm", OddFile(files["raw.ppm"][:-3000], ["truncated"])


def _jpeg_2000s() -> Iterator[tuple[str, OddFile]]:
    yield "colour.jp2", OddFile(encode(marked(), "JPEG2000"))
    yield "grey.jp2", OddFile(encode(_grey(), "JPEG2000"))
    yield "alpha.jp2", OddFile(encode(_transparent(), "JPEG2000"))
    yield (
        "16-bits.jp2",
        OddFile(encode(_grey().convert("I").point(lambda level: level * 257).convert("I;16"), "JPEG2000")),
    )
    yield (
        "lossy.jpx",
        OddFile(encode(marked(), "JPEG2000", irreversible=True, quality_mode="rates", quality_layers=[20]), ["png"]),
    )
    yield "codestream.j2k", OddFile(encode(marked(), "JPEG2000", no_jp2=True))
    yield "tiles.jp2", OddFile(encode(marked(), "JPEG2000", tile_size=(128, 128)))
    yield "large.jp2", OddFile(encode(marked((8200, 2800)), "JPEG2000"))
    yield "large-of-one-resolution.jp2", OddFile(encode(marked((8200, 2800)), "JPEG2000", num_resolutions=1))
    whole = encode(noise(PAGE_PX), "JPEG2000")
    yield "cut-off.jp2", OddFile(whole[: len(whole) // 2], ["truncated"])


def _heifs() -> Iterator[tuple[str, OddFile]]:
    yield "page.heic", OddFile((HEIC / "page.heic").read_bytes())
    yield "two-images.heic", OddFile((HEIC / "two.heic").read_bytes())
    yield "cut-off.heic", OddFile((HEIC / "page.heic").read_bytes()[:450], ["truncated"])
    yield "colour.avif", OddFile(encode(marked(), "AVIF"))
    yield "alpha.avif", OddFile(encode(_transparent(), "AVIF"))
    yield "turned-6.avif", OddFile(encode(_turned(6), "AVIF", exif=_exif(6)))
    moving = [noise(PAGE_PX, seed=seed) for seed in (1, 2)]
    yield "animated.avif", OddFile(encode(marked(), "AVIF", save_all=True, append_images=moving))
    whole = encode(noise(PAGE_PX), "AVIF")
    yield "cut-off.avif", OddFile(whole[: len(whole) // 2], ["truncated"])
    yield "avif-named.heic", OddFile(encode(marked(), "AVIF"))


def _others() -> Iterator[tuple[str, OddFile]]:
    yield "document-named.tif", OddFile(b"AT&TFORM", ["not-an-image"])
    yield "text-named.png", OddFile(b"P1 of the plan: 3 or 4 scans\n", ["not-an-image"])
    yield "empty.jpg", OddFile(b"", ["empty"])
    yield "icon.png", OddFile(encode(Image.new("L", (4, 4)), "PNG"), ["unfittable"])
    yield "line.tif", OddFile(encode(Image.new("L", (9000, 7)), "TIFF"), ["unfittable"])
