"""Parses a row of a manifest, or a line of a list, into the page that it names; no I/O."""

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from pipeline.errors import BadManifestEntryError, PageError
from pipeline.inputs.selection import FileUrlError, find_fault, is_file_url, path_of_url
from pipeline.members import Member
from pipeline.records import Meta
from pipeline.wire import is_url, replace_surrogates

PAGE_FIELDS: Final = ("path", "file", "file_name", "filename", "image_path", "image", "url")
"""Fields that name the page of a row; the first of these that the row has counts. `file_name` is that of the metadata
of Hugging Face's image folders."""

_UNPAIRED: Final = re.compile("[\ud800-\udc7f\udd00-\udfff]")
"""Surrogates that stand for no byte of a file's name; Python's surrogate escapes are U+DC80 to U+DCFF."""


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """A row of a manifest, a line of a list, or a file of a directory: a page, as far as is known.

    Attributes:
        target: A path (absolute, or relative to the manifest's directory) or a URL; None when the row names no page.
        label: "<manifest>:<line number>", which names a row without a target; empty for a file of a directory.
        meta: The row's other fields; always encodable as JSON.
        problem: Why the row cannot become a page; None when no reason is known.
        undecided: True for a file of a directory whose first bytes decide whether it is a page.
        listed: True for a file of a directory or of an archive.
        may_be_comment: True for a line that begins with `#`: it is a comment unless it names an existing file.
        member: Where its bytes are when a walk found it in an archive.
    """

    target: str | None
    label: str = ""
    meta: Meta | None = None
    problem: PageError | None = None
    undecided: bool = False
    listed: bool = False
    may_be_comment: bool = False
    member: Member | None = None

    @property
    def needs_stat(self) -> bool:
        """True when the filesystem must tell whether the entry is a page, or under which name."""
        return self.undecided or self.may_be_comment or (self.target is not None and self.target != self.target.strip())


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
        text = line.removesuffix(b"\r").decode("utf-8", errors)
    except UnicodeDecodeError:
        return broken_entry(label, "not UTF-8")
    return make_entry(label, text, may_be_comment=text.lstrip().startswith("#"))


def parse_object(label: str, line: bytes, column: str | None = None) -> ManifestEntry | None:
    """Parse a line that is a JSON object with a field that names the page; return None for a blank line.

    `NaN` and infinite numbers, which Python's `json` writes, become null; lone surrogates become U+FFFD, except in
    the page's path, where they stand for bytes that are not UTF-8.

    Args:
        label: "<manifest>:<line number>".
        line: Without its newline.
        column: The field that names the page; None for the first of `PAGE_FIELDS`.
    """
    if not line.strip():
        return None
    try:
        target, meta = _split_row(_load_row(line), column)
        return make_entry(label, target, _writable(meta))
    except BadManifestEntryError as exc:
        return ManifestEntry(None, label, problem=exc)


def find_page_field(names: Iterable[str], column: str | None = None) -> str | None:
    """Return the field that names the page, compared in any case; None when there is none."""
    by_name = {name.strip().lower(): name for name in reversed(list(names))}
    wanted = PAGE_FIELDS if column is None else (column.strip().lower(),)
    return next((by_name[field] for field in wanted if field in by_name), None)


def make_entry(
    label: str, target: str, meta: Mapping[str, Any] | None = None, *, may_be_comment: bool = False
) -> ManifestEntry:
    """Return the entry of a row that names this path or URL; it has a problem when the name cannot be a page's."""
    if is_url(target.strip()):
        target = target.strip()
    try:
        target = path_of_url(target.strip()) if is_file_url(target.strip()) else target
    except FileUrlError as exc:
        return broken_entry(label, str(exc), meta)
    fault = find_fault(target) if target else "no path"
    if fault:
        return broken_entry(label, fault, meta)
    return ManifestEntry(target, label, meta or None, may_be_comment=may_be_comment)


def broken_entry(label: str, fault: str, meta: Meta | None = None) -> ManifestEntry:
    """Return the entry of a row that cannot become a page."""
    return ManifestEntry(None, label, meta or None, BadManifestEntryError(fault))


def path_entry(label: str, item: bytes) -> ManifestEntry | None:
    """Return the entry of a path that may have any bytes; None for an empty one."""
    return make_entry(label, os.fsdecode(item)) if item else None


def _load_row(line: bytes) -> dict[str, Any]:
    """Return the object of a JSON text; NaN is None.

    Raises:
        BadManifestEntryError: it is not JSON, or no object.
    """
    row: object
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as exc:
        try:
            row = json.loads(line.decode("utf-8"), parse_constant=lambda _: None)
        except (ValueError, RecursionError):  # orjson's message says what is wrong with the line
            raise BadManifestEntryError(f"not JSON: {exc}") from exc
    if not isinstance(row, dict):
        raise BadManifestEntryError("not a JSON object")
    return row


def _split_row(row: dict[str, Any], column: str | None) -> tuple[str, dict[str, Any]]:
    """Return the path or URL of a row, and its other fields.

    Raises:
        BadManifestEntryError: no field names a page.
    """
    key = find_page_field([key for key, value in row.items() if value is not None], column)
    if key is None:
        wanted = f"no field {column}" if column is not None else f"none of the fields {', '.join(PAGE_FIELDS)}"
        raise BadManifestEntryError(wanted)
    target = row[key]
    if not isinstance(target, str):
        raise BadManifestEntryError(f"'{key}' is not a string")
    if _UNPAIRED.search(target):
        raise BadManifestEntryError(f"'{key}' has a lone surrogate, which no file name has")
    return target, {name: value for name, value in row.items() if name != key}


def _writable(meta: dict[str, Any]) -> dict[str, Any]:
    """Return fields that a record can hold.

    Raises:
        BadManifestEntryError: they are nested too deeply.
    """
    try:
        orjson.dumps([[meta]])  # orjson parses deeper nesting than it encodes; the record nests a row two levels deeper
    except TypeError:  # lone surrogates, and integers beyond 64 bits, of Python's parser; or too deep
        try:
            meta = _clean(meta)
            orjson.dumps([[meta]])
        except (TypeError, RecursionError) as exc:
            raise BadManifestEntryError(f"not JSON: {exc}") from exc
    return meta


def _clean(value: object) -> Any:  # noqa: ANN401 - any JSON value
    """Return a value of Python's `json` as one that orjson writes."""
    match value:
        case dict():
            return {replace_surrogates(key): _clean(item) for key, item in value.items()}
        case list():
            return [_clean(item) for item in value]
        case str():
            return replace_surrogates(value)
        case int() if not -(2**63) <= value < 2**64:
            return float(value) if abs(value) < 2**1023 else None
        case _:
            return value
