"""Frozen values of the stages: a `SourceFile` becomes a `Payload` per page, which ends as a `Record` or a `Failure`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, AnyStr, NewType

from pipeline.corrections import Corrections
from pipeline.errors import AttemptsExhaustedError, BlockedPageError, UncertainCallError
from pipeline.members import Member
from pipeline.positions import TextLine
from pipeline.quality import Quality
from pipeline.review import CORRECTION, Review
from pipeline.skipped import Skipped
from pipeline.tiles import Tile

MAX_FAILED_RUNS = 3
"""A page whose calls fail in this many runs is left to `pagemill retry`: each run costs calls."""

TEXT_LAYER = "text-layer"
"""Value of `text_from` of a text that the page of a PDF had already; no call was made for it."""

PageId = NewType("PageId", str)
"""Identity of a content's page: "sha256:<64 hex>#<page>"; given as a URL: "url:<64 hex of the URL's SHA-256>#1"."""

Meta = Mapping[str, Any]
"""The fields of a manifest row that do not name the page; copied into the record."""


class State(StrEnum):
    """State of a page in a workspace; each page has exactly one."""

    DONE = "done"
    DUPLICATE = "duplicate"
    SKIPPED = "skipped"
    FAILED = "failed"
    UNCERTAIN = "uncertain"
    PENDING = "pending"


@dataclass(frozen=True, slots=True)
class FileStat:
    """Size and modification time; while both are the same, a file counts as unchanged and is not opened."""

    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file or URL that the source found.

    Attributes:
        name: Relative to the input root, or the URL; bytes that are not UTF-8 are surrogate escapes.
        path: The file, for a member of an archive below the archive; None for a URL, and for a row that names no page.
        stat: When the file was found; None for a URL and for a missing file.
        meta: Further fields of its manifest row.
        problem: Why it cannot become a page; None when no reason is known yet.
        undecided: True while only its first bytes can tell whether it is a page.
        listed: True for a file that was found in a directory or an archive; one that was named is never left out.
        pages: Numbers of the pages to recognise, 1-based; None for all.
        again_before: Pages whose records are older than this moment, RFC 3339, are sent again; None for none.
        member: Where its bytes are when it is a member of an archive.
    """

    name: str
    path: Path | None
    stat: FileStat | None = None
    meta: Meta | None = None
    problem: Exception | None = None
    undecided: bool = False
    listed: bool = False
    pages: frozenset[int] | None = None
    again_before: str | None = None
    member: Member | None = None

    @property
    def is_url(self) -> bool:
        """True for a page that the service fetches itself."""
        return self.path is None and self.problem is None


@dataclass(frozen=True, slots=True)
class IgnoredFiles:
    """A number of files, or of lines of a list, of a kind that is no page, such as ".txt" or "symlink"."""

    kind: str
    number: int


@dataclass(frozen=True, slots=True)
class Prep:
    """The image as it was sent.

    Attributes:
        format: "jpeg", "png", "gif" or "webp".
        width_px: Width.
        height_px: Height.
        bytes: Size of the encoded image.
        scale: Sent pixels per source pixel, in (0, 1].
        rotation_deg: Clockwise rotation that made the page upright: 0, 90, 180 or 270.
        tiles: The parts in which a long page was sent; None for a page that was sent as a whole. Width and height are
            then those of the source, the bytes those of all tiles, and the scale is the least one.
        corrections: How the page was corrected; None for a page that was not.
    """

    format: str
    width_px: int
    height_px: int
    bytes: int
    scale: float = 1.0
    rotation_deg: int = 0
    tiles: tuple[Tile, ...] | None = None
    corrections: Corrections | None = None


@dataclass(frozen=True, slots=True)
class Payload:
    """A page ready to be sent.

    Attributes:
        id: Identity of the page's content.
        sha256: Of the source file's bytes, in hex; None for a URL.
        page: 1-based.
        pages: Number of pages in the file.
        body: The JSON request body.
        prep: The image as sent; None for a URL.
        text: The text that the page has already, and that takes the place of a call; None for a page that is sent.
        skipped: Why the page is not sent; None for a page that is.
        pixels: "<width>x<height>" of the upright source, with ":<sha256>" of its pixels once they were compared; None
            for a page whose pixels are not compared.
        tiles: The parts of a page that needs several calls; it has no body of its own.
        tile: The part of the page that this is; None for a whole page.
    """

    id: PageId
    sha256: str | None
    page: int
    pages: int
    body: bytes = field(repr=False)
    prep: Prep | None
    text: str | None = None
    skipped: Skipped | None = None
    pixels: str | None = None
    tiles: tuple[Tile, ...] = ()
    tile: Tile | None = None

    @property
    def call_id(self) -> PageId:
        """The identity in the ledger of a call for this page, or for this part of it."""
        return self.id if self.tile is None else PageId(self.tile.call_id(self.id))

    @property
    def needs_call(self) -> bool:
        """True for a page that has no text yet and is worth a call."""
        return self.text is None and self.skipped is None


@dataclass(frozen=True, slots=True)
class Reply:
    """The origin of a text, never the key; id and timestamp are None when the reply has none that can be read."""

    id: str | None
    timestamp: int | float | None
    host: str


def result_state(source: AnyStr, duplicate_of: AnyStr | None, skipped: Skipped | None = None) -> State:
    """Return a page's state after a record: a page that got its own earlier text again is done, not a duplicate."""
    if skipped is not None:
        return State.SKIPPED
    return State.DONE if duplicate_of is None or duplicate_of == source else State.DUPLICATE


def failure_state(error: str) -> State:
    """Return a page's state after a failure of this class (`PageError.name`)."""
    return State.UNCERTAIN if error == UncertainCallError.name else State.FAILED


def limits_runs(error: str) -> bool:
    """Return whether a failure of this class (`PageError.name`) costs calls in each run that tries again."""
    return error in {AttemptsExhaustedError.name, BlockedPageError.name}


@dataclass(frozen=True, slots=True)
class Record:
    """A finished page: one line of results.jsonl.

    Attributes:
        id: Identity of the page's content.
        source: Relative to the input root, or the URL.
        page: 1-based.
        sha256: Of the source file's bytes, in hex; None for a URL.
        text: The recognised text.
        duplicate_of: None when the page was sent for this record; else the source of the first record with this id,
            which is the page's own source when its file has its earlier content again.
        prep: The image as sent; None for a URL.
        reply: The origin of the text.
        attempts: The ledger's ids of the calls that returned the text, in the order of its parts; none when no call was
            made for it.
        elapsed_ms: From the start of the page's preparation to its reply.
        added: RFC 3339 in UTC.
        meta: Further fields of the manifest row.
        note: A remark on the text, such as replaced surrogates.
        again: True when the page was sent, as asked for, although its content had a record.
        quality: How well the service says it has read the page; None when it does not say.
        text_from: `TEXT_LAYER`, `CORRECTION`, or None for the service's text.
        skipped: Why the page was not sent and has no text; None for any other page.
        pixels: As in `Payload`; only of pages that were compared, or are to be, and of those with positions.
        lines: Where its lines are, in px of the image as sent (of the upright page when it was sent in tiles); None
            when that was not asked for.
        operation: The service's, such as `ADVANCED_RECOGNITION`; None for a metered service's plain text recognition,
            and for the embedded engine.
        review: What a person did to the text, which keeps the original; None for a text that nobody reviewed.
    """

    id: PageId
    source: str
    page: int
    sha256: str | None
    text: str
    duplicate_of: str | None
    prep: Prep | None
    reply: Reply
    attempts: tuple[str, ...]
    elapsed_ms: int
    added: str
    meta: Meta | None = None
    note: str | None = None
    again: bool = False
    quality: Quality | None = None
    text_from: str | None = None
    skipped: Skipped | None = None
    pixels: str | None = None
    lines: tuple[TextLine, ...] | None = None
    operation: str | None = None
    review: Review | None = None

    @property
    def state(self) -> State:
        """The page's state after this record."""
        return result_state(self.source, self.duplicate_of, self.skipped)

    @property
    def is_corrected(self) -> bool:
        """True when a person wrote the text."""
        return self.text_from == CORRECTION

    @property
    def was_sent(self) -> bool:
        """True when the page was sent for this record, or has a text of its own; no copy, and not only reviewed."""
        return self.duplicate_of is None and (self.review is None or self.again)


@dataclass(frozen=True, slots=True)
class Failure:
    """A page that ended without a text: one line of failures.jsonl.

    Attributes:
        id: Identity of the page's content; None when the content could not be read.
        source: Relative to the input root, or the URL.
        page: 1-based.
        error: The error's class, `PageError.name`.
        message: One line for a person.
        attempts: Number of calls made for the page.
        retryable: True when the next run sends the page again without being asked.
        added: RFC 3339 in UTC.
        meta: Further fields of the manifest row.
        runs: Runs in a row, this one included, in which the page's calls failed; 0 for a failure that costs no calls.
        again: True when the page was sent, as asked for, although its content had a record, which stays.
        is_over: True when the earlier failure of this archive or folder, which could not be listed, is over.
    """

    id: PageId | None
    source: str
    page: int
    error: str
    message: str
    attempts: int
    retryable: bool
    added: str
    meta: Meta | None = None
    runs: int = 0
    again: bool = False
    is_over: bool = False

    @property
    def state(self) -> State:
        """The page's state after this failure."""
        return failure_state(self.error)


def rfc3339(moment: datetime) -> str:
    """Return an aware datetime in UTC with microseconds, such as 2026-01-31T12:00:00.000000Z, which sorts as text."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
