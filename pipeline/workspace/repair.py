"""Repairs a JSONL file before it is read: a line torn by a crash, and lines saved from a failed disk.

A crash may cut off any repair at any step: repairing again gives the same file.
"""

import logging
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pipeline.errors import StorageError
from pipeline.storage.files import replace_file
from pipeline.storage.filesystems import sync_directory
from pipeline.workspace.reencoding import restore_line

_TAIL_BLOCK_BYTES: Final = 1 << 20
_HEAD_BYTES: Final = 8
_OTHER_FORMATS: Final = (
    b"\x1f\x8b",  # gzip
    b"BZh",
    b"\xfd7zXZ",
    b"\x28\xb5\x2f\xfd",  # zstd
    b"\x04\x22\x4d\x18",  # lz4
    b"PK\x03\x04",
    b"7z\xbc\xaf",
    b"\xff\xfe",  # UTF-16 and UTF-32 with a byte order mark
    b"\xfe\xff",
    b"\x00\x00\xfe\xff",
    b"{\x00",  # without one
    b"\x00{",
    b"\x00\x00\x00{",
)
_RESCUE_NAME: Final = re.compile(r"(?P<file>.+\.jsonl)\.rescued-(?P<start>\d+)-(?P<time>\d{8}T\d{12})")
_EVIDENCE_GLOB: Final = "*.jsonl.broken-*"

logger = logging.getLogger("pagemill")


def repair_file(path: Path) -> None:
    """Make a JSONL file whole and durable; its lines are the proof of paid calls, so this precedes every reading.

    Raises:
        StorageError: the file cannot be read or written, or another program has compressed or recoded it.
    """
    _require_lines(path)
    for rescue in find_rescues(path.parent):
        if _parse_name(rescue)["file"] == path.name:
            merge_rescue(path, rescue)
            logger.warning("%s: merged the lines of %s", path.name, rescue.name)
    evidence = remove_torn_tail(path)
    if evidence is not None:
        logger.warning("%s: a line torn by a crash was moved to %s", path.name, evidence.name)


def _require_lines(path: Path) -> None:
    """Return unless a file is compressed or in UTF-16: a repair would cut off its end.

    Raises:
        StorageError: it is, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except FileNotFoundError:
        return
    except OSError as exc:
        raise StorageError(f"{path}: {exc.strerror or exc}") from exc
    if head.startswith(_OTHER_FORMATS):
        raise StorageError(
            f"{path}: it is compressed, or in UTF-16: another program has replaced it; nothing was sent; restore it, or"
            " move it away and run with --pay-again"
        )


def new_rescue_path(path: Path, start: int) -> Path:
    """Return an unused name for a rescue file of a file whose bytes are durable up to `start` only."""
    return path.with_name(f"{path.name}.rescued-{start}-{_now()}")


def find_rescues(workspace: Path) -> list[Path]:
    """Return the rescue files that no run has merged yet, oldest first."""
    found = [path for path in workspace.iterdir() if _RESCUE_NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: _parse_name(path)["time"])


def find_evidence(workspace: Path) -> list[Path]:
    """Return the files that hold bytes removed by a repair."""
    return sorted(workspace.glob(_EVIDENCE_GLOB))


def merge_rescue(path: Path, rescue: Path) -> None:
    """Move the lines of a rescue file to the end of their own file, and delete the rescue file.

    The bytes after the durable part were never synced: a read may return bytes that are not on disk. They are cut
    off and written again. Usually they are the first of the rescued lines. Otherwise their intact lines are kept
    before the rescued ones, and all of these bytes are copied to `<name>.broken-<time>`.

    Args:
        path: The lines' own file.
        rescue: The rescue file; its name contains the offset at which the durable part of the own file ends.

    Raises:
        StorageError: a file cannot be read or written; the rescue file still exists.
    """
    try:
        remove_torn_tail(rescue)
        with open(path, "rb+", buffering=0, opener=_open_or_create) as file:
            start, rescue = _find_start(file.fileno(), path, rescue)
            tail, lines = os.pread(file.fileno(), os.fstat(file.fileno()).st_size - start, start), rescue.read_bytes()
            if not lines.startswith(tail):
                _write_evidence(path, tail)
                lines = _add_missing(tail, lines)
                replace_file(rescue, lines)
            _rewrite_from(file.fileno(), start, lines)
        sync_directory(path.parent)
        rescue.unlink()
        sync_directory(path.parent)
    except OSError as exc:
        raise StorageError(f"{path}: {exc.strerror or exc}; the lines of {rescue.name} are not merged yet") from exc


def remove_torn_tail(path: Path) -> Path | None:
    """Move the bytes after the last newline to `<name>.broken-<time>`, and sync the file.

    A last line that lacks nothing but its newline gets it.

    Returns:
        The file with the removed bytes; None when none were removed.

    Raises:
        StorageError: the file cannot be read, cut or synced.
    """
    evidence: Path | None = None
    try:
        with path.open("rb+") as file:
            end, kept = file.seek(0, os.SEEK_END), _end_of_last_line(file.fileno())
            tail = os.pread(file.fileno(), end - kept, kept)
            if tail and is_whole(tail):
                os.pwrite(file.fileno(), b"\n", end)
            elif tail:
                evidence = _write_evidence(path, tail)
                os.ftruncate(file.fileno(), kept)
            os.fsync(file.fileno())  # lines of a killed run may be in the page cache only
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise StorageError(f"{path}: {exc.strerror or exc}") from exc
    return evidence


def is_whole(line: bytes) -> bool:
    """Return True when a line lacks at most its newline, also after another program has encoded it anew."""
    return restore_line(line) is not None


def _find_start(descriptor: int, path: Path, rescue: Path) -> tuple[int, Path]:
    """Return where the durable part of the file ends, and the rescue file.

    The file may be shorter than the rescue file's name says; the rescue file is renamed then.
    """
    start = int(_parse_name(rescue)["start"])
    if start == 0 or os.pread(descriptor, 1, start - 1) == b"\n":
        return start, rescue
    start = _end_of_last_line(descriptor)
    rescue = rescue.rename(new_rescue_path(path, start))
    sync_directory(path.parent)
    return start, rescue


def _rewrite_from(descriptor: int, start: int, lines: bytes) -> None:
    """Replace all bytes of the file from `start` on with these lines, and sync."""
    os.ftruncate(descriptor, start)
    end = start + len(lines)
    while start < end:
        start += os.pwrite(descriptor, memoryview(lines)[start - end :], start)
    os.fsync(descriptor)


def _add_missing(tail: bytes, lines: bytes) -> bytes:
    """Return the lines, preceded by those intact lines of the tail that are not among them."""
    known = frozenset(lines.split(b"\n"))
    missing = [line + b"\n" for line in tail.split(b"\n") if line not in known and is_whole(line)]
    return b"".join(missing) + lines


def _write_evidence(path: Path, content: bytes) -> Path:
    """Write bytes that a repair removes to a file of their own, durably; return that file."""
    evidence = path.with_name(f"{path.name}.broken-{_now()}")
    with evidence.open("xb") as copy:
        copy.write(content)
        copy.flush()
        os.fsync(copy.fileno())
    sync_directory(path.parent)
    return evidence


def _end_of_last_line(descriptor: int) -> int:
    position = os.fstat(descriptor).st_size
    while position > 0:
        start = max(0, position - _TAIL_BLOCK_BYTES)
        newline = os.pread(descriptor, position - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        position = start
    return 0


def _parse_name(rescue: Path) -> re.Match[str]:
    match = _RESCUE_NAME.fullmatch(rescue.name)
    assert match is not None, rescue
    return match


def _now() -> str:
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}"


def _open_or_create(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT, 0o666)
