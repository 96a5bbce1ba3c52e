"""The error tree: a class says whether an error costs a page or ends the run, and with which exit code.

PagemillError
├── PageError                 costs one page; the run continues; a line in failures.jsonl
│   ├── MissingFileError          the file does not exist; the next run tries again
│   ├── UnreadableFileError       the file cannot be read; the next run tries again
│   ├── EmptyFileError            zero bytes
│   ├── NotAnImageError           not a known image format
│   ├── TruncatedImageError       the image is damaged, or its end is missing
│   ├── UnsupportedImageError     a compression or a variant of a known format that cannot be decoded
│   ├── EncryptedFileError        a file that needs a password
│   ├── ConversionError           decoding crashed, took too long or ran out of memory
│   ├── DecompressionBombError    more pixels than any page has
│   ├── UnfittableImageError      no size within the API's limits is legible
│   ├── BadManifestEntryError     a manifest row that names no page
│   ├── RejectedPageError         the API answered 400, 413, 415 or 422
│   ├── BlockedPageError          something before the API answers instead of it; the next run tries again
│   ├── AttemptsExhaustedError    all attempts failed for temporary reasons; the next run tries again
│   └── UncertainCallError        a call may have been billed and its answer is lost (`--at-most-once`)
└── StopError                 ends the run; carries the exit code
    ├── UsageError                exit 2: an option, a setting or an input is wrong
    ├── MaxFailuresError          exit 12: more pages failed than `--max-failures` allows
    ├── KeyRejectedError          exit 7: 401
    ├── PermissionDeniedError     exit 7: 403 that does not mention the quota
    ├── MisdirectedError          exit 7: a proxy, a firewall or another website answers instead of the API
    ├── QuotaExhaustedError       exit 8: the calls of the month, or of the day, are used up
    ├── PlannedStopError          exit 10: `--max-calls`, `--max-duration` or `--limit` is reached
    ├── NoPagesError              exit 9: the INPUTs hold no page
    ├── TemporaryError            exit 5: the API is unreachable, fails every call, or refuses calls for too long
    ├── WorkspaceLockedError      exit 11: another run holds the workspace
    ├── LedgerError               exit 1: the ledger cannot be trusted, and no call is sent without it
    ├── KeyStoreError             exit 1: the server's keys cannot be read, or a call cannot be counted
    ├── StorageError              exit 1: a file of the workspace cannot be read or written
    ├── NoDescriptorsError        exit 1: the process has no file descriptor left
    ├── EngineError               exit 1: the embedded engine does not start
    ├── ConverterStartError       exit 1: no worker process for conversions starts
    └── InterruptedRunError       exit 129 / 130 / 143: SIGHUP, SIGINT, SIGTERM
"""

from collections.abc import Iterator
from typing import ClassVar


def one_line(text: str) -> str:
    r"""Return text as one line for a terminal or a message: every character that is not printable is escaped.

    Escapes are those of Python's string literals. The surrogate escape of a byte that is not UTF-8 becomes `\xe9`.
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a surrogate escape: U+DC00 + the byte
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


class PagemillError(Exception):
    """Base of all errors that pagemill raises on purpose; the message is one line for a person."""


class PageError(PagemillError):
    """One page cannot be recognised; the run continues."""

    name: ClassVar[str] = "page"
    """The value of `class` in failures.jsonl."""

    retryable: ClassVar[bool] = False
    """True when the next run tries the page again; False leaves the page to `retry`."""

    attempts: int = 0
    """Number of calls made for the page."""

    undecided_since: int | None = None
    """Number of the page's first failed call while it may be the service that fails, not the page: no later call has
    brought a text. None when the page is to blame."""


class MissingFileError(PageError):
    """The file does not exist."""

    name = "missing"
    retryable = True


class UnreadableFileError(PageError):
    """The file exists and cannot be read."""

    name = "unreadable"
    retryable = True


class EmptyFileError(PageError):
    """The file has zero bytes."""

    name = "empty"


class NotAnImageError(PageError):
    """The content is not a known image format."""

    name = "not-an-image"


class TruncatedImageError(PageError):
    """The end of the image is missing, or its data are damaged."""

    name = "truncated"


class UnsupportedImageError(PageError):
    """The image uses a compression or a variant of its format that cannot be decoded."""

    name = "unsupported"


class EncryptedFileError(PageError):
    """The file is encrypted and opens with a password only."""

    name = "encrypted"


class ConversionError(PageError):
    """The worker process that decoded the image crashed, took too long, or ran out of memory."""

    name = "conversion-failed"


class DecompressionBombError(PageError):
    """The image header announces more pixels than any page has."""

    name = "bomb"


class UnfittableImageError(PageError):
    """No size within the API's limits keeps the page legible."""

    name = "unfittable"


class BadManifestEntryError(PageError):
    """A row of a manifest names no page."""

    name = "bad-entry"


class RejectedPageError(PageError):
    """The API rejected this page with 400, 413, 415 or 422."""

    name = "rejected"


class BlockedPageError(PageError):
    """A firewall or proxy answers instead of the API for this page, among others that arrive."""

    name = "blocked"
    retryable = True


class AttemptsExhaustedError(PageError):
    """All attempts failed for temporary reasons; the next run tries again."""

    name = "attempts-exhausted"
    retryable = True


class UncertainCallError(PageError):
    """A call for this page may have been billed, its answer is lost, and `--at-most-once` forbids another call."""

    name = "uncertain"


def page_errors(error: type[PageError] = PageError) -> Iterator[type[PageError]]:
    """Yield all classes of failures of pages."""
    for child in error.__subclasses__():
        yield child
        yield from page_errors(child)


class StopError(PagemillError):
    """The run ends; running again resumes it."""

    exit_code: int = 1


class UsageError(StopError):
    """An option, a setting or an input is wrong."""

    exit_code = 2


class MaxFailuresError(StopError):
    """More pages failed than `--max-failures` allows."""

    exit_code = 12


class KeyRejectedError(StopError):
    """The API rejected the key."""

    exit_code = 7


class PermissionDeniedError(StopError):
    """The API accepted the key and denied the operation."""

    exit_code = 7


class MisdirectedError(StopError):
    """Calls do not arrive at the API: a proxy, a firewall or another website answers."""

    exit_code = 7


class QuotaExhaustedError(StopError):
    """The calls of the month, or of the day, are used up."""

    exit_code = 8


class PlannedStopError(StopError):
    """`--max-calls`, `--max-duration` or `--limit` is reached; pages may be left."""

    exit_code = 10


class NoPagesError(StopError):
    """The INPUTs hold no page; an unmounted disk looks like this."""

    exit_code = 9


class TemporaryError(StopError):
    """The API is unreachable or fails every call, or refused all calls for longer than `[run] patience_s`."""

    exit_code = 5


class WorkspaceLockedError(StopError):
    """Another run holds the workspace."""

    exit_code = 11


class LedgerError(StopError):
    """The ledger cannot be trusted, so no call is sent."""


class KeyStoreError(StopError):
    """The server's keys cannot be read, or a call cannot be counted."""


class StorageError(StopError):
    """A file of the workspace cannot be read or written."""


class NoDescriptorsError(StopError):
    """The process has no file descriptor left, so it can neither open a page nor connect; no page is at fault."""


class EngineError(StopError):
    """The embedded engine does not start."""


class ConverterStartError(StopError):
    """No worker process for conversions starts: the system has no memory, no process or no descriptor left."""


class InterruptedRunError(StopError):
    """A signal asked the run to end."""

    exit_code = 130

    def __init__(self, message: str, *, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # 129, 130 or 143, by signal
