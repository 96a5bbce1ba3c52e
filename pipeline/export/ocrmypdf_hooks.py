"""OCRmyPDF's plugin: with `--pagemill-workspace OUT`, its pages get the texts of finished records. No call is made.

Without the option it does nothing, and it imports the rest of pagemill only when it is needed. All pages are looked up
by the main process before the first one is rendered; workers, which OCRmyPDF may start again, read what was found from
the working folder.

Source:
    OCRmyPDF, "Plugins", and its module `pluginspec`.
"""

import logging
import os
import shlex
from argparse import ArgumentParser
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ocrmypdf import (
    BadArgsError,
    ExitCode,
    ExitCodeException,
    InputFileError,
    OcrEngine,
    OcrOptions,
    OrientationConfidence,
    hookimpl,
)
from ocrmypdf.pdfinfo import PageInfo, PdfInfo
from PIL import Image

if TYPE_CHECKING:
    from pipeline.batch.line_positions import Bounds

logger = logging.getLogger("pagemill")

_STRIP: Final = "strip"
"""`--mode` that only removes texts."""
_ANY_DPI: Final = 300.0
"""OCRmyPDF fits the text to its page."""


class NoRecordError(ExitCodeException):
    """A page has no finished record with positions."""

    exit_code = ExitCode.input_file


@hookimpl
def add_options(parser: ArgumentParser) -> None:
    """Add the plugin's options."""
    group = parser.add_argument_group("pagemill", "Texts that pagemill has recognised already")
    group.add_argument(
        "--pagemill-workspace",
        metavar="OUT",
        help="Take texts from the finished records of this workspace, made by: pagemill run INPUT -o OUT --positions. "
        "No OCR takes place and no call is made. A page without a record ends the job before it begins.",
    )
    group.add_argument(
        "--pagemill-skip-missing",
        action="store_true",
        help="Leave pages without a finished record with positions as they are, with a warning for each.",
    )


@hookimpl
def check_options(options: OcrOptions) -> None:
    """Refuse options that do not go with the plugin, and have it draw the text.

    OCRmyPDF's own renderer draws a line with one font and leaves out each character that the font lacks, as 𠮷.

    Raises:
        BadArgsError: there is one, or no workspace.
    """
    workspace = _workspace(options)
    if workspace is None:
        if getattr(options, "pagemill_skip_missing", False):
            raise BadArgsError("--pagemill-skip-missing needs --pagemill-workspace OUT")
        return
    from pipeline.errors import UsageError  # noqa: PLC0415 - at the first use
    from pipeline.workspace.run_file import require_workspace  # noqa: PLC0415

    refused = {
        "--deskew": options.deskew,
        "--rotate-pages": options.rotate_pages,
        f"--pdf-renderer {options.pdf_renderer}": options.pdf_renderer not in {"auto", "sandwich"},
        f"--ocr-engine {options.ocr_engine}": options.ocr_engine != "auto",
    }
    for option, given in refused.items():
        if given:
            reason = "records hold positions of the page as it is" if option in {"--deskew", "--rotate-pages"} else ""
            raise BadArgsError(f"{option} does not go with --pagemill-workspace{reason and f': {reason}'}")
    try:
        require_workspace(workspace)
    except UsageError as exc:
        raise BadArgsError(str(exc)) from exc
    options.pdf_renderer = "sandwich"


@hookimpl
def validate(pdfinfo: PdfInfo, options: OcrOptions) -> None:
    """Look up all pages that are to get a text, before the first one is rendered.

    Raises:
        NoRecordError: a page has no finished record with positions.
        InputFileError: the workspace or the input cannot be read.
    """
    workspace = _workspace(options)
    if workspace is None:
        return
    from pipeline.errors import StopError  # noqa: PLC0415 - at the first use
    from pipeline.export.file_pages import find_pages, write_page  # noqa: PLC0415

    assert options.work_folder is not None
    path, name = _input_file(options)
    pages = {page.pageno + 1: page for page in pdfinfo.pages if page is not None and _gets_text(page, options)}
    missing: dict[int, str] = {}
    try:
        for number, found in find_pages(workspace, path, pages):
            if isinstance(found, str):
                missing[number] = found
            else:
                write_page(options.work_folder, number, replace(found, shown=_shown(pages[number])))
    except StopError as exc:
        raise InputFileError(str(exc)) from exc
    for number, reason in missing.items():
        if options.pagemill_skip_missing:
            logger.warning("%s page %d: left without text: %s in %s", name, number, reason, workspace)
            continue
        others = f", nor for {len(missing) - 1:,} more" if len(missing) > 1 else ""
        command = shlex.join(["pagemill", "run", name, "-o", str(workspace), "--positions"])
        raise NoRecordError(f"{name} page {number}: {reason} in {workspace}{others}; run: {command}")


@hookimpl(tryfirst=True)
def get_ocr_engine(options: OcrOptions | None) -> OcrEngine | None:
    """Return the engine when there is a workspace; None leaves the choice to OCRmyPDF."""
    return FinishedRecords() if options is not None and _workspace(options) is not None else None


class FinishedRecords(OcrEngine):
    """Returns the texts of finished records."""

    @staticmethod
    def version() -> str:
        """Return the version of pagemill."""
        return version("pagemill")

    @staticmethod
    def creator_tag(options: OcrOptions) -> str:
        """Return the tag for the metadata of the PDF."""
        return f"pagemill {FinishedRecords.version()}"

    def __str__(self) -> str:
        return f"pagemill {self.version()}"

    @staticmethod
    def languages(options: OcrOptions) -> set[str]:
        """Return no language: OCRmyPDF then accepts any."""
        return set()

    @staticmethod
    def get_orientation(input_file: Path, options: OcrOptions) -> OrientationConfidence:
        """Return that the page is upright; `check_options` refuses `--rotate-pages`."""
        return OrientationConfidence(angle=0, confidence=0.0)

    @staticmethod
    def generate_hocr(input_file: Path, output_hocr: Path, output_text: Path, options: OcrOptions) -> None:
        """Raise NotImplementedError: only OCRmyPDF's own renderers ask for hOCR."""
        raise NotImplementedError("pagemill's plugin writes PDF, not hOCR")

    @staticmethod
    def generate_pdf(input_file: Path, output_pdf: Path, output_text: Path, options: OcrOptions) -> None:
        """Write the lines of a page as invisible text, and its text.

        Args:
            input_file: The rendered page; its name begins with the page's number, 1-based.
            output_pdf: Is written.
            output_text: Is written.
            options: Of the job.

        Raises:
            NoRecordError: `validate` did not look it up.

        Source:
            OCRmyPDF, `PageContext.get_path`, for the name.
        """
        from pipeline.export.file_pages import read_page  # noqa: PLC0415 - at the first use
        from pipeline.export.searchable_pdf import write_text_page  # noqa: PLC0415

        assert options.work_folder is not None
        number = int(input_file.name.partition("_")[0])
        page = read_page(options.work_folder, number)
        if page is None and not options.pagemill_skip_missing:
            raise NoRecordError(f"page {number}: its record was not looked up")
        with Image.open(input_file) as image:
            size_px, dpi = image.size, float(image.info.get("dpi", (_ANY_DPI,))[0])
        write_text_page(output_pdf, size_px, [] if page is None else page.lines_on(size_px), dpi)
        output_text.write_text("" if page is None else page.text, encoding="utf-8")


def _workspace(options: OcrOptions) -> Path | None:
    """Return the workspace; None leaves OCRmyPDF as it is. The option stays a string, to be sent to workers."""
    value = getattr(options, "pagemill_workspace", None)
    return None if value is None else Path(value)


def _input_file(options: OcrOptions) -> tuple[Path, str]:
    """Return the input as it was given, and its name; of a stream, OCRmyPDF's copy."""
    given = options.input_file
    if isinstance(given, str | bytes | os.PathLike) and given != "-":
        return Path(os.fsdecode(given)), os.fsdecode(given)
    assert options.work_folder is not None
    stdin = options.work_folder / "stdin"
    return (stdin, "-") if given == "-" else (options.work_folder / "stream", "-")


def _gets_text(page: PageInfo, options: OcrOptions) -> bool:
    """Return whether OCRmyPDF runs the engine for a page; source: its `is_ocr_required`."""
    if options.mode == _STRIP or (options.pages and page.pageno not in options.pages):
        return False
    if page.has_text:
        return bool(options.is_force_mode or options.redo_ocr)
    if not page.images and not options.lossless_reconstruction:
        return bool(options.is_force_mode)
    is_big = options.skip_big and page.width_pixels * page.height_pixels > options.skip_big * 1_000_000
    return not (page.images and is_big)


def _shown(page: PageInfo) -> "Bounds":
    """Return where the page as a viewer shows it, which was recognised, is in OCRmyPDF's image of its media box."""
    from pipeline.export.file_pages import turn_box  # noqa: PLC0415 - at the first use

    left, bottom, right, top = page.mediabox
    crop_left, crop_bottom, crop_right, crop_top = page.cropbox
    width, height = right - left, top - bottom
    box = (
        max(0.0, (crop_left - left) / width),
        max(0.0, (top - crop_top) / height),
        min(1.0, (crop_right - left) / width),
        min(1.0, (top - crop_bottom) / height),
    )
    return turn_box(box, page.rotation)
