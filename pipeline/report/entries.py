"""A page's entries in the report's data files; pure."""

from datetime import datetime
from typing import Any, Final

from pipeline.batch.placed_pages import place
from pipeline.positions import TextLine
from pipeline.records import State
from pipeline.report.pages import ReportPage
from pipeline.report.pictures import Picture, PictureKind
from pipeline.workspace.result_lines import ResultLine
from pipeline.workspace.source_names import decode_name, name_fields

STATES: Final = (State.DONE, State.DUPLICATE, State.SKIPPED, State.FAILED, State.UNCERTAIN)
"""A row has the place of the state here."""

IN_DOUBT: Final = 1
CORRECTED: Final = 2
CHECKED: Final = 4
CHANGED: Final = 8
"""Flags of a row, added."""

NO_SCORE: Final = -1


def row_of(page: ReportPage, thumbnail: str | None = None, *, has_changed: bool = False) -> list[Any]:
    """Return what the list of pages needs: name, page, state, flags, score, length of the text, time.

    The score is 0 to 1, or `NO_SCORE`; the time in seconds. Where there is one, the bytes of a name that is not UTF-8
    follow, in base64, and then the URL of a thumbnail. `has_changed` is as in `Picture`.
    """
    quality = None if page.line is None else page.line.quality
    fields = name_fields("source", decode_name(page.source))
    flags = IN_DOUBT * page.in_doubt + CORRECTED * page.is_corrected + CHECKED * page.is_checked + CHANGED * has_changed
    row = [
        fields["source"],
        page.page,
        STATES.index(page.state),
        flags,
        NO_SCORE if quality is None else quality.score,
        len(page.text),
        _seconds(page.added),
    ]
    more = [fields.get("source_b64"), thumbnail]
    while more and more[-1] is None:
        more.pop()
    return [*row, *more]


def details_of(page: ReportPage, picture: Picture) -> dict[str, Any]:
    """Return what the view of one page needs beside its text; what it lacks is left out."""
    details: dict[str, Any] = {"id": page.id, "added": page.added, "picture": [picture.kind.value, picture.url]}
    if picture.note:
        details["pictureNote"] = picture.note
    if page.failure is not None:
        details["problem"] = f"{page.failure.error}: {page.failure.message}"
    if page.line is None:
        if page.failure is None:
            details["problem"] = "its line in results.jsonl cannot be read: pagemill verify"
        return details
    return details | _of_line(page.line, picture)


def _of_line(line: ResultLine, picture: Picture) -> dict[str, Any]:
    details: dict[str, Any] = {}
    if line.duplicate_of is not None:
        details["duplicateOf"] = line.duplicate_of
    if line.skipped is not None:
        details["skipped"] = line.skipped.reason
    if line.note is not None:
        details["note"] = line.note
    if line.quality is not None:
        details["threshold"] = line.quality.threshold
    if line.lines:
        details["size"], lines = _placed(line, picture)
        details["lines"] = [[each.text, each.confidence, *each.box] for each in lines]
    if line.review is not None:
        details |= {"at": line.review.at, "by": line.review.by, "browser": line.review.browser}
        if line.review.original is not None and line.review.original.text is not None:
            details["original"] = line.review.original.text
    return details


def _placed(line: ResultLine, picture: Picture) -> tuple[tuple[int, int], tuple[TextLine, ...]]:
    """Return the size to which the lines refer, and the lines: as in the picture that is shown."""
    if picture.kind is PictureKind.SENT and line.prep is not None:
        return (line.prep.width_px, line.prep.height_px), line.lines or ()
    placed = place(line)
    return placed.size_px, placed.lines


def _seconds(added: str) -> int:
    try:
        return int(datetime.fromisoformat(added).timestamp())
    except (ValueError, OverflowError):
        return 0
