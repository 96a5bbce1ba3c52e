"""The pixels of tiles are those of the upright page, whatever the file is; a page is decoded once for all of them."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops

from pipeline.convert.pdf import PdfFile
from pipeline.inputs import cutting
from pipeline.inputs.conversion import Converter
from pipeline.inputs.conversion_messages import PrepareSettings
from pipeline.inputs.image import ImageFile
from pipeline.inputs.page_images import PageImages
from pipeline.pixels.orientation import ORIENTATION_TAG
from pipeline.records import Payload
from pipeline.wire import Limits
from tests.inputs.images import decode, prepare_next, prepare_tiles
from tests.inputs.pdfs import Pdf
from tests.tall_pages import TILES, write_tall_page

SMALL = PrepareSettings(Limits(50, 400))


def show_same(tile: Payload, page: Image.Image) -> bool:
    """Return whether a tile shows its part of the page, apart from scaling."""
    assert tile.tile is not None
    sent = decode(tile).convert("L")
    part = page.convert("L").crop(tile.tile.box).resize(sent.size, Image.Resampling.LANCZOS)
    return max(ImageChops.difference(sent, part).histogram()[60:]) < 20


@pytest.fixture
def page(tmp_path: Path) -> Image.Image:
    return Image.open(write_tall_page(tmp_path / "source.png"))


@pytest.mark.parametrize("name", ["page.png", "page.tif", "page.bmp", "page.webp", "page.gif"])
def test_a_tile_shows_its_part_of_the_page(tmp_path: Path, page: Image.Image, name: str) -> None:
    options: dict[str, Any] = {"lossless": True} if name.endswith("webp") else {}
    page.save(tmp_path / name, **options)
    tiles = prepare_tiles(tmp_path / name, 1, SMALL)
    assert len(tiles) == TILES
    assert all(show_same(tile, page) for tile in tiles)


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_turned_page_is_cut_upright(tmp_path: Path, page: Image.Image, orientation: int) -> None:
    turn = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}[orientation]
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    page.transpose(turn).save(tmp_path / "turned.png", exif=exif)
    tiles = prepare_tiles(tmp_path / "turned.png", 1, SMALL)
    assert len(tiles) == TILES
    assert all(show_same(tile, page) for tile in tiles)


def test_usual_pages_of_the_file_are_not_cut(tmp_path: Path, page: Image.Image) -> None:
    path = tmp_path / "pages.tif"
    usual = page.crop((0, 0, 120, 160))
    usual.save(path, save_all=True, append_images=[page, usual])
    file, converter = ImageFile(path, SMALL), Converter()
    assert [len(prepare_next(file, number, converter).tiles) for number in (1, 2, 3)] == [0, TILES, 0]
    assert all(show_same(tile, page) for tile in prepare_tiles(path, 2, SMALL))


@pytest.mark.parametrize(
    ("kept_bytes", "times"), [pytest.param(1 << 20, 1, id="kept"), pytest.param(1000, TILES, id="too-large")]
)
def test_a_page_is_decoded_once_unless_it_is_too_large_to_be_kept(
    page: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept_bytes: int, times: int
) -> None:
    page.save(tmp_path / "page.png")
    opened: list[int] = []
    open_page = PageImages.open

    def note(file: PageImages, number: int) -> object:
        opened.append(number)
        return open_page(file, number)

    monkeypatch.setattr(PageImages, "open", note)
    monkeypatch.setattr("pipeline.inputs.conversion.MAX_KEPT_BYTES", kept_bytes)
    assert len(prepare_tiles(tmp_path / "page.png", 1, SMALL)) == TILES
    assert len(opened) == times
    assert kept_bytes < cutting.MAX_KEPT_BYTES


def test_a_tall_page_of_a_pdf_is_rendered_tile_by_tile(tmp_path: Path, page: Image.Image) -> None:
    """At 72 dpi a point is a pixel."""
    pytest.importorskip("pypdfium2")
    page.convert("RGB").save(tmp_path / "page.pdf", resolution=72)
    settings = PrepareSettings(Limits(50, 400), pdf_dpi=72)
    tiles = prepare_tiles(tmp_path / "page.pdf", 1, settings)
    assert len(tiles) == TILES
    assert all(show_same(tile, page) for tile in tiles)


def test_a_tall_page_of_type_in_a_pdf_is_rendered_tile_by_tile(tmp_path: Path) -> None:
    """What is rendered of a part is that part of the whole rendering."""
    pytest.importorskip("pypdfium2")
    rows = b"".join(b"BT /F0 10 Tf 6 %d Td (row %03d) Tj ET\n" % (1690 - 20 * row, row) for row in range(84))
    pdf = Pdf()
    pdf.add_page(rows, box=(0, 0, 120, 1700))
    path = tmp_path / "page.pdf"
    path.write_bytes(pdf.to_bytes())
    with PdfFile(path.read_bytes()).open(1) as whole:
        page = whole.render((120, 1700))
    tiles = prepare_tiles(path, 1, PrepareSettings(Limits(50, 400), pdf_dpi=72))
    assert len(tiles) == TILES
    for tile in tiles:
        assert tile.tile is not None
        sent = decode(tile).convert("L")
        part = page.convert("L").crop(tile.tile.box).resize(sent.size, Image.Resampling.LANCZOS)
        # Glyphs are hinted anew at each size, so rows of print are compared, not their pixels.
        ink = [[min(row.tobytes()) < 160 for row in _rows(picture)] for picture in (sent, part)]
        assert sum(one != other for one, other in zip(*ink, strict=True)) < 0.1 * sent.height


def _rows(picture: Image.Image) -> list[Image.Image]:
    return [picture.crop((0, y, picture.width, y + 1)) for y in range(picture.height)]
