"""What the bytes of a manifest mean: its entries, in bounded memory whatever the file's size.

Bytes are fed in blocks, entries come out (in the manner of h11); a broken line is an entry with a problem.
"""

import csv
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from pipeline.errors import BadManifestEntryError, PageError, UsageError
from pipeline.inputs.selection import find_fault, is_url
from pipeline.records import Meta

LINE_MAX_BYTES: Final = 1024 * 1024
"""A line, or a CSV record, above this is no entry; it keeps a file without line ends from filling the memory."""

PAGE_FIELDS: Final = ("path", "file", "image", "url")
"""Where a manifest's row names its page; the first that exists counts."""

MANIFEST_SUFFIXES: Final = (".txt", ".csv", ".tsv", ".jsonl")
"""What makes an INPUT a manifest; compared in lower case."""

_TOO_LONG: Final = "line longer than 1 MiB"
_NOT_UTF8: Final = re.compile("[\udc80-\udcff]")  # what "surrogateescape" makes of other bytes


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """What a listing says about one page-to-be.

    Attributes:
        target: A path (absolute, or relative to the listing's directory) or a URL; None when the entry names none.
        label: "<listing>:<line number>", the name of an entry without a target; empty for a file of a directory.
        meta: The row's other fields; always encodable as JSON.
        problem: Why it cannot become a page.
    """

    target: str | None
    label: str = ""
    meta: Meta | None = None
    problem: PageError | None = None


def parse_path(label: str, line: bytes, errors: str = "strict") -> ManifestEntry | None:
    """Return the entry of a line that is a path or a URL; None for a blank line.

    Args:
        label: "<listing>:<line number>".
        line: Without its newline; a carriage return at the end is dropped.
        errors: What to do with bytes that are not UTF-8, as in `bytes.decode`.
    """
    if not line.strip():
        return None
    try:
        return _entry(label, line.removesuffix(b"\r").decode("utf-8", errors))
    except UnicodeDecodeError:
        return _broken(label, "not UTF-8")


def parse_object(label: str, line: bytes) -> ManifestEntry | None:
    """Return the entry of a line that is a JSON object with one of `PAGE_FIELDS`; None for a blank line."""
    if not line.strip():
        return None
    try:
        row = orjson.loads(line)
        # orjson reads deeper values than it writes; what it would refuse in the record is refused here.
        orjson.dumps([[row]])
    except (orjson.JSONDecodeError, TypeError) as exc:
        return _broken(label, f"not JSON: {exc}")
    if not isinstance(row, dict):
        return _broken(label, "not a JSON object")
    key = find_page_field([key for key, value in row.items() if value is not None])
    if key is None:
        return _broken(label, f"none of the fields {', '.join(PAGE_FIELDS)}")
    target = row.pop(key)
    if not isinstance(target, str):
        return _broken(label, f"'{key}' is not a string")
    return _entry(label, target, row)


def find_page_field(names: Iterable[str]) -> str | None:
    """Return which of these fields names the page, whatever its case; None when none does."""
    by_name = {name.strip().lower(): name for name in reversed(list(names))}
    return next((by_name[field] for field in PAGE_FIELDS if field in by_name), None)


def _entry(label: str, target: str, meta: Mapping[str, Any] | None = None) -> ManifestEntry:
    if is_url(target.strip()):
        target = target.strip()
    fault = find_fault(target) if target else "no path"
    return _broken(label, fault, meta) if fault else ManifestEntry(target, label, meta or None)


def _broken(label: str, fault: str, meta: Meta | None = None) -> ManifestEntry:
    return ManifestEntry(None, label, meta or None, BadManifestEntryError(fault))


@dataclass(frozen=True, slots=True)
class Line:
    """A line without its end.

    Attributes:
        number: 1-based.
        data: None when the line is longer than `LINE_MAX_BYTES`.
    """

    number: int
    data: bytes | None


class LineSplitter:
    """Turns blocks of bytes into lines; a byte order mark before the first line is dropped."""

    def __init__(self, separator: bytes = b"\n") -> None:
        self._separator = separator
        self._rest = b""
        self._number = 0
        self._is_overlong = False

    def feed(self, block: bytes) -> list[Line]:
        """Return the lines that end in this block."""
        *ended, rest = (self._rest + block).split(self._separator)
        lines = [self._end(data) for data in ended]
        self._is_overlong = self._is_overlong or len(rest) > LINE_MAX_BYTES
        self._rest = b"" if self._is_overlong else rest
        return lines

    def close(self) -> list[Line]:
        """Return the last line when nothing ended it."""
        return [self._end(self._rest)] if self._rest or self._is_overlong else []

    def _end(self, data: bytes) -> Line:
        is_overlong, self._is_overlong = self._is_overlong or len(data) > LINE_MAX_BYTES, False
        self._number += 1
        if self._number == 1 and self._separator == b"\n":
            data = data.removeprefix(b"\xef\xbb\xbf")
        return Line(self._number, None if is_overlong else data)


class Reader:
    """Turns blocks of a listing's bytes into entries."""

    def __init__(self, label: str, splitter: LineSplitter) -> None:
        self._label = label
        self._splitter = splitter

    def feed(self, block: bytes) -> list[ManifestEntry]:
        """Return the entries that end in this block."""
        return self._read(self._splitter.feed(block), is_last=False)

    def close(self) -> list[ManifestEntry]:
        """Return what was still open at the end."""
        return self._read(self._splitter.close(), is_last=True)

    def _read(self, lines: Iterable[Line], *, is_last: bool) -> list[ManifestEntry]:
        raise NotImplementedError


class ListReader(Reader):
    """Reads a list with one entry a line: paths, or JSON objects."""

    def __init__(
        self, label: str, parse: Callable[[str, bytes], ManifestEntry | None], separator: bytes = b"\n"
    ) -> None:
        super().__init__(label, LineSplitter(separator))
        self._parse = parse

    def _read(self, lines: Iterable[Line], *, is_last: bool) -> list[ManifestEntry]:
        labelled = ((f"{self._label}:{line.number}", line.data) for line in lines)
        entries = (_broken(label, _TOO_LONG) if data is None else self._parse(label, data) for label, data in labelled)
        return [entry for entry in entries if entry is not None]


class TableReader(Reader):
    """Reads CSV or TSV with a header; quoted fields may hold line ends."""

    def __init__(self, label: str, delimiter: str) -> None:
        super().__init__(label, LineSplitter())
        self._delimiter = delimiter
        self._open = _Cursor([])
        self._header: list[str] = []
        self._page_field = ""

    def _read(self, lines: Iterable[Line], *, is_last: bool) -> list[ManifestEntry]:
        entries: list[ManifestEntry] = []
        for line in lines:
            if line.data is None:
                entries += self._read_records(is_last=True)
                entries.append(self._broken_row(line.number, _TOO_LONG))
            else:
                self._open.lines.append(line)
        entries += self._read_records(is_last=is_last)
        if is_last and not self._header:
            raise UsageError(f"{self._label}: no header line")
        return entries

    def _read_records(self, *, is_last: bool) -> list[ManifestEntry]:
        """Read the open lines up to the last complete record; the rest waits for more, unless there is none."""
        entries: list[ManifestEntry] = []
        cursor = self._open
        records = csv.reader(cursor, delimiter=self._delimiter)
        start = 0
        while (start := cursor.next) < len(cursor.lines):
            number = cursor.lines[start].number
            try:
                row = next(records)
            except csv.Error as exc:
                entries.append(self._broken_row(number, f"not CSV: {exc}"))
                cursor.rewind(start + 1)
                continue
            if not cursor.is_starved:
                entries += self._read_row(number, row)
            elif is_last or cursor.size_bytes(start) > LINE_MAX_BYTES:
                # Only its first line is lost: those after it are most likely records of their own.
                entries.append(self._broken_row(number, "a quote is not closed"))
                cursor.rewind(start + 1)
            else:
                break
        self._open = _Cursor(cursor.lines[start:])
        return entries

    def _read_row(self, number: int, row: list[str]) -> list[ManifestEntry]:
        if not row:
            return []
        label = f"{self._label}:{number}"
        if _NOT_UTF8.search("".join(row)):
            return [self._broken_row(number, "not UTF-8")]
        if not self._header:
            self._page_field = self._find_column(row)
            self._header = row
            return []
        if any(row[len(self._header) :]):
            return [self._broken_row(number, f"{len(row)} fields under a header of {len(self._header)}")]
        fields = dict(zip(self._header, row, strict=False))
        return [_entry(label, fields.pop(self._page_field, ""), fields)]

    def _find_column(self, header: list[str]) -> str:
        column = find_page_field(header)
        if column is None:
            raise UsageError(f"{self._label}: no column {', '.join(PAGE_FIELDS)} in the header {', '.join(header)!r}")
        return column

    def _broken_row(self, number: int, fault: str) -> ManifestEntry:
        if not self._header:
            raise UsageError(f"{self._label}: header: {fault}")
        return _broken(f"{self._label}:{number}", fault)


class _Cursor:
    """Lines for `csv.reader`, which reads a line ahead only within quotes: being starved tells an open record."""

    def __init__(self, lines: list[Line]) -> None:
        self.lines = lines
        self.next = 0
        self.is_starved = False

    def __iter__(self) -> "_Cursor":
        return self

    def __next__(self) -> str:
        if self.next == len(self.lines):
            self.is_starved = True
            raise StopIteration
        data = self.lines[self.next].data or b""
        self.next += 1
        return data.decode("utf-8", "surrogateescape") + "\n"

    def rewind(self, position: int) -> None:
        self.next = position
        self.is_starved = False

    def size_bytes(self, start: int) -> int:
        return sum(len(line.data or b"") for line in self.lines[start:])


def manifest_reader(suffix: str, label: str) -> Reader:
    """Return the reader for a manifest with this suffix, one of `MANIFEST_SUFFIXES`.

    Readers of tables raise `UsageError`, from `feed` or `close`, when no header has a column that names pages.

    Args:
        suffix: In lower case.
        label: How the manifest is called in the names of broken entries and in messages.
    """
    if suffix in {".csv", ".tsv"}:
        return TableReader(label, "," if suffix == ".csv" else "\t")
    return ListReader(label, parse_object if suffix == ".jsonl" else parse_path)


def path_reader(label: str, *, null_separated: bool) -> Reader:
    """Return the reader for paths as `find` prints them: any bytes but the separator, and NUL, are a name."""
    if null_separated:
        return ListReader(label, lambda name, item: _entry(name, os.fsdecode(item)) if item else None, b"\0")
    return ListReader(label, lambda name, line: parse_path(name, line, "surrogateescape"))
