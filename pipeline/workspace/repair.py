"""What earlier runs left in a JSONL file: a torn tail, or lines that a failing disk drove into another file.

A crash may cut off each of these repairs at any point: doing it again comes to the same end.
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
from pipeline.workspace.lines import DamagedLineError, check_seal

_TAIL_BLOCK_BYTES: Final = 1 << 20
_RESCUED: Final = re.compile(r"(?P<file>.+\.jsonl)\.rescued-(?P<start>\d+)-(?P<time>\d{8}T\d{12})")

logger = logging.getLogger("pagemill")


def mend(path: Path) -> None:
    """Make a JSONL file whole and durable before anybody reads it: what is found there is proof of a paid call.

    Raises:
        StorageError: it cannot be read or written.
    """
    for rescued in waiting_rescues(path.parent):
        if _parse_name(rescued)["file"] == path.name:
            take_in(path, rescued)
            logger.warning("%s: took in the lines that waited in %s", path.name, rescued.name)
    torn = repair_tail(path)
    if torn is not None:
        logger.warning("%s: a line torn by a crash was moved to %s", path.name, torn.name)


def name_rescue(path: Path, start: int) -> Path:
    """Return a new name for the lines of a file that can be trusted up to the byte `start`, and no further."""
    return path.with_name(f"{path.name}.rescued-{start}-{_now()}")


def waiting_rescues(workspace: Path) -> list[Path]:
    """Return the files with rescued lines that no run has taken in yet, oldest first."""
    found = [path for path in workspace.iterdir() if _RESCUED.fullmatch(path.name)]
    return sorted(found, key=lambda path: _parse_name(path)["time"])


def take_in(path: Path, rescued: Path) -> None:
    """Put rescued lines where they belong, and delete their file once they are there.

    What stands behind the trusted part was never synced: reading may show bytes that are not on disk. So it is cut
    off and written anew. Mostly these are the first of the rescued lines; of anything else, the whole lines are kept,
    and all of it goes to `<name>.broken-<time>`.

    Args:
        path: The lines' own file.
        rescued: Where they are; its name tells where the trusted part of the file ends.

    Raises:
        StorageError: a file cannot be read or written; the rescued lines are still there.
    """
    try:
        repair_tail(rescued)
        with open(path, "rb+", buffering=0, opener=_open_or_make) as file:
            start, rescued = _find_start(file.fileno(), path, rescued)
            tail, lines = os.pread(file.fileno(), os.fstat(file.fileno()).st_size - start, start), rescued.read_bytes()
            if not lines.startswith(tail):
                _keep_aside(path, tail)
                lines = _merge(tail, lines)
                replace_file(rescued, lines)
            _put(file.fileno(), start, lines)
        sync_directory(path.parent)
        rescued.unlink()
        sync_directory(path.parent)
    except OSError as exc:
        raise StorageError(f"{path}: {exc.strerror or exc}; {rescued.name} waits to be taken in") from exc


def repair_tail(path: Path) -> Path | None:
    """Move what stands after the last newline to `<name>.broken-<time>` and cut it off; the paid lines stay.

    Returns:
        The file with the torn tail; None when there was none.

    Raises:
        StorageError: the file cannot be read, cut or synced.
    """
    torn: Path | None = None
    try:
        with path.open("rb+") as file:
            end, kept = file.seek(0, os.SEEK_END), _end_of_last_line(file.fileno())
            if kept < end:
                torn = _keep_aside(path, os.pread(file.fileno(), end - kept, kept))
                os.ftruncate(file.fileno(), kept)
            os.fsync(file.fileno())  # lines of a killed run may stand in memory only
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise StorageError(f"{path}: {exc.strerror or exc}") from exc
    return torn


def _find_start(descriptor: int, path: Path, rescued: Path) -> tuple[int, Path]:
    """Return where the trusted part ends, and the rescued file's name, which says so even if it did not fit."""
    start = int(_parse_name(rescued)["start"])
    if start == 0 or os.pread(descriptor, 1, start - 1) == b"\n":
        return start, rescued
    start = _end_of_last_line(descriptor)
    rescued = rescued.rename(name_rescue(path, start))
    sync_directory(path.parent)
    return start, rescued


def _put(descriptor: int, start: int, lines: bytes) -> None:
    """Let the file end with these lines, durably."""
    os.ftruncate(descriptor, start)
    end = start + len(lines)
    while start < end:
        start += os.pwrite(descriptor, memoryview(lines)[start - end :], start)
    os.fsync(descriptor)


def _merge(tail: bytes, lines: bytes) -> bytes:
    """Return the lines, and before them those of the tail that are whole and missing among them."""
    known = frozenset(lines.split(b"\n"))
    missing = [line + b"\n" for line in tail.split(b"\n")[:-1] if line not in known and _is_whole(line)]
    return b"".join(missing) + lines


def _is_whole(line: bytes) -> bool:
    try:
        check_seal(line)
    except DamagedLineError:
        return False
    return True


def _keep_aside(path: Path, content: bytes) -> Path:
    """Put bytes that are about to be cut off into a file of their own, durably."""
    aside = path.with_name(f"{path.name}.broken-{_now()}")
    with aside.open("xb") as copy:
        copy.write(content)
        copy.flush()
        os.fsync(copy.fileno())
    sync_directory(path.parent)
    return aside


def _end_of_last_line(descriptor: int) -> int:
    position = os.fstat(descriptor).st_size
    while position > 0:
        start = max(0, position - _TAIL_BLOCK_BYTES)
        newline = os.pread(descriptor, position - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        position = start
    return 0


def _parse_name(rescued: Path) -> re.Match[str]:
    match = _RESCUED.fullmatch(rescued.name)
    assert match is not None, rescued
    return match


def _now() -> str:
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}"


def _open_or_make(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT, 0o666)
