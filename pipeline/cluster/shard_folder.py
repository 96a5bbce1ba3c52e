"""OUT/shards: the files of the INPUTs, listed once into numbered shard files that never change.

Listing again adds what is new: a file that stands in a shard file as it is now is in none of the new ones. A changed
file is; its content is claimed in the ledger, so that it costs a call only when the content has changed.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from pipeline.errors import StorageError, UsageError
from pipeline.inputs.shard_rows import SHARD_SUFFIX, encode_row, encode_shard, read_shard_rows
from pipeline.records import SourceFile
from pipeline.storage.filesystems import make_directory, sync_directory
from pipeline.storage.temporary import KeySet

FOLDER: Final = "shards"
_DIGEST_BYTES: Final = 16


class ShardFolder:
    """The shard files of a job; a context manager. Its memory does not grow with their number.

    Args:
        out: The job's workspace.
        root: The directory that source names are relative to.
        shard_files: Files per shard.

    Raises:
        UsageError: a shard file is damaged, or one is missing among them.
        StorageError: the folder cannot be made or read.
    """

    def __init__(self, out: Path, root: Path, shard_files: int) -> None:
        self.path = out / FOLDER
        self._root = str(root)
        self._shard_files = shard_files
        self._rows: list[bytes] = []
        self._known = KeySet()
        self.number_of_files = 0
        """Files in all shard files."""
        self.last = 0
        """Number of the last shard file; 0 for none."""
        try:
            make_directory(self.path)
            for number in find_shards(out):
                if number != self.last + 1:
                    raise UsageError(f"{self.path}: shard file {self.last + 1} is missing; restore it first")
                self._learn(number)
        except OSError as exc:
            raise StorageError(f"{self.path}: {exc.strerror or exc}") from exc

    def __repr__(self) -> str:
        return f"<ShardFolder {self.last} shards, {self.number_of_files} files>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._known.close()

    def add(self, file: SourceFile) -> int | None:
        """Put a file into the shard that is being filled; return the number of that shard once it is written.

        Raises:
            StorageError: it cannot be written.
        """
        row = encode_row(self._root, file)
        if not self._known.add(_digest(row)):
            return None
        self._rows.append(row)
        return self.finish() if len(self._rows) >= self._shard_files else None

    def finish(self) -> int | None:
        """Write the shard that is being filled, and return its number; None when it is empty."""
        if not self._rows:
            return None
        number = self.last + 1
        create_file(shard_path(self.path.parent, number), encode_shard(self._root, self._rows))
        self.last, self.number_of_files = number, self.number_of_files + len(self._rows)
        self._rows = []
        return number

    def _learn(self, number: int) -> None:
        _, rows = read_shard_rows(shard_path(self.path.parent, number))
        for row in rows:
            self._known.add(_digest(row))
        self.last, self.number_of_files = number, self.number_of_files + len(rows)


def shard_path(out: Path, number: int) -> Path:
    """Return the path of a shard file."""
    return out / FOLDER / f"{number:06}{SHARD_SUFFIX}"


def find_shards(out: Path) -> Iterator[int]:
    """Return the numbers of the shard files, ascending."""
    names = (path.stem for path in (out / FOLDER).glob(f"*{SHARD_SUFFIX}"))
    return iter(sorted(int(name) for name in names if name.isdigit()))


def create_file(path: Path, content: bytes) -> None:
    """Create a whole file that is not there yet: written aside, synced, and linked under its name.

    Raises:
        StorageError: it is there, or cannot be written.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(aside, path)
        sync_directory(path.parent)
    except OSError as exc:
        raise StorageError(f"{path}: {exc.strerror or exc}") from exc
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)


def _digest(row: bytes) -> bytes:
    return blake2b(row, digest_size=_DIGEST_BYTES).digest()
