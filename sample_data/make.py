"""Render every sample page, its true text and the manifest from `pages.toml`: the same bytes on every run.

`python sample_data/make.py [DEST]` writes into DEST, by default the directory of this file. It needs Pillow, numpy and
two font packages: `apt-get install fonts-noto-cjk fonts-liberation`.

In `pages.toml` each line of a text is rendered as one line. `# ` makes it a centred heading, `> ` aligns it right,
` | ` moves to the next quarter of the width, and an empty line is half a line of space.
"""

import csv
import shutil
import sys
import tomllib
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

HERE = Path(__file__).parent
ORIENTATION_TAG = 0x0112  # Exif 2.32, "Orientation"
MANIFEST_COLUMNS = ("path", "collection", "language", "title", "year")
LINE_HEIGHT_EM = 1.55
COLUMNS = 4
CELL_MARK = " | "


class MissingFontError(Exception):
    """A font is not installed; the message names its Debian package."""


class OverfullPageError(Exception):
    """The text does not fit on its page; the message names the line."""


@dataclass(frozen=True, slots=True)
class Face:
    """A typeface: its regular and bold files, index in the font collection, family name and Debian package."""

    regular: str
    bold: str
    index: int
    family: str
    package: str


_NOTO, _LIBERATION = "/usr/share/fonts/opentype/noto/", "/usr/share/fonts/truetype/liberation/"
FACES = {
    "zh-sans": Face(
        f"{_NOTO}NotoSansCJK-Regular.ttc", f"{_NOTO}NotoSansCJK-Bold.ttc", 2, "Noto Sans CJK SC", "fonts-noto-cjk"
    ),
    "zh-serif": Face(
        f"{_NOTO}NotoSerifCJK-Regular.ttc", f"{_NOTO}NotoSerifCJK-Bold.ttc", 2, "Noto Serif CJK SC", "fonts-noto-cjk"
    ),
} | {
    f"en-{name.lower()}": Face(
        f"{_LIBERATION}Liberation{name}-Regular.ttf",
        f"{_LIBERATION}Liberation{name}-Bold.ttf",
        0,
        f"Liberation {name}",
        "fonts-liberation",
    )
    for name in ("Serif", "Sans", "Mono")
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page as described in `pages.toml`.

    Sizes in px are those of the upright page. The stored pixels are rotated anticlockwise by `turn_deg`; `orientation`
    is the EXIF tag that undoes the rotation, or None. `colours` is rgb, grey (16 levels; 256 in lossy formats) or
    bitonal.
    """

    path: str
    collection: str
    language: str
    title: str
    year: int
    text: str
    face: str = "en-serif"
    size_px: tuple[int, int] = (1000, 1400)
    margin_px: int = 90
    body_px: int = 28
    heading_px: int = 46
    paper: tuple[int, int, int] = (250, 247, 238)
    ink: tuple[int, int, int] = (38, 36, 44)
    noise: float = 3.0
    skew_deg: float = 0.0
    turn_deg: int = 0
    orientation: int | None = None
    colours: str = "grey"
    quality: int = 80
    copies: tuple[str, ...] = ()

    @property
    def truth(self) -> str:
        """The true text of the page: one line per line, with a space between columns."""
        lines = (" ".join(filter(None, _words(line).split(CELL_MARK))) for line in self.text.splitlines())
        return "".join(f"{line}\n" for line in lines if line)


def _words(line: str) -> str:
    """Return the line without its markup."""
    return line.removeprefix("# ").removeprefix("> ")


def load_pages(path: Path = HERE / "pages.toml") -> tuple[Page, ...]:
    """Return all pages in the manifest's order."""
    tables: list[dict[str, Any]] = tomllib.loads(path.read_text(encoding="utf-8"))["page"]
    return tuple(Page(**_frozen(table)) for table in tables)


def _frozen(table: dict[str, Any]) -> dict[str, Any]:
    """Return the table with its arrays as tuples."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}


def load_font(name: str, size_px: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Return a font of `FACES`.

    Raises:
        MissingFontError: the file is missing or contains another family.
    """
    face = FACES[name]
    path = face.bold if bold else face.regular
    try:
        font = ImageFont.truetype(path, size_px, index=face.index, layout_engine=ImageFont.Layout.BASIC)
    except OSError as exc:
        raise MissingFontError(f"{path} is missing: apt-get install {face.package}") from exc
    if font.getname()[0] != face.family:
        raise MissingFontError(
            f"{path} contains {font.getname()[0]}, not {face.family}: apt-get install {face.package}"
        )
    return font


def draw_ink(page: Page) -> Image.Image:
    """Return the upright page's ink as a mask: 0 is paper, 255 is ink.

    Raises:
        OverfullPageError: a line exceeds the margins.
    """
    mask = Image.new("L", page.size_px)
    draw = ImageDraw.Draw(mask)
    body, heading = load_font(page.face, page.body_px), load_font(page.face, page.heading_px, bold=True)
    top = page.margin_px
    for line in page.text.splitlines():
        font = heading if line.startswith("# ") else body
        _draw_line(draw, page, font, line, top)
        top += round(font.size * LINE_HEIGHT_EM * (1.0 if line else 0.5))
    if top > page.size_px[1] - page.margin_px + page.body_px:
        raise OverfullPageError(f"{page.path}: the text ends at {top} px")
    return mask


def _draw_line(draw: ImageDraw.ImageDraw, page: Page, font: ImageFont.FreeTypeFont, line: str, top: int) -> None:
    """Draw one line, each cell at its column."""
    room = page.size_px[0] - 2 * page.margin_px
    shift = {"# ": 0.5, "> ": 1.0}.get(line[:2], 0.0)
    filled = [(room * n // COLUMNS, cell) for n, cell in enumerate(_words(line).split(CELL_MARK)) if cell]
    ends = [start for start, _ in filled[1:]] + [room]
    for (start, cell), end in zip(filled, ends, strict=False):
        spare = end - start - font.getlength(cell)
        if spare < 0:
            raise OverfullPageError(f"{page.path}: {-spare:.0f} px too wide: {cell}")
        draw.text((round(page.margin_px + start + spare * shift), top), cell, fill=255, font=font)


def add_scan_effects(page: Page, ink: Image.Image) -> Image.Image:
    """Return the page as a scan: skewed, slightly blurred, on tinted paper with a shadow and noise."""
    if page.noise:
        ink = ink.rotate(page.skew_deg, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(0.4))
    width, height = page.size_px
    cover = np.asarray(ink, dtype=np.float32)[..., None] / 255
    paper = np.asarray(page.paper, dtype=np.float32)
    pixels = paper + (np.asarray(page.ink, dtype=np.float32) - paper) * cover
    if page.noise:
        shadow = np.linspace(-6, 2, width, dtype=np.float32)[None, :, None]
        pixels += shadow + page.noise * _noise(page.path, (height, width))[..., None]
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))


def _noise(seed: str, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return normal noise of deviation 1; from `RandomState`, whose streams numpy keeps unchanged (NEP 19)."""
    random = np.random.RandomState(zlib.crc32(seed.encode()))
    return random.standard_normal(shape).astype(np.float32)


def render(page: Page) -> Image.Image:
    """Return the page's stored pixels."""
    image = add_scan_effects(page, draw_ink(page)).rotate(page.turn_deg, expand=True)
    match page.colours:
        case "rgb":
            return image
        case "bitonal":
            return image.convert("L").point(lambda level: 255 * (level > 140), "1")
        case _ if page.path.endswith((".jpg", ".webp")):
            return image.convert("L")
        case _:  # 16 levels halve the size of a noisy page
            return image.convert("L").point(lambda level: level // 17 * 17)


def write_image(page: Page, path: Path) -> None:
    """Write the page in the format of its suffix."""
    image, exif = render(page), Image.Exif()
    match path.suffix:
        case ".jpg":
            if page.orientation:
                exif[ORIENTATION_TAG] = page.orientation
            image.save(path, quality=page.quality, optimize=True, exif=exif)
        case ".webp":
            image.save(path, quality=page.quality, method=6)
        case ".tif":
            image.save(path, compression="group4", dpi=(150, 150))
        case ".gif" | ".png" if page.colours == "grey":
            image.quantize(16).save(path, optimize=True)
        case _:
            image.save(path, optimize=True)


def make_page(page: Page, dest: Path) -> None:
    """Write the page, its copies and the true text of each under `dest`."""
    original = dest / page.path
    for name in (page.path, *page.copies):
        path, truth = dest / name, dest / "truth" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        truth.parent.mkdir(parents=True, exist_ok=True)
        if path == original:
            write_image(page, path)
        else:
            shutil.copyfile(original, path)
        truth.write_text(page.truth, encoding="utf-8")


def write_manifest(pages: tuple[Page, ...], path: Path) -> None:
    """Write a row per page; the columns after the path become the record's `meta`."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(MANIFEST_COLUMNS)
        for page in pages:
            for name in (page.path, *page.copies):
                writer.writerow((name, page.collection, page.language, page.title, page.year))


def main() -> int:
    """Write all pages and the manifest; on an error print one line to stderr and return 1."""
    dest = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    pages = load_pages()
    try:
        for page in pages:
            make_page(page, dest)
    except (MissingFontError, OverfullPageError) as exc:
        print(f"make.py: {exc}", file=sys.stderr)
        return 1
    write_manifest(pages, dest / "manifest.csv")
    return 0


if __name__ == "__main__":
    sys.exit(main())
