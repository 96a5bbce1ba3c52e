"""Corrections files: JSON lines, an object per page that a person has corrected or checked."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, BinaryIO, Final

import msgspec

from pipeline.records import rfc3339
from pipeline.workspace.lines import PageNumber
from pipeline.workspace.source_names import name_bytes

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_MAX_LINE_BYTES: Final = 128 * 1024 * 1024
"""So that a file without newlines is not read into memory: longer than any text with its lines."""
_Name = Annotated[str, msgspec.Meta(max_length=200)]


@dataclass(frozen=True, slots=True)
class Correction:
    """What a person did to the text of a page.

    Attributes:
        source: The bytes of the source's name, as in the record.
        page: 1-based.
        id: Identity of the content that the person had seen; None when the file does not say.
        text: As it is now, with line feeds for line breaks; None leaves it as it is.
        lines: The text of each of the record's lines, in their order; None when only the text is known.
        checked: Marked as checked, or no longer so; None leaves the mark on an unchanged text as it is.
        base: `added` of the record that the person had seen; None when the file does not say.
        at: When, RFC 3339 in UTC; None when the file does not say.
        by: Who; None when the file does not say.
        browser: Random id of the browser that it was made in: there a person may have had no name, or another one.
    """

    source: bytes
    page: int
    id: str | None
    text: str | None
    lines: tuple[str, ...] | None
    checked: bool | None
    base: str | None
    at: str | None
    by: str | None
    browser: str | None

    @property
    def person(self) -> str:
        """Who made it, whatever the name at that time."""
        return self.browser or self.by or ""


class _Line(msgspec.Struct, frozen=True, kw_only=True):
    source: str
    page: PageNumber
    source_b64: str | None = None
    id: str | None = None
    text: str | None = None
    lines: tuple[str, ...] | None = None
    checked: bool | None = None
    base: _Name | None = None
    at: str | None = None
    by: _Name | None = None
    browser: _Name | None = None


_LINE = msgspec.json.Decoder(_Line)


def read_corrections(file: BinaryIO) -> Iterator[tuple[int, Correction | str]]:
    """Yield (number from 1; correction, or why it cannot be read) of each line that is not empty."""
    for number, line in enumerate(_read_lines(file), 1):
        if line is None:
            yield number, f"longer than {_MAX_LINE_BYTES >> 20} MiB"
            continue
        body = line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line
        if body.strip():
            yield number, parse_correction(body)


def parse_correction(line: bytes) -> Correction | str:
    """Return the correction of a line, or why it cannot be read."""
    try:
        fields = _LINE.decode(line)
        source = name_bytes(fields.source, fields.source_b64)
        at = None if fields.at is None else _in_utc(fields.at)
    except (ValueError, RecursionError) as exc:  # msgspec's errors are ValueErrors
        return str(exc)
    if fields.text is None and fields.checked is None:
        return "neither `text` nor `checked`"
    text = None if fields.text is None else normalise_breaks(fields.text)
    return Correction(
        source,
        fields.page,
        fields.id,
        text,
        fields.lines,
        fields.checked,
        base=fields.base or None,
        at=at,
        by=fields.by or None,
        browser=fields.browser or None,
    )


def normalise_breaks(text: str) -> str:
    """Return a text with line feeds for line breaks, as a browser's text field has them."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _in_utc(at: str) -> str:
    moment = datetime.fromisoformat(at)
    if moment.tzinfo is None:
        raise ValueError("`at` has no time zone")
    try:
        return rfc3339(moment)
    except OverflowError as exc:  # the first or the last day of all, in a zone where UTC is another day
        raise ValueError("`at` is out of range in UTC") from exc


def _read_lines(file: BinaryIO) -> Iterator[bytes | None]:
    """Yield the lines; None for one that is too long."""
    while line := file.readline(_MAX_LINE_BYTES):
        if line.endswith(b"\n") or len(line) < _MAX_LINE_BYTES:
            yield line
            continue
        while (rest := file.readline(io.DEFAULT_BUFFER_SIZE)) and not rest.endswith(b"\n"):
            pass
        yield None
