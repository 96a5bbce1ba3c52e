"""Notices that a JSONL file was replaced, moved, removed or truncated while a run appends to it.

`sed -i`, an editor, `mv`, `rm`, logrotate or a moved folder leave the run with a descriptor of a file that its name no
longer leads to: lines would be synced and lost. After each group of lines the name is looked up again; when it leads
elsewhere, the lines of this run are read back through the descriptor and saved in a rescue file.
"""

import os
from pathlib import Path

_BLOCK_BYTES = 1 << 20


class ReplacedFileError(OSError):
    """The file's name leads to another file, or to none; or the file is shorter than what was written to it."""

    def __init__(self, problem: str) -> None:
        super().__init__(0, problem)


def check_replacement(path: Path, descriptor: int, size_bytes: int) -> None:
    """Return when the name still leads to the open file, and the file has all that was written to it.

    Args:
        path: The file's name.
        descriptor: The open file.
        size_bytes: Its size, as far as this process wrote it.

    Raises:
        ReplacedFileError: another program replaced, moved, removed or truncated the file.
        OSError: the name cannot be looked up.
    """
    opened = os.fstat(descriptor)
    try:
        named = path.stat()
    except FileNotFoundError:
        place = locate(descriptor)
        problem = "removed" if place is None else f"moved to {place}"
        raise ReplacedFileError(f"it was {problem} while the run appended to it") from None
    if (named.st_dev, named.st_ino) != (opened.st_dev, opened.st_ino):
        raise ReplacedFileError("it was replaced while the run appended to it")
    if opened.st_size != size_bytes:
        raise ReplacedFileError("it was changed by another program while the run appended to it")


def locate(descriptor: int) -> Path | None:
    """Return where an open file is now; None when it was deleted, or the system does not tell."""
    if os.fstat(descriptor).st_nlink == 0:
        return None
    try:
        place = Path(f"/proc/self/fd/{descriptor}").readlink()
    except OSError:
        return None
    return place if place.exists() else None


def find_unsaved_lines(path: Path, descriptor: int, begin: int) -> tuple[bytes, int]:
    """Return the lines that the open file has and the file at `path` lacks, and the size of the latter.

    Args:
        path: Where the next run looks.
        descriptor: The open file.
        begin: Where this run's lines begin; of a file that was deleted, all lines are returned.
    """
    start = 0 if os.fstat(descriptor).st_nlink == 0 and not path.exists() else begin
    lines = _read_from(descriptor, start).splitlines(keepends=True)
    missing = dict.fromkeys(lines)
    size_bytes = 0
    if path.exists():
        with path.open("rb") as file:
            for line in file:
                missing.pop(line, None)
                size_bytes += len(line)
    return b"".join(missing), size_bytes


def _read_from(descriptor: int, start: int) -> bytes:
    blocks: list[bytes] = []
    while block := os.pread(descriptor, _BLOCK_BYTES, start):
        blocks.append(block)
        start += len(block)
    return b"".join(blocks)
