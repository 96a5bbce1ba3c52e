r"""Shard files: parts of the INPUTs that were listed once, for machines that read them at another time.

A shard file never changes. Its first line says what it holds, each further one is a file as the walk found it:

    {"pagemill_shard":1,"root":"/mnt/scans","rows":2,"crc32":…}
    {"name":"a/1.png","size":81234,"mtime_ns":1764489600000000000,"listed":true}
    {"name":"a/caf\ufffd.png","name_b64":"YS9jYWbpLnBuZw==","size":…}

A relative name is relative to the root. `path` stands where the file is elsewhere, or nowhere (null: a URL).
"""

import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import pybase64

from pipeline.errors import PageError, UsageError, page_errors
from pipeline.inputs.selection import join_path
from pipeline.members import Member
from pipeline.records import FileStat, SourceFile
from pipeline.wire import replace_surrogates

SHARD_SUFFIX: Final = ".shard"
_FORMAT: Final = 1


class _Header(msgspec.Struct, frozen=True):
    pagemill_shard: int
    root: str
    rows: int
    crc32: int
    root_b64: str | None = None


class _Row(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file; see `SourceFile`. `problem` is the class and the message of its error."""

    name: str
    name_b64: str | None = None
    path: str | msgspec.UnsetType | None = msgspec.UNSET
    path_b64: str | None = None
    size: int | None = None
    mtime_ns: int | None = None
    meta: dict[str, Any] | None = None
    problem: tuple[str, str] | None = None
    undecided: bool = False
    listed: bool = False
    member: Member | None = None


class ShardFile(NamedTuple):
    """What a shard file holds.

    Attributes:
        root: The directory that source names are relative to.
        files: In the order of the walk.
    """

    root: str
    files: list[SourceFile]


def encode_row(root: str, file: SourceFile) -> bytes:
    """Return the line of a file, newline included; equal files have equal lines."""
    name, name_b64 = _to_text(file.name)
    path: str | msgspec.UnsetType | None = msgspec.UNSET
    path_b64: str | None = None
    if file.path is None:
        path = None
    elif str(file.path) != join_path(root, file.name):
        path, path_b64 = _to_text(str(file.path))
    problem = file.problem
    row = _Row(
        name=name,
        name_b64=name_b64,
        path=path,
        path_b64=path_b64,
        size=None if file.stat is None else file.stat.size_bytes,
        mtime_ns=None if file.stat is None else file.stat.mtime_ns,
        meta=None if file.meta is None else dict(file.meta),
        problem=None
        if problem is None
        else (getattr(problem, "name", PageError.name), replace_surrogates(str(problem))),
        undecided=file.undecided,
        listed=file.listed,
        member=file.member,
    )
    return msgspec.json.encode(row) + b"\n"


def encode_shard(root: str, rows: Sequence[bytes]) -> bytes:
    """Return the content of a shard file, from the lines of its files."""
    content = b"".join(rows)
    text, text_b64 = _to_text(root)
    header = _Header(_FORMAT, text, len(rows), zlib.crc32(content), text_b64)
    return msgspec.json.encode(header) + b"\n" + content


def read_shard_rows(path: Path) -> tuple[str, list[bytes]]:
    """Return the root and the lines of a shard file.

    Raises:
        UsageError: the file cannot be read, is damaged, or no shard file.
    """
    try:
        head, _, content = path.read_bytes().partition(b"\n")
        header = msgspec.json.decode(head, type=_Header)
    except OSError as exc:
        raise UsageError(f"{path}: {exc.strerror or exc}") from exc
    except msgspec.DecodeError as exc:
        raise UsageError(f"{path}: not a shard file: {exc}") from exc
    rows = content.splitlines(keepends=True)
    if header.pagemill_shard != _FORMAT:
        raise UsageError(f"{path}: format {header.pagemill_shard} is not known to this release")
    if zlib.crc32(content) != header.crc32 or len(rows) != header.rows:
        raise UsageError(f"{path}: damaged: {len(rows)} of {header.rows} rows, or their checksum is wrong")
    return _from_text(header.root, header.root_b64), rows


def read_shard(path: Path) -> ShardFile:
    """Return what a shard file holds; errors as for `read_shard_rows`."""
    root, rows = read_shard_rows(path)
    try:
        return ShardFile(root, [_to_file(root, _ROW.decode(row)) for row in rows])
    except (msgspec.DecodeError, ValueError) as exc:
        raise UsageError(f"{path}: damaged: {exc}") from exc


_ROW: Final = msgspec.json.Decoder(_Row)
_ERRORS: Final = {error.name: error for error in page_errors()}


def _to_file(root: str, row: _Row) -> SourceFile:
    name = _from_text(row.name, row.name_b64)
    if isinstance(row.path, msgspec.UnsetType):
        path: Path | None = Path(join_path(root, name))
    else:
        path = None if row.path is None else Path(_from_text(row.path, row.path_b64))
    return SourceFile(
        name,
        path,
        None if row.size is None or row.mtime_ns is None else FileStat(row.size, row.mtime_ns),
        row.meta,
        None if row.problem is None else _ERRORS.get(row.problem[0], PageError)(row.problem[1]),
        undecided=row.undecided,
        listed=row.listed,
        member=row.member,
    )


def _to_text(name: str) -> tuple[str, str | None]:
    """Return a name as JSON holds it, and its bytes in base64 when these are not UTF-8."""
    text = replace_surrogates(name)
    return text, None if text == name else pybase64.b64encode(os.fsencode(name)).decode("ascii")


def _from_text(text: str, text_b64: str | None) -> str:
    return text if text_b64 is None else os.fsdecode(pybase64.b64decode(text_b64, validate=True))
