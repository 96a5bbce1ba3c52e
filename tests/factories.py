"""Records, failures and files for tests; contents are numbers."""

from pathlib import Path

from pipeline.quality import Confidence, Quality
from pipeline.records import Failure, FileStat, PageId, Prep, Record, Reply, SourceFile

STAT = FileStat(1000, 1_700_000_000_000_000_000)
"""Size and modification time of every file that `on_disk` returns."""

QUALITY = Quality(
    score=0.8712, threshold=0.5, confidence=Confidence(0.9731, 0.61), unread_ink=0.0, unread_type=0.0, precision="f32"
)
DOUBT = Quality(
    score=0.21, threshold=0.5, confidence=Confidence(0.7, 0.55), unread_ink=0.62, unread_type=0.31, precision="bf16"
)

RECORD = Record(
    id=PageId(f"sha256:{'ab' * 32}#1"),
    source="letters/1897/brief 1.tif",
    page=1,
    sha256="ab" * 32,
    text="第一行\nline two\r\n\u2028\x85end",
    duplicate_of=None,
    prep=Prep("png", 2480, 3508, 912_345, 0.5, 90),
    reply=Reply("doc-1", 1640995200000, "llmocr.com"),
    attempts=("0123456789abcdef",),
    elapsed_ms=1234,
    added="2026-01-31T12:00:00.000000Z",
)
"""A record with a value in every field that a page of a file has."""

FAILURE = Failure(
    id=RECORD.id,
    source=RECORD.source,
    page=1,
    error="attempts-exhausted",
    message="HTTP 500: failed",
    attempts=3,
    retryable=True,
    added=RECORD.added,
)


def page_id(content: int) -> PageId:
    """Return the identity of the first page of a content."""
    return PageId(f"sha256:{content:064x}#1")


def make_record(
    name: str,
    content: int,
    *,
    duplicate_of: str | None = None,
    added: int = 0,
    page: int = 1,
    text: str | None = None,
    quality: Quality | None = None,
) -> Record:
    """Return a record of a page.

    Args:
        name: The source.
        content: The file's content; its text says this number when no other `text` is given.
        duplicate_of: The source of the first record of this content.
        added: Milliseconds since the first of January 2026; names the attempt, too.
        page: 1-based.
        text: The recognised text.
        quality: As the service judged it.
    """
    return Record(
        id=page_id(content),
        source=name,
        page=page,
        sha256=f"{content:064x}",
        text=f"text {content}" if text is None else text,
        duplicate_of=duplicate_of,
        prep=None,
        reply=Reply("doc", 1, "host"),
        attempts=(f"owner-{added:06d}",),
        elapsed_ms=1,
        added=moment(added),
        quality=quality,
    )


def make_failure(
    name: str, content: int | None, *, error: str = "rejected", retryable: bool = False, added: int = 0
) -> Failure:
    """Return a failure of the first page of a file; a content of None could not be read."""
    identity = None if content is None else page_id(content)
    return Failure(identity, name, 1, error, "why", 1, retryable=retryable, added=moment(added))


def moment(added_ms: int) -> str:
    """Return a moment of January 2026 in the format of the records."""
    return f"2026-01-01T00:00:{added_ms // 1000:02d}.{added_ms % 1000:03d}000Z"


def on_disk(name: str, *, stat: FileStat | None = STAT) -> SourceFile:
    """Return a file as the source finds it."""
    return SourceFile(name, Path("/scans") / name, stat)
