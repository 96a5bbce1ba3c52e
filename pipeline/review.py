"""What a person did to the text of a page: the values in records."""

from dataclasses import dataclass
from typing import Final

from pipeline.positions import TextLine
from pipeline.skipped import Skipped

CORRECTION: Final = "correction"
"""Value of `text_from` of a text that a person wrote."""


@dataclass(frozen=True, slots=True)
class Original:
    """The text of a page before any person changed it.

    Attributes:
        added: Of its record in results.jsonl, RFC 3339.
        text: None while the record's text is still this one; so are then the fields below, and the record has them.
        text_from: As in `Record`.
        skipped: As in `Record`.
        lines: As in `Record`.
    """

    added: str
    text: str | None = None
    text_from: str | None = None
    skipped: Skipped | None = None
    lines: tuple[TextLine, ...] | None = None


@dataclass(frozen=True, slots=True)
class Review:
    """What a person did to the text of a page, by `pagemill correct`.

    Attributes:
        at: When the person last did so, RFC 3339 in UTC.
        base: `added` of the record, or of the failure, that the person had seen.
        by: Who, as the corrections file says.
        checked: When the text was marked as checked, RFC 3339 in UTC; None when it is not.
        original: The text before any correction; None for a page that had none, because it had failed.
        browser: Random id of the browser that the correction was made in; None for one that was made elsewhere.
    """

    at: str
    base: str
    by: str | None = None
    checked: str | None = None
    original: Original | None = None
    browser: str | None = None
