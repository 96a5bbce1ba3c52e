"""The finished pages of one file, found by its content, for a program that has the file.

They are spooled to a folder, a JSON file per page, so that the program's workers need no workspace.
"""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from pipeline.batch.line_positions import Bounds, Size, move
from pipeline.batch.placed_pages import PlacedPage, place_lines
from pipeline.errors import UsageError
from pipeline.pixels.affine import Affine
from pipeline.positions import TextLine
from pipeline.records import TEXT_LAYER, PageId, Record
from pipeline.workspace.run_file import require_workspace
from pipeline.workspace.snapshot import open_snapshot

_WHOLE: Final = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class FilePage:
    """A finished page.

    Attributes:
        text: Of its record.
        placed: Its lines.
        shown: Where the page is in its image, in fractions of the image's width and height: (left, top, right, bottom).
    """

    text: str
    placed: PlacedPage
    shown: Bounds = _WHOLE

    def lines_on(self, image_px: Size) -> list[TextLine]:
        """Return the lines in px of an image that shows the page.

        Args:
            image_px: (width, height).
        """
        left, top, right, bottom = self.shown
        x_scale = (right - left) * image_px[0] / self.placed.size_px[0]
        y_scale = (bottom - top) * image_px[1] / self.placed.size_px[1]
        by = Affine(a=x_scale, c=left * image_px[0], e=y_scale, f=top * image_px[1])
        return [move(line, by) for line in self.placed.lines]


def turn_box(box: Bounds, turn_deg: int) -> Bounds:
    """Return a box in fractions of a page once the page is turned clockwise by quarters."""
    left, top, right, bottom = box
    for _ in range(turn_deg % 360 // 90):
        left, top, right, bottom = 1 - bottom, left, 1 - top, right
    return left, top, right, bottom


_JSON = msgspec.json.Decoder(FilePage)


def find_pages(workspace: Path, file: Path, pages: Iterable[int]) -> Iterator[tuple[int, FilePage | str]]:
    """Yield the pages of a file with these numbers, 1-based, each with what was found, or why nothing was.

    A record of the same content under another name counts. Takes no lock and changes nothing in the workspace.

    Raises:
        UsageError: there is no workspace, or the file cannot be read.
        StorageError: the workspace cannot be read.
    """
    require_workspace(workspace)
    try:
        with file.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as exc:
        raise UsageError(f"{file}: {exc.strerror or exc}") from exc
    with open_snapshot(workspace) as index:
        for page in pages:
            record = index.find_record(PageId(f"sha256:{digest}#{page}"))
            yield page, _page(record) if record is not None else "no finished record"


def _page(record: Record) -> FilePage | str:
    """Return a finished page, or why the positions of its text are not known."""
    if record.lines or not record.text.strip():
        return FilePage(record.text, place_lines(record, record.source))
    if record.text_from == TEXT_LAYER:
        return "no positions of its text, which is the PDF's text layer,"
    return "no positions" if record.lines is None else "no positions, which the service did not return,"


def write_page(folder: Path, number: int, page: FilePage) -> None:
    """Write a page into a folder."""
    _path(folder, number).write_bytes(msgspec.json.encode(page))


def read_page(folder: Path, number: int) -> FilePage | None:
    """Return a page that was written into a folder; None when it was not."""
    with suppress(FileNotFoundError):
        return _JSON.decode(_path(folder, number).read_bytes())
    return None


def _path(folder: Path, number: int) -> Path:
    return folder / f"pagemill_{number:06}.json"
