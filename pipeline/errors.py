"""The error tree. Each branch says whose fault it is, and so what happens next.

PagemillError
├── PageError                 costs one page; the run goes on; a line in failures.jsonl
│   ├── MissingFileError          not there (yet): tried again by the next run
│   ├── UnreadableFileError       there, but cannot be read: tried again by the next run
│   ├── EmptyFileError            zero bytes
│   ├── NotAnImageError           no image format that we know
│   ├── TruncatedImageError       the end of the file is missing
│   ├── DecompressionBombError    more pixels than any page has
│   ├── UnfittableImageError      no size within the API's limits keeps it legible
│   ├── BadEntryError             a manifest line that names no page
│   ├── RejectedPageError         the API answered 400, 413 or 415
│   ├── AttemptsExhaustedError    every attempt failed for a passing reason: tried again by the next run
│   └── UncertainCallError        a call may have been billed and its answer is lost (`--at-most-once`)
└── StopError                 ends the run; carries the exit code
    ├── UsageError                exit 2: an option, a key or an input is wrong
    ├── MaxFailuresError          exit 12
    ├── KeyRejectedError          exit 7: 401
    ├── PermissionDeniedError     exit 7: 403 that does not speak of quota
    ├── QuotaExhaustedError       exit 8: the plan's month, or --max-calls, is used up
    ├── DurationReachedError      exit 10: --max-duration
    ├── TemporaryError            exit 5: the API cannot be reached, or refuses for too long
    ├── WorkspaceLockedError      exit 11: another run holds the workspace
    ├── LedgerError               exit 1: without a ledger no call goes out
    ├── KeyStoreError             exit 1: the server's keys cannot be read or counted
    ├── StorageError              exit 1: a result cannot be put on disk
    ├── EngineError               exit 1: the embedded engine does not start
    └── InterruptedRunError       exit 130 / 143: SIGINT, SIGTERM
"""

from collections.abc import Mapping
from typing import ClassVar


class PagemillError(Exception):
    """Base of all errors that pagemill raises on purpose; the message is one line for a person."""


class PageError(PagemillError):
    """One page cannot be recognised; the run goes on."""

    name: ClassVar[str] = "page"
    """The class as it stands in failures.jsonl."""

    retryable: ClassVar[bool] = False
    """True when the next `run` tries the page again by itself; False leaves it to `retry`."""

    attempts: int = 0
    """Calls that were made for the page."""


class MissingFileError(PageError):
    """The file is not there."""

    name = "missing"
    retryable = True


class UnreadableFileError(PageError):
    """The operating system refuses to read the file."""

    name = "unreadable"
    retryable = True


class EmptyFileError(PageError):
    """The file has zero bytes."""

    name = "empty"


class NotAnImageError(PageError):
    """The content is no image format that pagemill knows."""

    name = "not-an-image"


class TruncatedImageError(PageError):
    """The end of the image is missing, or its data are damaged."""

    name = "truncated"


class DecompressionBombError(PageError):
    """The header announces more pixels than any page has."""

    name = "bomb"


class UnfittableImageError(PageError):
    """No conversion within the API's limits keeps the page legible."""

    name = "unfittable"


class BadEntryError(PageError):
    """A line of a manifest names no page."""

    name = "bad-entry"


class RejectedPageError(PageError):
    """The API refused this page for what it is: 400, 413 or 415."""

    name = "rejected"


class AttemptsExhaustedError(PageError):
    """All attempts failed for reasons that pass; the next run tries again."""

    name = "attempts-exhausted"
    retryable = True


class UncertainCallError(PageError):
    """A call for this page may have been billed, its answer is lost, and `--at-most-once` forbids another."""

    name = "uncertain"


class StopError(PagemillError):
    """The run ends, cleanly and resumable."""

    exit_code: int = 1


class UsageError(StopError):
    """An option, a configuration key or an input is wrong."""

    exit_code = 2


class MaxFailuresError(StopError):
    """More pages failed than `--max-failures` allows."""

    exit_code = 12


class KeyRejectedError(StopError):
    """The API rejected the key."""

    exit_code = 7


class PermissionDeniedError(StopError):
    """The API knows the key and denies the operation."""

    exit_code = 7


class QuotaExhaustedError(StopError):
    """The month's calls, or `--max-calls`, are used up."""

    exit_code = 8


class DurationReachedError(StopError):
    """`--max-duration` is over."""

    exit_code = 10


class TemporaryError(StopError):
    """The API cannot be reached, or refuses everything for longer than our patience."""

    exit_code = 5


class WorkspaceLockedError(StopError):
    """Another run holds the workspace."""

    exit_code = 11


class LedgerError(StopError):
    """The ledger cannot be trusted, so no call goes out."""


class KeyStoreError(StopError):
    """The server's keys cannot be read, or a call of theirs cannot be counted."""


class StorageError(StopError):
    """A result cannot be put on disk."""


class EngineError(StopError):
    """The embedded engine does not start."""


class InterruptedRunError(StopError):
    """A signal asked the run to end."""

    exit_code = 130

    def __init__(self, message: str, *, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # the one error whose code depends on what happened: on the signal


EXIT_PRECEDENCE: tuple[int, ...] = (130, 143, 1, 2, 11, 7, 12, 8, 10, 5, 3, 0)
"""Where several exit codes apply, the first of these wins."""

EXIT_CODES: Mapping[int, str] = {
    0: "done, or nothing to do",
    1: "unexpected error; verify found a fault",
    2: "usage or configuration",
    3: "finished, some pages failed",
    5: "temporary: the API is unreachable or refuses every call; run again later",
    7: "the key was rejected or has no permission",
    8: "stopped by the quota or --max-calls; resumable",
    10: "--max-duration reached; resumable",
    11: "another run holds the workspace",
    12: "--max-failures exceeded",
    130: "SIGINT, after the calls in flight have ended; a second signal aborts",
    143: "SIGTERM, likewise",
}
"""What help and documentation say about the exit codes."""


def one_line(text: str) -> str:
    """Return the text on one line, with non-printable characters escaped: a file name may hold newlines."""
    return "".join(char if char.isprintable() or "\ud800" <= char <= "\udfff" else repr(char)[1:-1] for char in text)
