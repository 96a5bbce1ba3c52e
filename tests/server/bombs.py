"""Malicious image files: small files that announce or unpack to something huge, endless or broken."""

import random
import struct
import zlib
from io import BytesIO

from PIL import Image

from tests.rendering import encode

PNG = b"\x89PNG\r\n\x1a\n"


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk with its checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width_px: int, height_px: int, *, chunks: bytes = b"", data: bytes = b"", colour: int = 2) -> bytes:
    """Return a PNG with this header and these data, valid or not."""
    header = struct.pack(">IIBBBBB", width_px, height_px, 8, colour, 0, 0, 0)
    return PNG + png_chunk(b"IHDR", header) + chunks + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")


def png_of_zeros(width_px: int, height_px: int) -> bytes:
    """Return a valid PNG that is a thousand times larger when decoded."""
    packer = zlib.compressobj(1)
    row = bytes(1 + 3 * width_px)
    data = b"".join(packer.compress(row) for _ in range(height_px)) + packer.flush()
    return png(width_px, height_px, data=data)


def png_with_text(unpacked_bytes: int, *, kind: bytes = b"zTXt", times: int = 1) -> bytes:
    """Return a small PNG whose comments or profile unpack to this size each."""
    packed = zlib.compress(bytes(unpacked_bytes), 1)
    chunks = {
        b"zTXt": b"".join(png_chunk(b"zTXt", b"c%d\0\0" % i + packed) for i in range(times)),
        b"iTXt": b"".join(png_chunk(b"iTXt", b"c%d\0\1\0\0\0" % i + packed) for i in range(times)),
        b"iCCP": png_chunk(b"iCCP", b"profile\0\0" + packed),
    }[kind]
    return png(200, 200, chunks=chunks, data=zlib.compress(bytes(200 * 601)))


def gif_frame(left: int, top: int, width_px: int, height_px: int) -> bytes:
    """Return a frame whose data are a single clear code."""
    return b"," + struct.pack("<HHHHB", left, top, width_px, height_px, 0) + b"\x02\x02\x44\x01\x00"


def gif(width_px: int, height_px: int, *frames: bytes) -> bytes:
    """Return a GIF of this screen and these frames."""
    return b"GIF89a" + struct.pack("<HHBBB", width_px, height_px, 0x80, 0, 0) + bytes(6) + b"".join(frames) + b";"


def webp(width_px: int, height_px: int) -> bytes:
    """Return a WebP whose header announces this canvas and whose picture is 100×100."""
    small = encode(Image.new("RGB", (100, 100)), "WEBP")[12:]
    canvas = b"VP8X" + struct.pack("<I", 10) + bytes(4) + (width_px - 1).to_bytes(3, "little")
    body = b"WEBP" + canvas + (height_px - 1).to_bytes(3, "little") + small
    return b"RIFF" + struct.pack("<I", len(body)) + body


def jpeg_of(width_px: int, height_px: int) -> bytes:
    """Return a JPEG whose frame header announces this size."""
    whole = bytearray(encode(Image.new("RGB", (200, 200)), "JPEG"))
    at = whole.index(b"\xff\xc0") + 5
    whole[at : at + 4] = struct.pack(">HH", height_px, width_px)
    return bytes(whole)


def jpeg_with_segments(marker: int, count: int) -> bytes:
    """Return a valid JPEG with this many full application segments in front (1: EXIF, 2: profile)."""
    whole = encode(Image.new("RGB", (200, 200), "white"), "JPEG")
    name = b"Exif\0\0II*\0" if marker == 1 else b"ICC_PROFILE\0\x01\x01"
    segment = bytes([0xFF, 0xE0 + marker]) + struct.pack(">H", 65535) + name.ljust(65533, b"\xff")
    return whole[:2] + segment * count + whole[2:]


def jpeg_of_scans(width_px: int, height_px: int, scans: int) -> bytes:
    """Return a valid progressive JPEG, grey, whose scans after the first change nothing: 40 bytes at 4000×4000 px."""

    def segment(marker: int, data: bytes) -> bytes:
        return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data

    def codes(table: int, symbol: int) -> bytes:
        return segment(0xC4, bytes([table, 1, *[0] * 15, symbol]))

    blocks = -(-width_px // 8) * -(-height_px // 8)
    end_of_blocks = bytes(-(-15 * -(-blocks // 16384) // 8))  # each code ends 16,384 blocks
    frame = struct.pack(">BHHB", 8, height_px, width_px, 1) + b"\x01\x11\x00"
    head = segment(0xDB, b"\0" + bytes([16] * 64)) + segment(0xC2, frame) + codes(0x00, 0x00) + codes(0x10, 0xE0)
    first = segment(0xDA, b"\x01\x01\x00\x00\x00\x00") + bytes(-(-blocks // 8))
    other = segment(0xDA, b"\x01\x01\x00\x01\x3f\x00") + end_of_blocks
    return b"\xff\xd8" + head + first + other * (scans - 1) + b"\xff\xd9"


def animation(frames: int, image_format: str) -> bytes:
    """Return an animated image."""
    pictures = [Image.new("RGB", (120, 120), (i % 256, 255 * (i % 2), 0)) for i in range(frames)]
    buffer = BytesIO()
    pictures[0].save(buffer, image_format, save_all=True, append_images=pictures[1:])
    return buffer.getvalue()


def noise(width_px: int, height_px: int, image_format: str) -> bytes:
    """Return a valid image that does not compress."""
    data = random.Random(1).randbytes(3 * width_px * height_px)
    return encode(Image.frombytes("RGB", (width_px, height_px), data), image_format)


OVERSIZED = {
    "png-bomb": png(65_000, 65_000),
    "png-of-the-largest-number": png(2**31 - 1, 2**31 - 1),
    "png-of-nothing": png(0, 0),
    "png-of-zeros": png_of_zeros(4001, 4001),
    "jpeg-bomb": jpeg_of(65_000, 65_000),
    "gif-screen": gif(65_535, 65_535, gif_frame(0, 0, 1, 1)),
    "gif-frame-beyond-its-screen": gif(200, 200, gif_frame(0, 0, 65_535, 65_535)),
    "gif-frame-far-outside": gif(200, 200, gif_frame(65_000, 65_000, 500, 500)),
    "webp-canvas": webp(16_384, 16_384),
    "webp-canvas-of-the-largest-number": webp(2**24, 2**24),
    "png-strip": png(2**31 - 1, 100),
}
"""Images that the check of the header rejects, so that they are never decoded."""

LARGE_COMMENTS = {
    "comment-bomb": png_with_text(1 << 26),
    "utf-8-comment-bomb": png_with_text(1 << 26, kind=b"iTXt"),
    "many-comment-bombs": png_with_text(1 << 20, times=200),
    "profile-bomb": png_with_text(1 << 26, kind=b"iCCP"),
}
"""Small images whose comments or profile unpack to something huge, which nobody needs."""
