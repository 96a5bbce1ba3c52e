"""Frozen values that cross borders between the stages.

A `SourceFile` becomes a `Payload`, a `Payload` becomes a `Reply`, a `Reply` becomes a `Record` or a `Failure`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, NewType
from urllib.parse import urlsplit

VENDOR_URL = "https://llmocr.com"

PageId = NewType("PageId", str)
"""A page known by its content: "sha256:<64 hex>#<page>", or "url:<64 hex of the URL>#1" for a page given as a URL."""

Meta = Mapping[str, Any]
"""Extra fields of a manifest's line, carried into the record."""


class State(StrEnum):
    """The one state in which every page of a workspace stands."""

    DONE = "done"
    DUPLICATE = "duplicate"
    SKIPPED = "skipped"
    FAILED = "failed"
    UNCERTAIN = "uncertain"
    PENDING = "pending"


@dataclass(frozen=True, slots=True)
class Service:
    """The API that a run calls.

    Attributes:
        base_url: Scheme, host and port; the client adds the path.
        key: The API key; never in a repr, a file or a message.
        name: "vendor", "embedded", or the host: what a workspace remembers.
    """

    base_url: str
    key: str | None = field(repr=False)
    name: str

    @property
    def metered(self) -> bool:
        """True when calls are counted in a ledger; the embedded engine's are free."""
        return self.name != "embedded"

    @property
    def host(self) -> str:
        """The host without its port."""
        return urlsplit(self.base_url).hostname or self.base_url


@dataclass(frozen=True, slots=True)
class FileStat:
    """What tells, without opening a file, that it did not change."""

    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file, or a URL, that the source found.

    Attributes:
        name: Relative to the input root, or the URL; may hold surrogate escapes for bytes that are not UTF-8.
        path: Where to read it; None for a URL.
        stat: Size and time of change when it was found; None for a URL and for a file that could not be found.
        meta: Extra fields of its line in the manifest.
        problem: Why the entry cannot become a page, when that is already known.
    """

    name: str
    path: Path | None
    stat: FileStat | None = None
    meta: Meta | None = None
    problem: Exception | None = None

    @property
    def is_url(self) -> bool:
        """True for a page that the service fetches by itself."""
        return self.path is None and self.problem is None


@dataclass(frozen=True, slots=True)
class Prep:
    """How the bytes that were sent differ from the page's pixels.

    Attributes:
        format: "jpeg", "png", "gif" or "webp", as sent.
        width_px: Width as sent.
        height_px: Height as sent.
        bytes: Size of the encoded image as sent.
        scale: Sent pixels per source pixel, in (0, 1].
        rotation_deg: Clockwise turn that made the page upright: 0, 90, 180 or 270.
    """

    format: str
    width_px: int
    height_px: int
    bytes: int
    scale: float = 1.0
    rotation_deg: int = 0


@dataclass(frozen=True, slots=True)
class Payload:
    """A page ready to be sent.

    Attributes:
        id: The page's identity.
        sha256: Of the source file's bytes, in hex; None for a URL.
        page: 1-based.
        pages: How many pages the file has.
        body: The JSON request body.
        prep: What was done; None for a URL.
    """

    id: PageId
    sha256: str | None
    page: int
    pages: int
    body: bytes = field(repr=False)
    prep: Prep | None


@dataclass(frozen=True, slots=True)
class Reply:
    """Where a text comes from: the service's id and time, and its host; never the key."""

    id: str
    timestamp: int | float
    host: str


@dataclass(frozen=True, slots=True)
class Record:
    """A finished page: one line of results.jsonl (a checksum of the line is appended when it is written).

    Attributes:
        id: The page's identity.
        source: Relative to the input root, or the URL.
        page: 1-based.
        sha256: Of the source file's bytes, in hex; None for a URL.
        text: The recognised text.
        duplicate_of: The source of the id's first record when this page was not sent for this record; its own source
            when it has its earlier content back.
        prep: What was done to the pixels; None for a URL.
        reply: Where the text comes from.
        attempt: The ledger's id of the call that produced the text.
        elapsed_ms: From taking the page up to its reply.
        added: When, RFC 3339 in UTC.
        meta: Extra fields of the manifest.
        note: What a reader of the text should know, such as replaced surrogates.
    """

    id: PageId
    source: str
    page: int
    sha256: str | None
    text: str
    duplicate_of: str | None
    prep: Prep | None
    reply: Reply
    attempt: str
    elapsed_ms: int
    added: str
    meta: Meta | None = None
    note: str | None = None

    @property
    def state(self) -> State:
        """The state in which the page stands after this record."""
        return State.DONE if self.duplicate_of in {None, self.source} else State.DUPLICATE


@dataclass(frozen=True, slots=True)
class Span:
    """Where a line stands in its file: offsets in bytes, `end` behind the newline."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Failure:
    """A page that ended without a text: one line of failures.jsonl.

    Attributes:
        id: The page's identity; None when its content could not be read.
        source: Relative to the input root, or the URL.
        page: 1-based.
        error: The error's class, `PageError.name`.
        message: One line for a person.
        attempts: How many calls were made for it.
        retryable: True when the next run tries it again by itself.
        added: When, RFC 3339 in UTC.
        meta: Extra fields of the manifest.
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

    @property
    def state(self) -> State:
        """The state in which the page stands after this failure."""
        return State.UNCERTAIN if self.error == "uncertain" else State.FAILED


class AttemptState(StrEnum):
    """What became of a reservation."""

    PENDING = "pending"
    POSTED = "posted"
    VOID = "void"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class OpenAttempt:
    """A reservation of an earlier run of this workspace whose outcome that run did not write down."""

    id: str
    page: PageId
    state: AttemptState
    source: str = ""


def rfc3339(moment: datetime) -> str:
    """Return an aware datetime in UTC with microseconds, such as 2026-01-31T12:00:00.000000Z: sortable as text."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
