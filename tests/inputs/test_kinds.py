"""Kinds of files: what names and first bytes say."""

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.inputs.kinds import (
    HEAD_BYTES,
    IMAGE_SUFFIXES,
    NO_PAGE_SUFFIXES,
    NameClass,
    class_of_name,
    describe_ignored,
    format_of,
    heif_format,
    ignored_kind,
    is_image,
    is_pdf,
    is_text,
    kind_of_name,
)

FORMATS = ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "JPEG2000", "PPM", "AVIF"]
OTHERS = [
    pytest.param(b"PK\x03\x04\x14\0", ".zip", id="zip"),
    pytest.param(b"PK\x03\x04\x14\0a.pdf%PDF-1.7", ".zip", id="zip-that-holds-a-pdf"),
    pytest.param(bytes(257) + b"ustar\0" + bytes(249) + b"%PDF-1.7", ".tar", id="tar-that-holds-a-pdf"),
    pytest.param(b"How %PDF- begins", "no suffix", id="text-about-pdfs"),
    pytest.param(b"PK\x05\x06" + bytes(18), ".zip", id="empty-zip"),
    pytest.param(b"\0\0\0\x20ftypisom\0\0\0\0", ".mp4", id="mp4"),
    pytest.param(b"\xff\x0a" + bytes(8), ".jxl", id="jpeg-xl"),
    pytest.param(b"AT&TFORM\0\0", ".djvu", id="djvu"),
    pytest.param(b"8BPS\0\1", ".psd", id="photoshop"),
    pytest.param(bytes(257) + b"ustar\0", ".tar", id="tar"),
    pytest.param(b"\x1f\x8b\x08\0", ".gz", id="gzip"),
    pytest.param(b"RIFF\x24\0\0\0WAVEfmt ", "no suffix", id="sound-in-the-container-of-webp"),
    pytest.param(b"II*\0\x10\0\0\0CR\x02\0", "no suffix", id="raw-of-a-camera"),
    pytest.param(b"BM is a maker of cars, they say\n", "no suffix", id="text-that-begins-like-a-bmp"),
    pytest.param(b"P1 of the plan: 3 or 4 scans\n", "no suffix", id="text-that-begins-like-a-pnm"),
    pytest.param(b"BM", "no suffix", id="two-letters"),
    pytest.param(b"", "no suffix", id="empty"),
    pytest.param(b"\0\0\1\0\1\0", "no suffix", id="icon"),
]


def encode(image_format: str) -> bytes:
    """Return the first bytes of a small image."""
    buffer = io.BytesIO()
    Image.new("RGB", (120, 120)).save(buffer, image_format)
    return buffer.getvalue()[:HEAD_BYTES]


@pytest.mark.parametrize("image_format", FORMATS)
def test_the_first_bytes_name_the_format(image_format: str) -> None:
    names = {"JPEG2000": "jp2", "PPM": "pnm"}
    assert format_of(encode(image_format)[:HEAD_BYTES]) == names.get(image_format, image_format.lower())


@pytest.mark.parametrize(
    ("head", "expected"),
    [(b"%PDF-1.7", "pdf"), (b"MM\0+\0\x08\0\0", "tiff"), (b"", None), (b"GIF", None), (b"Plain text", None)],
    ids=repr,
)
def test_other_first_bytes(head: bytes, expected: str | None) -> None:
    assert format_of(head) == expected


@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.parametrize("name", ["scan", "scan.dat", "scan.0001", "a/b.c/scan"])
def test_an_image_is_a_page_under_any_name_that_does_not_decide(image_format: str, name: str) -> None:

    assert class_of_name(name) is NameClass.UNDECIDED
    assert ignored_kind(name, encode(image_format)) is None


@pytest.mark.parametrize("head", [b"MM\0*\0\0\0\x08", b"II+\0\x08\0\0\0", b"MM\0+\0\x08\0\0"], ids=repr)
def test_all_byte_orders_and_sizes_of_tiff_are_images(head: bytes) -> None:
    assert is_image(head)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        pytest.param(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "heic", id="telephone"),
        pytest.param(b"\0\0\0\x1cftypmif1\0\0\0\0mif1heicmiaf", "heic", id="brand-of-both-with-heic"),
        pytest.param(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "avif", id="brand-of-both-with-avif"),
        pytest.param(b"\0\0\0\x14ftypmif1\0\0\0\0mif1avif", "heic", id="brands-end-with-their-box"),
        pytest.param(b"\0\0\0\x1cftypavis\0\0\0\0avisavif", "avif", id="sequence"),
        pytest.param(b"\0\0\0\x18ftypisom\0\0\0\0isomavc1", None, id="film"),
        pytest.param(b"\0\0\0\x18ftyp", None, id="cut-off"),
    ],
)
def test_the_brands_tell_heic_from_avif(head: bytes, expected: str | None) -> None:
    assert heif_format(head) == expected
    assert is_image(head) == (expected is not None)


@pytest.mark.parametrize("head", [b"%PDF-1.7\n", b"\n" * 900 + b"%PDF-1.4"], ids=["pdf", "pdf-after-other-bytes"])
def test_a_pdf_holds_pages_under_any_name_that_does_not_decide(head: bytes) -> None:
    assert ignored_kind("some/file", head) is None
    assert class_of_name("a.PDF") is NameClass.PAGE


@pytest.mark.parametrize(("head", "kind"), OTHERS)
def test_the_first_bytes_name_the_kind_of_a_file_without_a_suffix(head: bytes, kind: str) -> None:
    assert ignored_kind("some/file", head) == kind


@pytest.mark.parametrize(
    ("name", "head", "kind"),
    [
        pytest.param("a.HEIC", b"not one", ".heic", id="suffix-in-any-case"),
        pytest.param("a.cbz", b"PK\x03\x04", ".cbz", id="container-by-its-suffix"),
        pytest.param("a.dat", b"AT&TFORM", ".djvu", id="content-before-an-unknown-suffix"),
        pytest.param("a.xyz", b"?", ".xyz", id="unknown-suffix"),
        pytest.param("a.001", b"?", "other", id="number"),
        pytest.param("a.20240131", b"?", "other", id="day"),
        pytest.param("a.very-long-ending", b"?", "other", id="long"),
        pytest.param("a.", b"?", "other", id="dot-at-the-end"),
        pytest.param("a.扫描", b"?", "other", id="other-script"),
        pytest.param("folder.jpg/a", b"?", "no suffix", id="suffix-of-the-folder"),
    ],
)
def test_an_ignored_file_is_counted_under_a_kind_that_says_something(name: str, head: bytes, kind: str) -> None:
    assert ignored_kind(name, head) == kind


@pytest.mark.parametrize("name", ["a.txt", "a.DOCX", "a.mp3", "Thumbs.db", "a.jpg.xml", "a.dng", "a.NEF", "a.jpg.part"])
def test_known_suffixes_are_ignored_unopened(name: str) -> None:
    """Raw files of cameras begin like a TIFF, whose first frame is a thumbnail; a `.part` is a download under way."""
    assert class_of_name(name) is NameClass.IGNORED
    assert kind_of_name(name) == f".{name.rpartition('.')[2].lower()}"


def test_no_suffix_is_in_two_lists() -> None:
    assert NO_PAGE_SUFFIXES.isdisjoint(IMAGE_SUFFIXES)
    assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in NO_PAGE_SUFFIXES)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        pytest.param(b"# Notes\r\n\ttabs\n", True, id="ascii"),
        pytest.param("# 笔记\n".encode(), True, id="utf-8"),
        pytest.param("# 笔记\n".encode("gb18030"), True, id="gb18030"),
        pytest.param(b"\x1b[31mred\x1b[0m", True, id="colours-of-a-terminal"),
        pytest.param(b"a\0b", False, id="nul"),
        pytest.param(b"%PDF-1.7\n", False, id="pdf"),
        pytest.param(b"GIF89a", False, id="image"),
        pytest.param(b"", False, id="empty"),
    ],
)
def test_a_text_has_no_control_characters_and_no_signature(head: bytes, expected: bool) -> None:  # noqa: FBT001
    assert is_text(head) is expected


@given(st.binary(max_size=300), st.text(max_size=12))
def test_any_bytes_and_name_have_one_kind_or_are_a_page(head: bytes, name: str) -> None:
    kind = ignored_kind(name, head)
    assert (kind is None) == (is_image(head) or is_pdf(head))
    assert kind is None or (kind.isprintable() and 0 < len(kind) <= 12)


def test_kinds_are_shown_by_frequency_and_the_rare_ones_together() -> None:
    assert describe_ignored({}) == ""
    assert describe_ignored({"symlink": 2, ".pdf": 1200, ".heic": 2}) == "1,200 .pdf, 2 .heic, 2 symlink"
    assert describe_ignored({f".k{i}": i for i in range(1, 6)}, most=3) == "5 .k5, 4 .k4, 3 .k3, 3 of 2 other kinds"


def test_the_sample_pages_are_recognised_by_their_content(tmp_path: Path) -> None:
    del tmp_path
    root = Path(__file__).parents[2] / "sample_data"
    pages = [path for path in root.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES]
    assert pages
    assert all(is_image(path.read_bytes()[:HEAD_BYTES]) for path in pages)
