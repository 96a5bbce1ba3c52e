"""Pages rendered at test time, so that no model can have learned their text."""

import random
import subprocess
from functools import cache
from io import BytesIO

from PIL import Image, ImageDraw, ImageFont

HAN = "春夏秋冬东西南北山水田土木火金石天地日月星云风雨雪花草树林河海湖江桥路门窗书纸笔墨文字语言学校图馆史料"
WORDS = (
    "archive",
    "parish",
    "register",
    "harvest",
    "letter",
    "invoice",
    "window",
    "garden",
    "village",
    "bridge",
    "market",
)


@cache
def font(size_px: int, family: str = "Noto Sans CJK SC") -> ImageFont.FreeTypeFont:
    """Return a font that has Latin and Chinese characters."""
    path = subprocess.run(["fc-match", "-f", "%{file}", family], check=True, capture_output=True, text=True).stdout
    return ImageFont.truetype(path, size_px)


def random_line(rng: random.Random, *, chinese: bool = False, length: int = 6) -> str:
    """Return a random line of `length` English words, or of three times as many Chinese characters."""
    if chinese:
        return "".join(rng.choices(HAN, k=3 * length))
    return " ".join(rng.choices(WORDS, k=length))


def render(*lines: str, size_px: tuple[int, int] = (1000, 1300), type_px: int = 32) -> Image.Image:
    """Return a white page with the lines in black, from the top."""
    page = Image.new("RGB", size_px, "white")
    draw = ImageDraw.Draw(page)
    for i, line in enumerate(lines):
        draw.text((size_px[0] * 0.07, size_px[1] * 0.08 + 1.8 * type_px * i), line, "black", font(type_px))
    return page


def encode(picture: Image.Image, image_format: str = "PNG") -> bytes:
    """Return the picture as an image file."""
    buffer = BytesIO()
    picture.save(buffer, image_format)
    return buffer.getvalue()


def turned(picture: Image.Image, clockwise_deg: int) -> Image.Image:
    """Return the picture turned clockwise."""
    return picture.rotate(-clockwise_deg, expand=True)
