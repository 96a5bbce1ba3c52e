"""The settings about files and pages; the others are in `settings`."""

from typing import Annotated, Final, Literal

from msgspec import Meta

from pipeline.config.fields import Count, Positive, Section, about
from pipeline.config.page_ranges import PageRanges
from pipeline.config.shard import Shard

FILE_KINDS: Final = ("jpeg", "png", "gif", "webp", "bmp", "tiff", "jp2", "pnm", "avif", "heic", "pdf")
"""Formats of the files that hold pages."""


class InputConfig(Section, frozen=True):
    """Which files are pages."""

    include: Annotated[
        tuple[str, ...],
        about(
            "Globs of the files to take from directories, instead of all image suffixes.",
            flag="--include",
            metavar="GLOB",
        ),
    ] = ()
    exclude: Annotated[
        tuple[str, ...],
        about("Globs of files and directories to leave out.", flag="--exclude", metavar="GLOB"),
    ] = ()
    exclude_kinds: Annotated[
        tuple[str, ...],
        about(
            f"Formats to leave out of directories and archives, whatever the files' names: {', '.join(FILE_KINDS)}.",
            flag="--exclude-kind",
            metavar="KIND",
        ),
    ] = ()
    column: Annotated[
        str | None,
        about(
            "Column of manifests that names the page.",
            flag="--column",
            metavar="NAME",
            example="scan",
            unset="the first of path, file, file_name, filename, image_path, image and url",
        ),
    ] = None
    pages: Annotated[
        str | None,
        about(
            "Pages to take from files of several pages, such as 1-3,10-; a file of one page is always taken.",
            flag="--pages",
            metavar="LIST",
            example="1-3,10-",
            unset="all",
        ),
    ] = None
    follow_symlinks: Annotated[bool, about("Follow symbolic links inside directories.", flag="--follow-symlinks")] = (
        False
    )
    order: Annotated[
        Literal["name", "smallest", "newest"],
        about("Which files come first; other orders than by name list all files before the first.", flag="--order"),
    ] = "name"
    sample: Annotated[
        Positive | None,
        about(
            "Take this many files, evenly over the INPUTs; the same ones every time while the files are the same.",
            flag="--sample",
            metavar="N",
            example=100,
            unset="all files",
        ),
    ] = None
    changed_since: Annotated[
        str | None,
        about(
            "Take only files written since then: a date, a date with time, or a duration before now such as 2d.",
            flag="--changed-since",
            metavar="WHEN",
            example="2d",
            unset="all files",
        ),
    ] = None
    changed_by: Annotated[
        Literal["mtime", "sha256"],
        about("How a changed file is recognised: by size and time, or by reading every file.", flag="--changed-by"),
    ] = "mtime"
    shard: Annotated[
        str | None,
        about(
            "Take one of N parts of the INPUTs, I/N with I from 1 to N; each part has an OUT of its own.",
            flag="--shard",
            metavar="I/N",
            example="2/7",
            unset="all files",
        ),
    ] = None

    shard_job: Annotated[
        str | None,
        about(
            "Name of the job that the shards are of: they share the claims of what each of them recognises.",
            flag="--shard-job",
            metavar="NAME",
            example="letters-2026",
            unset="one job for all OUTs in the same directory with the same N",
        ),
    ] = None

    @property
    def part(self) -> Shard | None:
        """`shard` as numbers; None for all files."""
        return None if self.shard is None else Shard.parse(self.shard)

    @property
    def page_ranges(self) -> PageRanges | None:
        """`pages` as numbers; None for all."""
        return None if self.pages is None else PageRanges.parse(self.pages)


class PrepareConfig(Section, frozen=True):
    """What the service accepts, and how pages are made to fit."""

    max_edge_px: Annotated[Annotated[int, Meta(ge=100)], about("Longest edge; larger pages are scaled down.")] = 4000
    min_edge_px: Annotated[Positive, about("Shortest edge; smaller pages are padded with white.")] = 100
    max_bytes: Annotated[
        Annotated[int, Meta(ge=10_000)], about("Largest image file, in bytes; larger ones are encoded again.")
    ] = 10_000_000
    max_pixels: Annotated[
        Positive, about("Most pixels of an image that is decoded; memory and time per page grow with it.")
    ] = 300_000_000
    jpeg_quality: Annotated[
        Annotated[int, Meta(ge=50, le=100)], about("JPEG quality of pages that are encoded again, 50 to 100.")
    ] = 92
    pdf_dpi: Annotated[
        Annotated[int, Meta(ge=72, le=1200)],
        about("Resolution at which pages of a PDF are rendered; a page that is one scan keeps the scan's."),
    ] = 300
    text_layer: Annotated[
        Literal["ignore", "use"],
        about("Text that pages of a PDF have already: ignore it, or use it instead of a call.", flag="--text-layer"),
    ] = "ignore"
    orient: Annotated[bool, about("Turn pages upright by their EXIF orientation.")] = True
    auto_rotate: Annotated[
        bool,
        about(
            "Turn pages by 90, 180 or 270 degrees when their text is not upright (extra local).",
            flag="--auto-rotate/--no-auto-rotate",
        ),
    ] = False
    deskew: Annotated[
        bool, about("Level pages whose lines are skewed by 0.5 to 15 degrees.", flag="--deskew/--no-deskew")
    ] = False
    contrast: Annotated[
        bool,
        about("Make the ink of faint or yellowed pages black and their paper white.", flag="--contrast/--no-contrast"),
    ] = False
    dedup: Annotated[
        Literal["content", "pixels", "off"],
        about(
            "What is sent once, and copies take over its text: files of the same content, or also pages of the same "
            "pixels, which are decoded to compare them; off sends every copy.",
            flag="--dedup",
        ),
    ] = "content"
    skip_blank: Annotated[
        bool,
        about(
            "Send no page on which nothing could be text; each is recorded as skipped. Every page is decoded.",
            flag="--skip-blank/--no-skip-blank",
        ),
    ] = False
    skip_smaller_px: Annotated[
        Count,
        about(
            "Send no image whose longer edge is below this, such as a thumbnail; each is recorded as skipped. 0 for "
            "none; pages of PDFs are always sent.",
            flag="--skip-smaller",
            metavar="PX",
        ),
    ] = 0
