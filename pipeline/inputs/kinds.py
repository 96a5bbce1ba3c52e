"""Which files hold pages: by the suffix of their name, and where that does not decide, by their first bytes.

Files with the suffix of an image or a PDF hold pages, those with a suffix known to hold no page are ignored unopened,
and the first bytes decide about all other files: a JPEG without a suffix, or with a wrong one, is a page. An ignored
file has a kind, under which it is counted: mostly its suffix.
"""

import re
from collections.abc import Mapping
from enum import Enum
from typing import Final, Literal

_IMAGE_SUFFIXES: Final = """
.jpg .jpeg .jpe .jfif .png .apng .gif .webp .bmp .dib .tif .tiff .jp2 .j2k .j2c .jpc .jpf .jpx .heic .heif .hif .avif
.pbm .pgm .ppm .pnm
"""
IMAGE_SUFFIXES: Final = tuple(_IMAGE_SUFFIXES.split())
"""Suffixes of images."""

PAGE_SUFFIXES: Final = (*IMAGE_SUFFIXES, ".pdf")
"""Without `include` globs, a file in a directory holds pages when it has one of these suffixes, in any case."""

HEAD_BYTES: Final = 1024
"""Bytes that decide about a file: a PDF's header may follow 1,024 bytes of other data (ISO 32000-1, annex H.3)."""

NO_SUFFIX: Final = "no suffix"
OTHER: Final = "other"
SYMLINK: Final = "symlink"
SYSTEM_FOLDER: Final = "system folder"
OUTPUT_FOLDER: Final = "pagemill output"
SPECIAL_FILE: Final = "special file"
UNREADABLE: Final = "unreadable"
COMMENT: Final = "comment"
OLDER: Final = "older"
OTHER_SHARD: Final = "in other shards"
"""Kinds of ignored files, and of ignored lines, that are no suffixes."""
LEFT_KINDS: Final = frozenset({OLDER, OTHER_SHARD})
"""Kinds of files that may be pages, and that this run leaves out."""

ARCHIVE_SUFFIXES: Final = (".zip", ".cbz", ".tar", ".cbt", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
"""A file in a directory is an archive when it has one of these suffixes, in any case, and the content of one."""

REPORT_MARK: Final = ".pagemill-report.json"
EXPORT_MARK: Final = ".pagemill-export.sqlite3"
OUTPUT_MARKS: Final = frozenset([REPORT_MARK, EXPORT_MARK])
"""Each names a file in a folder that pagemill wrote: its images are copies of pages, not pages."""
SYSTEM_FOLDERS: Final = frozenset(
    {
        "#recycle",  # Synology
        "#snapshot",
        "$recycle.bin",  # Windows
        "@__thumb",  # QNAP
        "@eadir",  # Synology
        "@recently-snapshot",
        "@recycle",
        "__macosx",
        "lost+found",
        "recycler",
        "system volume information",
    }
)
"""Folders that a NAS or an operating system makes, in lower case: thumbnails, deleted files, snapshots."""

_DOCUMENTS: Final = """
.adoc .ass .azw .azw3 .bib .csv .css .desktop .doc .docm .docx .dot .dotx .eml .epub .fb2 .gdoc .gsheet .htm .html .ics
.ini .json .jsonl .key .lnk .log .markdown .mbox .md .mobi .msg .ndjson .nfo .numbers .odg .odp .ods .odt .one .pages
.pot .potx .ppt .pptm .pptx .pub .ris .rst .rtf .srt .tex .text .toml .tsv .txt .url .vcf .vsd .vsdx .vtt .webloc .xhtml
.xls .xlsb .xlsm .xlsx .xml .xsd .xsl .xslt .yaml .yml .alto .hocr
"""
_SOUND_AND_VIDEO: Final = """
.3gp .aac .aif .aiff .ape .avi .flac .flv .m2ts .m4a .m4v .mid .midi .mkv .mov .mp2 .mp3 .mp4 .mpeg .mpg .mts .oga .ogg
.ogv .opus .vob .wav .webm .wma .wmv
"""
_CAMERA_AND_GRAPHICS: Final = """
.3fr .ai .arw .cdr .cr2 .cr3 .crw .cur .dcr .dng .dwg .dxf .eps .erf .fff .icns .ico .idml .iiq .indd .kdc .kra .mef
.mos .mrw .nef .nrw .orf .pef .ps .psb .psd .raf .raw .rw2 .rwl .sr2 .srf .srw .svg .svgz .thm .x3f .xcf .xmp
"""
"""Most raw formats of cameras begin like a TIFF whose first frame is a thumbnail; `.thm` is a thumbnail itself."""
_PROGRAMS_AND_DATA: Final = """
.accdb .apk .arrow .asc .bat .cfg .class .cmd .conf .cpp .crdownload .crt .db .db3 .dll .dmg .download .dta .dylib
.eot .exe .feather .filepart .go .gpg .h5 .hdf5 .ipynb .iso .jar .java .js .lck .lock .lua .mat .mdb .md5 .mjs .msi
.npy .npz .onnx .otf .parquet .part .partial .pem .php .pickle .pid .pkl .pl .properties .ps1 .pt .pth .py .pyc
.rb .rs .safetensors .sav .sfv .sh .sha1 .sha256 .sha512 .sig .so .sql .sqlite .sqlite3 .swift .swp .ts .ttf .vbs
.woff .woff2
"""
NO_PAGE_SUFFIXES: Final = frozenset(
    f"{_DOCUMENTS} {_SOUND_AND_VIDEO} {_CAMERA_AND_GRAPHICS} {_PROGRAMS_AND_DATA}".split()
)
"""Files with one of these suffixes, in any case, are ignored unopened."""

_CONTAINERS: Final = frozenset(
    {".7z", ".bz2", ".cb7", ".cbr", ".cbt", ".cbz", ".djv", ".djvu", ".gz", ".jxl", ".rar", ".tar", ".tgz"}
    | {".xz", ".zip", ".zst"}
)
"""Suffixes that name the kind of a file better than its content does: a comic book's `.cbz` is a ZIP."""

_SIGNATURES: Final = (
    (b"PK\x03\x04", ".zip"),
    (b"PK\x05\x06", ".zip"),
    (b"\0\0\0\x0cJXL ", ".jxl"),
    (b"\xff\x0a", ".jxl"),
    (b"AT&TFORM", ".djvu"),
    (b"8BPS", ".psd"),
    (b"\x1f\x8b", ".gz"),
    (b"7z\xbc\xaf\x27\x1c", ".7z"),
    (b"Rar!\x1a\x07", ".rar"),
)
"""First bytes of files that hold no page of their own, and their kinds. Source: the formats' registrations."""

_IMAGES: Final = (
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"\0\0\0\x0cjP  \r\n\x87\n",  # JPEG 2000
    b"\xff\x4f\xff\x51",  # its codestream without a container
)
_FORMATS: Final = (
    (b"\xff\xd8", "jpeg"),
    (b"\x89PNG", "png"),
    (b"GIF", "gif"),
    (b"\0\0\0\x0cjP", "jp2"),
    (b"\xff\x4f", "jp2"),
    (b"RIFF", "webp"),
    (b"BM", "bmp"),
    (b"P", "pnm"),
)
"""Formats by the first bytes of an image; the others are a TIFF's, or of the HEIF family."""
_PNM: Final = re.compile(rb"P(?:[1-6]|[Ff](?=\s))(?:\s|#[^\n]*\n)+\d+(?:\s|#[^\n]*\n)+\d+\s")
"""A text may begin with these letters, but not with two numbers after them."""
_HEIC_BRANDS: Final = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevm", b"hevs", b"hevx"})
_AVIF_BRANDS: Final = frozenset({b"avif", b"avis"})
_BRANDS_OF_BOTH: Final = frozenset({b"mif1", b"mif2", b"msf1"})
"""Brands in the first box of a file. Source: ISO/IEC 23008-12, annex B; AV1 Image File Format, 4."""
_BMP_HEADER_BYTES: Final = frozenset({12, 16, 40, 52, 56, 64, 108, 124})
"""Sizes of the information header of a BMP, by version. Source: Microsoft, "Bitmap Header Types"; OS/2 2.x."""
_SUFFIX: Final = re.compile(r"\.(?=[0-9]*[a-z])[a-z0-9_+-]{1,11}")
"""A suffix that names a kind: numbers of volumes and days (`.001`, `.20240131`) do not."""
_PDF_HEADER: Final = re.compile(rb"%PDF-\d\.\d")
"""ISO 32000-1, 7.5.2."""
_CONTROL: Final = re.compile(rb"[\0-\x08\x0e-\x1a\x1c-\x1f]")


class NameClass(Enum):
    """What the name of a file in a directory says."""

    PAGE = "page"
    UNDECIDED = "undecided"
    """The first bytes decide."""
    IGNORED = "ignored"
    """It is known to hold no page."""
    LEFT_OUT = "left out"
    """`include`, `exclude` or the INPUT's own pattern leave it out; it counts nowhere."""


def class_of_name(name: str) -> NameClass:
    """Return what the suffix of a file's name says about it."""
    suffix = suffix_of(name)
    if suffix in PAGE_SUFFIXES:
        return NameClass.PAGE
    return NameClass.IGNORED if suffix in NO_PAGE_SUFFIXES else NameClass.UNDECIDED


def suffix_of(name: str) -> str:
    """Return the suffix of a file's name in lower case, with its dot; "" when it has none."""
    stem, dot, suffix = name.rpartition("/")[2].rpartition(".")
    return f".{suffix.lower()}" if dot and stem else ""


def is_archive_name(name: str) -> bool:
    """Return whether the suffix of a file's name is that of an archive."""
    return name.lower().endswith(ARCHIVE_SUFFIXES) and not name.startswith(ARCHIVE_SUFFIXES)


def kind_of_name(name: str) -> str:
    """Return the kind under which an ignored file with this name is counted."""
    suffix = suffix_of(name)
    return suffix if _SUFFIX.fullmatch(suffix) else OTHER if suffix else NO_SUFFIX


def ignored_kind(name: str, head: bytes) -> str | None:
    """Return the kind of a file that is no page; None for a page.

    Args:
        name: The file's name.
        head: Its first `HEAD_BYTES` bytes, or all when it has fewer.
    """
    if is_image(head) or is_pdf(head):
        return None
    if suffix_of(name) in _CONTAINERS:
        return suffix_of(name)
    return _kind_of_content(head) or kind_of_name(name)


def is_image(head: bytes) -> bool:
    """Return whether a file that begins with these bytes has one of the formats of pages."""
    if head.startswith(_IMAGES) or heif_format(head) is not None or _PNM.match(head) is not None:
        return True
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return head[8:10] != b"CR"  # Canon's raw format
    if head.startswith(b"BM"):  # a text may begin with these letters
        return len(head) >= 26 and int.from_bytes(head[14:18], "little") in _BMP_HEADER_BYTES
    return head.startswith(b"RIFF") and head[8:12] == b"WEBP"


def heif_format(head: bytes) -> Literal["heic", "avif"] | None:
    """Return the format of a file of the HEIF family that begins with these bytes; None for any other file."""
    if head[4:8] != b"ftyp":
        return None
    brands = {head[at : at + 4] for at in range(16, min(int.from_bytes(head[:4], "big"), len(head)), 4)}
    major = head[8:12]
    if major in _AVIF_BRANDS or (major in _BRANDS_OF_BOTH and brands & _AVIF_BRANDS and not brands & _HEIC_BRANDS):
        return "avif"
    return "heic" if major in _HEIC_BRANDS | _BRANDS_OF_BOTH else None


def format_of(head: bytes) -> str | None:
    """Return the format of a file that begins with these bytes, such as "jpeg"; None for a file without pages."""
    if is_pdf(head):
        return "pdf"
    if not is_image(head):
        return None
    if (heif := heif_format(head)) is not None:
        return heif
    return next((name for begin, name in _FORMATS if head.startswith(begin)), "tiff")


def is_pdf(head: bytes) -> bool:
    """Return whether a file that begins with these bytes is a PDF."""
    return _PDF_HEADER.search(head) is not None and not is_image(head) and _kind_of_content(head) is None


def is_text(head: bytes) -> bool:
    """Return whether a file that begins with these bytes looks like text, in any encoding but UTF-16 and UTF-32."""
    is_known = is_image(head) or is_pdf(head) or _kind_of_content(head) is not None
    return bool(head) and _CONTROL.search(head) is None and not is_known


def describe_ignored(ignored: Mapping[str, int], *, most: int = 8) -> str:
    """Return the numbers of ignored files by kind, the most frequent first: "30 .pdf, 2 symlink"."""
    ordered = sorted(ignored.items(), key=lambda item: (-item[1], item[0]))
    parts = [f"{number:,} {kind}" for kind, number in ordered[:most]]
    if len(ordered) > most:
        parts.append(f"{sum(number for _, number in ordered[most:]):,} of {len(ordered) - most} other kinds")
    return ", ".join(parts)


def _kind_of_content(head: bytes) -> str | None:
    found = next((kind for signature, kind in _SIGNATURES if head.startswith(signature)), None)
    if found is None and head[4:8] == b"ftyp":
        found = ".mp4"
    elif found is None and head[257:262] == b"ustar":
        found = ".tar"
    return found
