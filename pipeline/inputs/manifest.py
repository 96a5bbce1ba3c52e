"""Parses manifests and lists of paths in bounded memory, whatever their size.

Blocks of bytes are fed to a reader, which returns the rows that end in them (without I/O, as in h11). A broken row
becomes an entry with a problem.
"""

import csv
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from pipeline.errors import BadManifestEntryError, PageError, UsageError
from pipeline.inputs.selection import find_fault
from pipeline.records import Meta
from pipeline.wire import is_url

LINE_MAX_BYTES: Final = 1024 * 1024
"""Limit of a line or CSV record; it bounds the memory that a file without newlines takes."""

PAGE_FIELDS: Final = ("path", "file", "image", "url")
"""Fields that name the page of a row; the first of these that the row has counts."""

MANIFEST_SUFFIXES: Final = (".txt", ".csv", ".tsv", ".jsonl")
"""A file given as INPUT is a manifest when it has one of these suffixes, in any case."""

_TOO_LONG: Final = "line longer than 1 MiB"
_NOT_UTF8: Final = re.compile("[\udc80-\udcff]")  # surrogate escapes


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """A row of a manifest, a line of a list, or a file of a directory: a page, as far as is known.

    Attributes:
        target: A path (absolute, or relative to the manifest's directory) or a URL; None when the row names no page.
        label: "<manifest>:<line number>", which names a row without a target; empty for a file of a directory.
        meta: The row's other fields; always encodable as JSON.
        problem: Why the row cannot become a page; None when no reason is known.
    """

    target: str | None
    label: str = ""
    meta: Meta | None = None
    problem: PageError | None = None


def parse_path(label: str, line: bytes, errors: str = "strict") -> ManifestEntry | None:
    """Parse a line that is a path or a URL; return None for a blank line.

    Args:
        label: "<manifest>:<line number>".
        line: Without its newline; a carriage return at the end is dropped.
        errors: Treatment of bytes that are not UTF-8, as in `bytes.decode`.
    """
    if not line.strip():
        return None
    try:
        return _entry(label, line.removesuffix(b"\r").decode("utf-8", errors))
    except UnicodeDecodeError:
        return _broken(label, "not UTF-8")


def parse_object(label: str, line: bytes) -> ManifestEntry | None:
    """Parse a line that is a JSON object with one of `PAGE_FIELDS`; return None for a blank line."""
    if not line.strip():
        return None
    try:
        row = orjson.loads(line)
        # orjson parses deeper nesting than it encodes; the record nests the row two levels deeper.
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
    """Return the field that names the page, compared in any case; None when there is none."""
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
    """Splits blocks of bytes into lines; drops a byte order mark before the first line."""

    def __init__(self, separator: bytes = b"\n") -> None:
        self._separator = separator
        self._rest = b""
        self._number = 0
        self._is_overlong = False

    def feed(self, block: bytes) -> list[Line]:
        """Add a block; return the lines that end in it."""
        *ended, rest = (self._rest + block).split(self._separator)
        lines = [self._end(data) for data in ended]
        self._is_overlong = self._is_overlong or len(rest) > LINE_MAX_BYTES
        self._rest = b"" if self._is_overlong else rest
        return lines

    def close(self) -> list[Line]:
        """Return the last line when no separator ended it."""
        return [self._end(self._rest)] if self._rest or self._is_overlong else []

    def _end(self, data: bytes) -> Line:
        is_overlong, self._is_overlong = self._is_overlong or len(data) > LINE_MAX_BYTES, False
        self._number += 1
        if self._number == 1 and self._separator == b"\n":
            data = data.removeprefix(b"\xef\xbb\xbf")
        return Line(self._number, None if is_overlong else data)


class ManifestReader:
    """Parses blocks of a manifest's bytes."""

    def __init__(self, label: str, splitter: LineSplitter) -> None:
        self._label = label
        self._splitter = splitter

    def feed(self, block: bytes) -> list[ManifestEntry]:
        """Add a block; return the rows that end in it."""
        return self._read(self._splitter.feed(block), is_last=False)

    def close(self) -> list[ManifestEntry]:
        """Return the rows that the end of the file ends."""
        return self._read(self._splitter.close(), is_last=True)

    def _read(self, lines: Iterable[Line], *, is_last: bool) -> list[ManifestEntry]:
        raise NotImplementedError


class ListReader(ManifestReader):
    """Parses one path, or one JSON object, per line."""

    def __init__(
        self, label: str, parse: Callable[[str, bytes], ManifestEntry | None], separator: bytes = b"\n"
    ) -> None:
        super().__init__(label, LineSplitter(separator))
        self._parse = parse

    def _read(self, lines: Iterable[Line], *, is_last: bool) -> list[ManifestEntry]:
        labelled = ((f"{self._label}:{line.number}", line.data) for line in lines)
        entries = (_broken(label, _TOO_LONG) if data is None else self._parse(label, data) for label, data in labelled)
        return [entry for entry in entries if entry is not None]


class TableReader(ManifestReader):
    """Parses CSV or TSV with a header; quoted fields may contain newlines."""

    def __init__(self, label: str, delimiter: str) -> None:
        super().__init__(label, LineSplitter())
        self._delimiter = delimiter
        self._open = _LineCursor([])
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
        """Parse the open lines up to the last complete record, or at the end of the file all of them."""
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
                # Drop its first line only: the lines after it are most likely records of their own.
                entries.append(self._broken_row(number, "a quote is not closed"))
                cursor.rewind(start + 1)
            else:
                break
        self._open = _LineCursor(cursor.lines[start:])
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


class _LineCursor:
    """Iterates lines for `csv.reader`, which asks for another line only within quotes: then `is_starved` is set."""

    def __init__(self, lines: list[Line]) -> None:
        self.lines = lines
        self.next = 0
        self.is_starved = False

    def __iter__(self) -> "_LineCursor":
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


def manifest_reader(suffix: str, label: str) -> ManifestReader:
    """Return the reader for manifests with this suffix.

    A table's reader raises `UsageError`, from `feed` or `close`, when the header has no column of `PAGE_FIELDS`.

    Args:
        suffix: One of `MANIFEST_SUFFIXES`.
        label: The manifest's name in labels and messages.
    """
    if suffix in {".csv", ".tsv"}:
        return TableReader(label, "," if suffix == ".csv" else "\t")
    return ListReader(label, parse_object if suffix == ".jsonl" else parse_path)


def path_reader(label: str, *, null_separated: bool) -> ManifestReader:
    """Return the reader for paths as `find` prints them: a name may be any bytes except the separator and NUL."""
    if null_separated:
        return ListReader(label, lambda name, item: _entry(name, os.fsdecode(item)) if item else None, b"\0")
    return ListReader(label, lambda name, line: parse_path(name, line, "surrogateescape"))
