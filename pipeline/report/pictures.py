"""The pictures of the report: files that a browser shows are linked where they are, others are made.

A picture that is made is the image as it was sent, made again in worker processes; `pictures/` keeps it for the next
report. No picture is of another content than the text beside it.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote

from pipeline.batch.page_images import ImageReader
from pipeline.errors import MissingFileError, PageError
from pipeline.inputs.content import MAX_FILE_BYTES, read_content
from pipeline.records import SourceFile
from pipeline.report.changes import Changes, is_content
from pipeline.report.folder import create_folder, list_names
from pipeline.report.pages import ReportPage
from pipeline.storage.files import replace_file
from pipeline.wire import is_url
from pipeline.workspace.source_names import decode_name

PictureChoice = Literal["link", "convert", "copy", "none"]
FOLDER: Final = "pictures"
_SHOWN_BY_BROWSERS: Final = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".gif", ".webp", ".avif", ".bmp"}
)


class PictureKind(StrEnum):
    """What the picture of a page is.

    Attributes:
        FILE: The file itself, upright as a browser shows it.
        SENT: The image as sent.
        NONE: There is none.
    """

    FILE = "file"
    SENT = "sent"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Picture:
    """The picture of a page.

    Attributes:
        kind: What it is.
        url: Relative to the report; None when the report has none, but `--serve` may.
        note: Why there is none, or what is wrong with it; "" for nothing.
        path: The file, of kind `FILE`.
        has_changed: The page's file has another content than the one that was read.
    """

    kind: PictureKind
    url: str | None = None
    note: str = ""
    path: Path | None = None
    has_changed: bool = False


class Pictures:
    """Finds the pictures of pages.

    Args:
        changes: Finds the files of pages.
        report: The report's folder.
        choice: Which pictures the report has.
    """

    def __init__(self, changes: Changes, report: Path, choice: PictureChoice) -> None:
        self._changes, self._choice = changes, choice
        self._report = os.path.realpath(report)
        self._folder = report / FOLDER
        self._links: dict[str, str] = {}
        """Relative URL of each directory."""
        self._made = list_names(self._folder)
        self._used: set[str] = set()

    def __repr__(self) -> str:
        return f"<Pictures {self._choice}, {len(self._made)} made>"

    def find(self, page: ReportPage, *, is_only_page: bool) -> Picture:
        """Return the picture of a page.

        Args:
            page: The page.
            is_only_page: Its file has no other.
        """
        if is_url(decode_name(page.source)):
            return Picture(PictureKind.NONE, note="The service fetched this page from its address.")
        file = self._changes.find(page.source)
        problem, has_changed = self._examine(file, page)
        is_shown = is_only_page and file.member is None and _suffix_of(file) in _SHOWN_BY_BROWSERS
        picture = Picture(PictureKind.SENT, has_changed=has_changed)
        if is_shown and file.path is not None:
            url = None if problem or self._choice not in {"link", "convert"} else self._link(file.path)
            picture = Picture(PictureKind.FILE, url, path=file.path, has_changed=has_changed)
        picture = self._with_made(picture, page)
        if picture.url is not None or not problem:
            return picture
        kind = picture.kind if has_changed else PictureKind.NONE
        return replace(picture, kind=kind, note=problem)

    def _examine(self, file: SourceFile, page: ReportPage) -> tuple[str, bool]:
        """Return why a file has no picture of the page, "" for nothing, and whether its content is another one."""
        try:
            if self._changes.has_changed(file, page.id):
                return "Its picture is not shown: the file has changed since it was read.", True
        except PageError as exc:
            return f"The file cannot be read: {exc}.", False
        if isinstance(file.problem, MissingFileError):
            return "The file was not there when the report was built.", False
        return "" if file.problem is None else f"It has no picture: {file.problem}.", False

    def make(self, workspace: Path, pages: Iterable[tuple[ReportPage, Picture]], tick: Callable[[], object]) -> None:
        """Make the pictures that the report has and that are not there yet.

        Args:
            workspace: The directory.
            pages: With what `find` returned.
            tick: Called for each page that was looked at.

        Raises:
            UsageError: the files of the workspace are not where they were.
            StorageError: a picture cannot be written.
        """
        if self._choice not in {"convert", "copy"}:
            return
        create_folder(self._folder)
        with ImageReader(workspace, "sent") as reader:
            for page, image in reader.read(self._missing(pages, tick)):
                if image is not None:
                    self._keep(stem_of(page, PictureKind.SENT), image.suffix, image.data)

    def _missing(
        self, pages: Iterable[tuple[ReportPage, Picture]], tick: Callable[[], object]
    ) -> Iterator[tuple[ReportPage, ReportPage]]:
        """Yield the pages whose image must be made; copy files meanwhile."""
        for page, picture in pages:
            tick()
            if picture.url is not None or page.id is None:
                continue
            if picture.kind is PictureKind.SENT:
                yield page, page
            elif picture.kind is PictureKind.FILE and picture.path is not None:
                with suppress(PageError):  # it is gone by now, which the page says
                    read = read_content(os.fsencode(picture.path), None, MAX_FILE_BYTES)
                    if is_content(page.id, read.sha256):
                        self._keep(stem_of(page, PictureKind.FILE), picture.path.suffix.lower(), read.content)

    def remove_others(self) -> None:
        """Remove the pictures that no page has any more."""
        if self._choice == "none":
            return
        for stem, name in self._made.items():
            if stem not in self._used:
                (self._folder / name).unlink(missing_ok=True)

    def _keep(self, stem: str, suffix: str, data: bytes) -> None:
        name = f"{stem}{suffix}"
        replace_file(self._folder / name, data)
        self._made[stem] = name

    def _with_made(self, picture: Picture, page: ReportPage) -> Picture:
        if picture.url is not None or self._choice == "none":
            return picture
        stem = stem_of(page, picture.kind)
        if stem in self._made:
            self._used.add(stem)
            return replace(picture, url=f"{FOLDER}/{self._made[stem]}")
        if self._choice == "link":
            return picture
        return replace(picture, note="It could not be made: the file is gone or has changed, or was sent in parts.")

    def _link(self, path: Path) -> str:
        folder, name = os.path.split(path)
        if folder not in self._links:
            relative = os.path.relpath(os.path.realpath(folder), self._report)
            self._links[folder] = quote(os.fsencode(relative))
        return f"{self._links[folder]}/{quote(os.fsencode(name))}"


def stem_of(page: ReportPage, kind: PictureKind) -> str:
    """Return the name of a picture without its suffix: by content, and by how it was prepared."""
    prep = None if page.line is None else page.line.prep
    how = "" if prep is None or kind is PictureKind.FILE else f"{prep.width_px}x{prep.height_px} {prep.rotation_deg}"
    return hashlib.blake2b(f"{kind} {page.id} {how}".encode(), digest_size=16).hexdigest()


def _suffix_of(file: SourceFile) -> str:
    return "" if file.path is None else file.path.suffix.lower()
