"""Parses manifests and lists of paths in bounded memory, whatever their size.

Blocks of bytes are fed to a reader, which returns the rows that end in them (without I/O, as in h11). A broken row
becomes an entry with a problem.
"""

import csv
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from pipeline.errors import UsageError
from pipeline.inputs.rows import (
    PAGE_FIELDS,
    ManifestEntry,
    broken_entry,
    find_page_field,
    make_entry,
    parse_object,
    parse_path,
    path_entry,
)

LINE_MAX_BYTES: Final = 1024 * 1024
"""Limit of a line or CSV record; it bounds the memory that a file without newlines takes."""

MANIFEST_SUFFIXES: Final = (".txt", ".csv", ".tsv", ".jsonl")
"""A file given as INPUT is a manifest when it has one of these suffixes, in any case."""

csv.field_size_limit(max(csv.field_size_limit(), LINE_MAX_BYTES))  # by default 128 KiB; a line may be one field

_TOO_LONG: Final = "line longer than 1 MiB"
_NOT_UTF8: Final = re.compile("[\udc80-\udcff]")  # surrogate escapes


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
        entries = (
            broken_entry(label, _TOO_LONG) if data is None else self._parse(label, data) for label, data in labelled
        )
        return [entry for entry in entries if entry is not None]


class TableReader(ManifestReader):
    """Parses CSV or TSV with a header; quoted fields may contain newlines.

    Where every name of the header but the first follows a space (`path, title`), spaces after the delimiters belong
    to no field, in the header and in the rows.
    """

    def __init__(self, label: str, delimiter: str, column: str | None) -> None:
        super().__init__(label, LineSplitter())
        self._delimiter = delimiter
        self._column = column
        self._open = _LineCursor([])
        self._header: list[str] = []
        self._page_field = ""
        self._skips_spaces = False

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
        records = self._open_csv(cursor)
        start = 0
        while (start := cursor.next) < len(cursor.lines):
            number = cursor.lines[start].number
            had_header = bool(self._header)
            try:
                row = next(records)
            except csv.Error as exc:
                entries.append(self._broken_row(number, f"not CSV: {exc}"))
                cursor.rewind(start + 1)
                continue
            if not cursor.is_starved:
                entries += self._read_row(number, row)
                if not had_header and self._skips_spaces:
                    records = self._open_csv(cursor)
            elif is_last or cursor.size_bytes(start) > LINE_MAX_BYTES:
                # Drop its first line only: the lines after it are most likely records of their own.
                entries.append(self._broken_row(number, "a quote is not closed"))
                cursor.rewind(start + 1)
            else:
                break
        self._open = _LineCursor(cursor.lines[start:])
        return entries

    def _open_csv(self, cursor: "_LineCursor") -> Iterator[list[str]]:
        return csv.reader(cursor, delimiter=self._delimiter, skipinitialspace=self._skips_spaces)

    def _read_row(self, number: int, row: list[str]) -> list[ManifestEntry]:
        if not any(field.strip() for field in row):
            return []
        label = f"{self._label}:{number}"
        if _NOT_UTF8.search("".join(row)):
            return [self._broken_row(number, "not UTF-8")]
        if not self._header:
            self._skips_spaces = len(row) > 1 and all(name.startswith(" ") for name in row[1:])
            self._header = [name.strip() for name in row] if self._skips_spaces else row
            self._page_field = self._find_column(self._header)
            return []
        if any(row[len(self._header) :]):
            return [self._broken_row(number, f"{len(row)} fields under a header of {len(self._header)}")]
        fields = dict(zip(self._header, row, strict=False))
        return [make_entry(label, fields.pop(self._page_field, ""), fields)]

    def _find_column(self, header: list[str]) -> str:
        column = find_page_field(header, self._column)
        if column is None:
            wanted = ", ".join(PAGE_FIELDS) if self._column is None else self._column
            raise UsageError(f"{self._label}: no column {wanted} in the header {', '.join(header)[:200]!r}")
        return column

    def _broken_row(self, number: int, fault: str) -> ManifestEntry:
        if not self._header:
            raise UsageError(f"{self._label}: header: {fault}")
        return broken_entry(f"{self._label}:{number}", fault)


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


def manifest_reader(suffix: str, label: str, column: str | None = None) -> ManifestReader:
    """Return the reader for manifests with this suffix.

    A table's reader raises `UsageError`, from `feed` or `close`, when the header has no column that names the page.

    Args:
        suffix: One of `MANIFEST_SUFFIXES`.
        label: The manifest's name in labels and messages.
        column: The column that names the page; None for the first of `PAGE_FIELDS`. A list has no columns.
    """
    if suffix in {".csv", ".tsv"}:
        return TableReader(label, "," if suffix == ".csv" else "\t", column)
    return ListReader(label, partial(parse_object, column=column) if suffix == ".jsonl" else parse_path)


def path_reader(label: str, *, null_separated: bool) -> ManifestReader:
    """Return the reader for paths as `find` prints them: a name may be any bytes except the separator and NUL."""
    if null_separated:
        return ListReader(label, path_entry, b"\0")
    return ListReader(label, partial(parse_path, errors="surrogateescape"))
