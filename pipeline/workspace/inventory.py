"""The index's part about files that have no result: what their first bytes said, and which pages are pending."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

from pipeline.records import FileStat, PageId, SourceFile, State
from pipeline.workspace.cache_database import CacheDatabase
from pipeline.workspace.page_rows import meta_digest
from pipeline.workspace.source_names import encode_name

PAGE: Final = "page"
"""The kind of a file whose first bytes are those of an image; may be followed by a space and its format."""

_RELATIVE: Final = "substr(source, 1, 1) <> X'2F' AND CAST(substr(source, 1, 8) AS TEXT) NOT LIKE 'http%://%'"
_FORGET_RELATIVE: Final = f"DELETE FROM page WHERE state = 'pending' AND retryable AND {_RELATIVE}"  # noqa: S608 - constants
_FORGET_BELOW: Final = "DELETE FROM page WHERE state = 'pending' AND retryable AND source >= ? AND source < ?"


_FINISHED: Final = "SELECT count(*) FROM page WHERE state IN ('done', 'duplicate', 'skipped') AND "
_KNOWN_PAGES: Final = """
SELECT page, state, retryable, added, id IS NOT NULL, is_checked OR is_corrected FROM page WHERE source = ?
"""
_MOST_UNREAD: Final = 10_000
"""So that memory is bounded; failures of archives beyond these end in a later run."""
_FILES_BELOW: Final = "SELECT path FROM file WHERE path > ? AND path < ? ORDER BY path LIMIT 1000"


class FileState(StrEnum):
    """What has become of a file since all of its pages ended last."""

    NEW = "new"
    CHANGED = "changed"
    UNMODIFIED = "unmodified"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class KnownPage:
    """A page as the lines of the workspace tell it.

    Attributes:
        state: Its last state.
        retryable: True when the next run sends it again after a failure.
        added: When it got this state, RFC 3339; "" for a page that is pending.
        has_id: True when its content was read.
        is_reviewed: True when a person wrote or checked its text.
    """

    state: State
    retryable: bool
    added: str
    has_id: bool
    is_reviewed: bool = False


class Inventory:
    """Kinds of files by path, size and time, and pages by name that a run has not finished.

    Args:
        database: The index's.
    """

    def __init__(self, database: CacheDatabase) -> None:
        self._db = database

    def __repr__(self) -> str:
        return f"<Inventory {self._db!r}>"

    def kind_of(self, file: SourceFile) -> str | None:
        """Return the kind that the first bytes of a file told, unless it has changed since; None for unknown."""
        if file.path is None or file.stat is None:
            return None
        rows = self._db.rows("SELECT size_bytes, mtime_ns, kind FROM kind WHERE path = ?", (os.fsencode(file.path),))
        return rows[0][2] if rows and FileStat(rows[0][0], rows[0][1]) == file.stat else None

    def stat_of(self, file: SourceFile) -> FileStat | None:
        """Return a file's size and time when all of its pages had ended; None when they never did."""
        if file.path is None:
            return None
        rows = self._db.rows("SELECT size_bytes, mtime_ns FROM file WHERE path = ?", (os.fsencode(file.path),))
        return FileStat(*rows[0]) if rows else None

    def file_state(self, file: SourceFile) -> FileState:
        """Return what has become of a file by its size and time; a URL that has a page does not change."""
        if file.is_url:
            return FileState.UNMODIFIED if self.pages_of(file) else FileState.NEW
        known = self.stat_of(file)
        if known is None:
            return FileState.NEW
        return FileState.UNMODIFIED if known == file.stat else FileState.CHANGED

    def count_files(self, folder: str) -> int:
        """Return the number of files below a folder, given by its absolute path, whose pages have all ended once."""
        rows = self._db.rows("SELECT count(*) FROM file WHERE path > ? AND path < ?", _path_range(folder))
        return int(rows[0][0])

    def gone_files(self, folder: str) -> Iterator[bytes]:
        """Yield the paths of those files that are there no longer; each directory is listed once. Blocks."""
        after, end = _path_range(folder)
        while batch := self._db.rows(_FILES_BELOW, (after, end)):
            for (path,) in batch:
                after = path
                directory, _, name = path.rpartition(b"/")
                names = _list_names(directory)
                if names is not None and name not in names:
                    yield path
        _list_names.cache_clear()

    def forget_files(self, paths: Iterable[bytes]) -> None:
        """Forget the sizes and times of files that are gone; their pages keep their states."""
        self._db.change_many("DELETE FROM file WHERE path = ?", [(path,) for path in paths])

    def count_finished(self, folders: Sequence[str]) -> int:
        """Return the number of pages below these folders that have a text; folders as in `forget_pending`."""
        if "." in folders:
            return int(self._db.rows(f"{_FINISHED}{_RELATIVE}")[0][0])
        below = f"{_FINISHED}source > ? AND source < ?"
        return sum(int(self._db.rows(below, _range(encode_name(folder)))[0][0]) for folder in folders)

    def has_meta(self, file: SourceFile, page: int) -> bool:
        """Return True when a page has a record with the file's `meta`, or the file has none."""
        digest = meta_digest(file.meta)
        found = "SELECT 1 FROM meta WHERE source = ? AND page = ? AND digest = ?"
        return digest is None or bool(self._db.rows(found, (encode_name(file.name), page, digest)))

    def count_with_meta(self, file: SourceFile) -> int:
        """Return the number of a file's pages that have a record with its `meta`."""
        found = "SELECT count(*) FROM meta WHERE source = ? AND digest = ?"
        return int(self._db.rows(found, (encode_name(file.name), meta_digest(file.meta)))[0][0])

    def pages_of(self, file: SourceFile) -> Mapping[int, KnownPage]:
        """Return what is known of the pages with a file's name, by their 1-based number."""
        rows = self._db.rows(_KNOWN_PAGES, (encode_name(file.name),))
        return {row[0]: KnownPage(State(row[1]), bool(row[2]), row[3], bool(row[4]), bool(row[5])) for row in rows}

    def add_kind(self, file: SourceFile, kind: str) -> None:
        """Record what the first bytes of a file told: `PAGE`, or the kind of an ignored file."""
        if file.path is not None and file.stat is not None:
            self._db.change(
                "INSERT OR REPLACE INTO kind VALUES (?, ?, ?, ?)",
                (os.fsencode(file.path), file.stat.size_bytes, file.stat.mtime_ns, kind),
            )

    def mark_pending(self, names: Iterable[str]) -> None:
        """Record that the pages with these source names are not finished; those that have a state keep it."""
        self._db.change_many(
            "INSERT OR IGNORE INTO page (source, page, state, retryable, added) VALUES (?, 1, 'pending', 1, '')",
            [(encode_name(name),) for name in names],
        )

    def mark_rest_pending(self, file: SourceFile, first: int, pages: int) -> None:
        """Record that the pages of a file from `first` on are not finished; those that have a state keep it."""
        self._db.change_many(
            "INSERT OR IGNORE INTO page (source, page, state, retryable, added) VALUES (?, ?, 'pending', 1, '')",
            [(encode_name(file.name), page) for page in range(first, pages + 1)],
        )

    def mark_page_pending(self, file: SourceFile, page: int, page_id: PageId) -> None:
        """Record that a page with this content is left for another run; if it has a state already, keep that.

        A state that the page had with another content is overwritten.
        """
        self._db.change(
            "INSERT INTO page (source, page, state, retryable, added, id) VALUES (?, ?, 'pending', 1, '', ?)"
            " ON CONFLICT DO UPDATE SET state = excluded.state, retryable = 1, added = '',"
            " id = excluded.id, in_doubt = 0, offset = NULL, is_checked = 0, is_corrected = 0"
            " WHERE id IS NOT excluded.id",
            (encode_name(file.name), page, page_id),
        )

    def known_files(self) -> Iterator[tuple[object, ...]]:
        """Yield what is known of each file whose pages have all ended once, for `adopt`."""
        return self._db.stream("SELECT path, source, size_bytes, mtime_ns, pages FROM file")

    def pending_pages(self) -> Iterator[tuple[object, ...]]:
        """Yield the pages that are not finished, for `adopt`."""
        return self._db.stream("SELECT source, page, id FROM page WHERE state = 'pending'")

    def adopt(self, other: "Inventory") -> None:
        """Take over what another workspace knows, and no line says, of files and pages that have no state here.

        Raises:
            StorageError: the other index cannot be read.
        """
        self._db.change_many("INSERT OR IGNORE INTO file VALUES (?, ?, ?, ?, ?)", other.known_files())
        self._db.change_many(
            "INSERT OR IGNORE INTO page (source, page, state, retryable, added, id) VALUES (?, ?, 'pending', 1, '', ?)",
            other.pending_pages(),
        )

    def failed_unread(self) -> list[bytes]:
        """Return the sources that failed before their content was read; of very many, the first by name."""
        found = "SELECT source FROM page WHERE state = 'failed' AND id IS NULL AND page = 1 ORDER BY source LIMIT ?"
        return [row[0] for row in self._db.rows(found, (_MOST_UNREAD,))]

    def forget_pending_pages(self, file: SourceFile) -> None:
        """Remove the pages of a file that are not finished: the run that has just finished with it left them out."""
        self._db.change("DELETE FROM page WHERE state = 'pending' AND source = ?", (encode_name(file.name),))

    def forget_pending(self, folders: Sequence[str]) -> None:
        """Remove what is pending below these folders: a run has finished them, so these files are gone.

        Args:
            folders: Source names; "." is the root, below which are all relative names.
        """
        for folder in folders:
            if folder == ".":
                self._db.change(_FORGET_RELATIVE, ())
            else:
                self._db.change(_FORGET_BELOW, _range(encode_name(folder)))


def _range(folder: bytes) -> tuple[bytes, bytes]:
    """Return the bounds of the names below a folder."""
    begin = folder.rstrip(b"/")
    return begin + b"/", begin + b"0"  # "0" follows "/"


def _path_range(folder: str) -> tuple[bytes, bytes]:
    return _range(os.fsencode(folder))


@lru_cache(maxsize=8)
def _list_names(directory: bytes) -> frozenset[bytes] | None:
    """Return the names in a directory, none when it is gone; None when it cannot be listed."""
    try:
        return frozenset(os.listdir(directory))  # noqa: PTH208 - bytes, whatever the encoding
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()
    except OSError:
        return None
