"""What the header of a file says, beside what its conversion makes of it."""

import io
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from pipeline.errors import PageError
from pipeline.inputs.archives.lookup import find_member
from pipeline.inputs.conversion import Converter
from pipeline.inputs.headers import Header, format_of_name, read_header
from pipeline.inputs.image import ImageFile
from pipeline.members import Member
from pipeline.records import FileStat, SourceFile
from tests.inputs.images import ORIENTATION_TAG, VENDOR, encode, marked, noise, prepare_next


def as_source(path: Path, *, undecided: bool = False) -> SourceFile:
    """Return a file as the source finds it."""
    stat = path.stat()
    return SourceFile(path.name, path, FileStat(stat.st_size, stat.st_mtime_ns), undecided=undecided)


def turned_jpeg() -> bytes:
    """Return a JPEG that must be turned upright."""
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = 6
    return encode(marked(), "JPEG", exif=exif)


def frames(image_format: str, number: int) -> bytes:
    """Return a file of several pages."""
    pages = [noise((120, 120), seed=seed) for seed in range(number)]
    buffer = io.BytesIO()
    pages[0].save(buffer, image_format, save_all=True, append_images=pages[1:])
    return buffer.getvalue()


FILES = {
    "a.jpg": encode(marked(), "JPEG"),
    "a.png": encode(marked(), "PNG"),
    "a.webp": encode(marked(), "WEBP"),
    "a.bmp": encode(marked(), "BMP"),
    "a.gif": encode(marked(), "GIF"),
    "frames.gif": frames("GIF", 3),
    "frames.tif": frames("TIFF", 4),
    "turned.jpg": turned_jpeg(),
    "small.png": encode(marked((70, 70)), "PNG"),
    "large.png": encode(Image.new("L", (5000, 5000)), "PNG"),
    "tiny.png": encode(Image.new("L", (4, 4)), "PNG"),
    "tall.png": encode(Image.new("L", (100, 30_000)), "PNG"),
    "tall.tif": encode(Image.new("L", (100, 30_000)), "TIFF", compression="tiff_lzw"),
    "empty.jpg": b"",
    "text.png": b"no image",
    "trailing.jpg": encode(marked(), "JPEG") + b"more",
}


def test_the_pages_below_a_size_are_named(tmp_path: Path) -> None:
    """By their longer edge, also of frames; one that is also too small to be read is skipped, not failed."""
    settings = replace(VENDOR, skips_below_px=150)
    for name, image, smaller in (
        ("wide.png", Image.new("L", (150, 20)), set()),
        ("thumb.png", Image.new("L", (149, 149)), {1}),
        ("dot.bmp", Image.new("L", (2, 2)), {1}),
    ):
        image.save(tmp_path / name)
        header = read_header(as_source(tmp_path / name), settings)
        assert (set(header.smaller), dict(header.failing)) == (smaller, {})
    first, *rest = [Image.new("L", size) for size in ((300, 300), (90, 90), (4, 4), (200, 100))]
    first.save(tmp_path / "frames.tif", save_all=True, append_images=rest)
    header = read_header(as_source(tmp_path / "frames.tif"), settings)
    assert (header.pages, set(header.smaller), header.conversions) == (4, {2, 3}, 2)


@pytest.mark.parametrize("name", FILES)
def test_pages_and_failures_are_those_of_the_conversion(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(FILES[name])
    header = read_header(as_source(path), VENDOR)
    image, converter = ImageFile(path, VENDOR), Converter()
    failing: Counter[str] = Counter()
    number = conversions = 0
    while number == 0 or number < image.pages:
        number += 1
        try:
            payload = prepare_next(image, number, converter)
        except PageError as exc:
            failing[exc.name] += 1
        else:
            assert payload.prep is not None
            conversions += payload.prep.bytes != len(FILES[name]) or name == "trailing.jpg"
    assert (header.pages, header.failing) == (image.pages, failing)
    assert header.conversions >= conversions


@pytest.mark.parametrize("name", FILES)
def test_a_member_of_an_archive_is_read_as_a_file_is(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(FILES[name])
    with zipfile.ZipFile(tmp_path / "box.zip", "w", zipfile.ZIP_DEFLATED) as box:
        box.write(tmp_path / name, name)
    member = find_member(str(tmp_path / "box.zip" / name))
    assert isinstance(member, Member)
    packed = SourceFile(f"box.zip/{name}", tmp_path / "box.zip" / name, None, member=member)
    assert read_header(packed, VENDOR) == read_header(as_source(tmp_path / name), VENDOR)


@pytest.mark.parametrize(
    "content", [FILES["a.jpg"][:200], FILES["a.png"][:20], b"II*\0\xff\xff\xff\xff"], ids=["jpeg", "png", "tiff"]
)
def test_a_damaged_header_counts_as_a_call(tmp_path: Path, content: bytes) -> None:
    """Only decoding would tell."""
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    header = read_header(as_source(path), VENDOR)
    assert (header.pages, dict(header.failing)) == (1, {})


def test_the_first_bytes_decide_where_the_name_does_not(tmp_path: Path) -> None:
    (tmp_path / "page").write_bytes(FILES["a.jpg"])
    (tmp_path / "book.xyz").write_bytes(b"AT&TFORM")
    assert read_header(as_source(tmp_path / "page", undecided=True), VENDOR) == Header("jpeg")
    assert read_header(as_source(tmp_path / "book.xyz", undecided=True), VENDOR).ignored == ".djvu"
    gone = replace(as_source(tmp_path / "page", undecided=True), path=tmp_path / "gone")
    assert read_header(gone, VENDOR).ignored == "unreadable"


def test_a_large_file_is_not_read_whole(tmp_path: Path) -> None:
    """Sparse: 1 GB behind the header of a TIFF."""
    path = tmp_path / "a.tif"
    path.write_bytes(FILES["frames.tif"])
    with path.open("r+b") as file:
        file.truncate(1 << 30)
    assert read_header(as_source(path), VENDOR).pages == 4


@pytest.mark.parametrize(
    ("name", "known"), [("a.JPE", "jpeg"), ("b/c.tif", "tiff"), ("x", "unknown"), ("y.webp", "webp")]
)
def test_formats_by_name(name: str, known: str) -> None:
    assert format_of_name(name) == known
