"""The fields of a line of results.jsonl that tables of texts hold: read in half the time of a whole `ResultLine`."""

from typing import Any, Final

import msgspec

from pipeline.records import State, result_state
from pipeline.skipped import Skipped
from pipeline.workspace.lines import parse_line
from pipeline.workspace.result_lines import ResultLine
from pipeline.workspace.source_names import name_bytes


class SentImage(msgspec.Struct, frozen=True, gc=False):
    """The image as it was sent; see `Prep`."""

    format: str
    width_px: int
    height_px: int
    scale: float = 1.0
    rotation_deg: int = 0


class Origin(msgspec.Struct, frozen=True, gc=False):
    """The origin of a text; see `Reply`."""

    host: str


class Score(msgspec.Struct, frozen=True, gc=False):
    """How well a page was read; see `Quality`."""

    score: float
    threshold: float

    @property
    def is_in_doubt(self) -> bool:
        """Whether a person should look at the page."""
        return self.score < self.threshold


class OriginalText(msgspec.Struct, frozen=True, gc=False):
    """The text before any correction; see `Original`."""

    text: str | None = None


class ReviewedText(msgspec.Struct, frozen=True, gc=False):
    """What a person did to a text; see `Review`."""

    checked: str | None = None
    original: OriginalText | None = None


class PageText(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A page's text and its provenance; the fields are those of a `ResultLine`."""

    id: str
    source: str
    page: int
    sha256: str | None
    text: str
    prep: SentImage | None
    reply: Origin
    elapsed_ms: int
    added: str
    duplicate_of: str | None = None
    source_b64: str | None = None
    duplicate_of_b64: str | None = None
    quality: Score | None = None
    skipped: Skipped | None = None
    text_from: str | None = None
    meta: dict[str, Any] | None = None
    review: ReviewedText | None = None

    def source_bytes(self) -> bytes:
        """Return the bytes of the source's name."""
        return name_bytes(self.source, self.source_b64)

    @property
    def state(self) -> State:
        """The page's state after this record."""
        if self.duplicate_of is None:
            return result_state("", None, self.skipped)
        original = name_bytes(self.duplicate_of, self.duplicate_of_b64)
        return result_state(self.source_bytes(), original, self.skipped)


AnyLine = ResultLine | PageText

_TEXT: Final = msgspec.json.Decoder(PageText)


def parse_text(line: bytes) -> PageText:
    """Return the text of a line of results.jsonl.

    Raises:
        DamagedLineError: the checksum or a field is wrong.
    """
    return parse_line(line, _TEXT)
