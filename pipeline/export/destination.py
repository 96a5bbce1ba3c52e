"""The folder that an export fills: which files it holds, of which units, so that a second export writes the changes.

A unit is a document, or a shard of many documents. Each file is replaced as a whole; the notes about it are written
after it. What a kill leaves is known by a list (`begun_files`): it, and a unit that lacks a record or an image, is
written again by the next export, or removed.
"""

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Final

from pipeline.errors import StopError, StorageError, UsageError
from pipeline.export.begun_files import BegunFiles
from pipeline.export.members import Members
from pipeline.inputs.kinds import EXPORT_MARK
from pipeline.storage.sqlite import translate_errors

NOTES: Final = EXPORT_MARK
_TEMPORARY: Final = ".pagemill-export.new"
_COMMIT_EVERY: Final = 2000
_SCHEMA: Final = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE unit (key BLOB PRIMARY KEY, digest BLOB NOT NULL, export INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE file (path TEXT PRIMARY KEY, unit BLOB NOT NULL) WITHOUT ROWID;
CREATE INDEX file_unit ON file (unit);
"""
WRITERS: Final[Mapping[str, int]] = {
    "txt": 1,
    "parquet": 1,
    "hf": 1,
    "webdataset": 1,
    "dolma": 1,
    "hocr": 1,
    "page": 1,
    "alto": 1,
    "pdf": 1,
}
"""The version of each format's writer, raised when a release writes the same records differently: the files of another
version are written again."""
_INCOMPLETE: Final = b""
"""Noted as the digest of a unit that lacks something."""
_LEFT: Final = b"\0left"
"""Stands for the unit of files that a killed export left; no unit has this key."""


class Destination:
    """A folder with the files of one export, and the notes about them.

    Args:
        root: The folder.
        notes: Its database, opened.
        begun: The files that are not noted yet.
        export: Number of this export into the folder.
        count_flaws: Returns the number of records and images so far that could not be read.
    """

    def __init__(
        self, root: Path, notes: sqlite3.Connection, begun: BegunFiles, export: int, count_flaws: Callable[[], int]
    ) -> None:
        self.root = root
        self._begun = begun
        self._count_flaws = count_flaws
        self._notes = notes
        self._export = export
        self._uncommitted = 0
        self._synced = (0, 0)
        """Files written and removed by the last sync."""
        self.written = 0
        """Files written."""
        self.unchanged = 0
        """Units that were as they should be."""
        self.removed = 0
        """Files removed, because their unit is no longer exported."""

    def __repr__(self) -> str:
        return f"<Destination {self.root} {self.written} written, {self.unchanged} unchanged>"

    def holds(self, key: bytes, digest: bytes) -> bool:
        """Return whether a unit's files are there and were made of the same content."""
        row = self._notes.execute("SELECT digest FROM unit WHERE key = ?", (key,)).fetchone()
        return row is not None and row[0] == digest and all((self.root / path).exists() for path in self._paths(key))

    def is_current(self, key: bytes, digest: bytes) -> bool:
        """Return `holds`; a unit that is as it should be stays, and counts as unchanged."""
        if not self.holds(key, digest):
            return False
        self.unchanged += 1
        self._change("UPDATE unit SET export = ? WHERE key = ?", (self._export, key))
        return True

    def put(self, key: bytes, digest: bytes, files: Iterable[tuple[str, Iterable[bytes]]]) -> None:
        """Write the files of a unit, and remove those that it had and has no longer.

        Args:
            key: Of the unit.
            digest: Of its content.
            files: Relative paths and contents.

        Raises:
            StorageError: a file cannot be written.
        """
        self._put(key, digest, ((path, partial(_write_chunks, chunks)) for path, chunks in files))

    def put_file(self, key: bytes, digest: bytes, path: str, write: Callable[[Path], None]) -> None:
        """Write the only file of a unit.

        Args:
            key: Of the unit.
            digest: Of its content.
            path: Relative.
            write: Writes the file that it is given the path of.

        Raises:
            StorageError: the file cannot be written.
        """
        self._put(key, digest, [(path, write)])

    def open_members(self, pages_per_shard: int) -> Members:
        """Return which shard each document is in."""
        return Members(self._notes, self._export, pages_per_shard)

    def _put(self, key: bytes, digest: bytes, files: Iterable[tuple[str, Callable[[Path], None]]]) -> None:
        before, flaws = set(self._paths(key)), self._count_flaws()
        self._change("UPDATE unit SET digest = ? WHERE key = ?", (_INCOMPLETE, key))  # until all files are written
        for wanted, write in files:
            path = self._free_path(wanted, key)
            self._write(path, write)
            before.discard(path)
            self._change("INSERT OR REPLACE INTO file VALUES (?, ?)", (path, key))
        for path in before:
            self._remove(path)
        noted = digest if self._count_flaws() == flaws else _INCOMPLETE
        self._change("INSERT OR REPLACE INTO unit VALUES (?, ?, ?)", (key, noted, self._export))
        if self._uncommitted >= _COMMIT_EVERY:
            self.commit()

    def remove_others(self) -> None:
        """Remove the files of the units that this export has not named."""
        query = "SELECT path FROM file LEFT JOIN unit ON unit.key = file.unit WHERE export IS NOT ?"
        while rows := self._notes.execute(f"{query} LIMIT 1000", (self._export,)).fetchall():
            for (path,) in rows:
                self._remove(path)
        self._change("DELETE FROM unit WHERE export <> ?", (self._export,))

    def commit(self) -> None:
        """Sync what was written, then the notes about it."""
        if self._synced != (self.written, self.removed):
            os.sync()  # one for thousands of files; a sync of each would take longer than writing them
            self._synced = self.written, self.removed
        self._notes.commit()
        self._begun.clear()
        self._uncommitted = 0

    def _free_path(self, path: str, key: bytes) -> str:
        """Return the path, marked with a digest when it is another unit's: "/a" and "a" would be one file."""
        row = self._notes.execute("SELECT unit FROM file WHERE path = ?", (path,)).fetchone()
        if row is None or row[0] in {key, _LEFT}:
            return path
        marked = Path(path)
        return str(marked.with_name(f"{marked.stem}~{blake2b(key, digest_size=6).hexdigest()}{marked.suffix}"))

    def _write(self, path: str, write: Callable[[Path], None]) -> None:
        target, temporary = self.root / path, self.root / _TEMPORARY
        try:
            self._begun.add(path)
            write(temporary)
            try:
                temporary.replace(target)
            except FileNotFoundError:
                target.parent.mkdir(parents=True, exist_ok=True)
                temporary.replace(target)
        except OSError as exc:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise StorageError(f"{target}: {exc.strerror or exc}") from exc
        self.written += 1

    def _remove(self, path: str) -> None:
        with suppress(FileNotFoundError):
            (self.root / path).unlink()
            self.removed += 1
        for parent in Path(path).parents[:-1]:
            with suppress(OSError):  # it is not empty
                (self.root / parent).rmdir()
        self._change("DELETE FROM file WHERE path = ?", (path,))

    def _paths(self, key: bytes) -> Iterator[str]:
        return (row[0] for row in self._notes.execute("SELECT path FROM file WHERE unit = ?", (key,)).fetchall())

    def _change(self, statement: str, values: tuple[object, ...]) -> None:
        self._notes.execute(statement, values)
        self._uncommitted += 1


@contextmanager
def open_destination(root: Path, form: str, count_flaws: Callable[[], int]) -> Iterator[Destination]:
    """Open or create the folder of an export; what was written is noted even when the export ends early.

    Args:
        root: The folder.
        form: The format: a folder holds one.
        count_flaws: As in `Destination`.

    Raises:
        UsageError: the folder holds files that no export wrote, or another format.
        StorageError: it cannot be written, or another export is writing it.
    """

    def translate(exc: Exception) -> StopError:
        return StorageError(f"{root}: {exc}")

    existed = root.exists()
    try:
        with translate_errors(translate), _open_notes(root) as notes:
            export = _begin(root, notes, form)  # locks the notes
            with BegunFiles(root) as begun:
                _note_left(notes, begun)
                destination = Destination(root, notes, begun, export, count_flaws)
                try:
                    yield destination
                finally:
                    destination.commit()
    except UsageError:  # nothing was written: another format may follow
        if [path.name for path in root.iterdir()] == [NOTES]:
            (root / NOTES).unlink()
            if not existed:
                root.rmdir()
        raise


@contextmanager
def _open_notes(root: Path) -> Iterator[sqlite3.Connection]:
    root.mkdir(parents=True, exist_ok=True)
    if not (root / NOTES).exists() and any(root.iterdir()):
        raise UsageError(f"{root}: not empty, and not an export; name an empty or new folder")
    with closing(sqlite3.connect(root / NOTES, timeout=0)) as notes:
        notes.execute("PRAGMA locking_mode = EXCLUSIVE")  # until it is closed: one export at a time
        yield notes


def _begin(root: Path, notes: sqlite3.Connection, form: str) -> int:
    """Return the number of this export."""
    if not notes.execute("SELECT 1 FROM sqlite_master").fetchone():
        notes.executescript(f"BEGIN; {_SCHEMA}")  # a killed export leaves all of it or nothing
        notes.executemany("INSERT INTO about VALUES (?, ?)", [("form", form), ("exports", "0")])
    about = dict(notes.execute("SELECT name, value FROM about").fetchall())
    if about["form"] != form:
        raise UsageError(f"{root}: holds an export to {about['form']}; name another folder for {form}")
    number, writer = int(about["exports"]) + 1, str(WRITERS[form])
    if about.get("writer") != writer:
        notes.execute("UPDATE unit SET digest = ?", (_INCOMPLETE,))
    notes.executemany("INSERT OR REPLACE INTO about VALUES (?, ?)", [("exports", str(number)), ("writer", writer)])
    return number


def _note_left(notes: sqlite3.Connection, begun: BegunFiles) -> None:
    """Note the files that a killed export left: those of a unit make it incomplete, others are to be removed."""
    incomplete = "UPDATE unit SET digest = ? WHERE key = (SELECT unit FROM file WHERE path = ?)"
    notes.executemany(incomplete, [(_INCOMPLETE, path) for path in begun.left])
    notes.executemany("INSERT OR IGNORE INTO file VALUES (?, ?)", [(path, _LEFT) for path in begun.left])
    if begun.left:
        notes.commit()
        begun.clear()


def _write_chunks(chunks: Iterable[bytes], path: Path) -> None:
    with path.open("wb") as file:
        file.writelines(chunks)
