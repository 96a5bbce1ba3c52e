"""A database of what can be derived again: when the disk fails under it, it never says that it has what it lost."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from pipeline.errors import StorageError
from pipeline.workspace.cache_database import CacheDatabase

SCHEMA = "CREATE TABLE item (text TEXT PRIMARY KEY) WITHOUT ROWID; CREATE TABLE mark (items INTEGER PRIMARY KEY);"
MARK = "INSERT OR REPLACE INTO mark VALUES (?)"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[CacheDatabase]:
    """A database that has room for a few pages more."""
    with closing(CacheDatabase(tmp_path / "derived.sqlite3", SCHEMA, 1)) as database:
        database._db.execute("PRAGMA max_page_count = 6")  # SQLITE_FULL, with all that a full disk does to SQLite
        yield database


def add(database: CacheDatabase, first: int, count: int) -> int:
    """Add items until they are all there, or one fails; return how many were taken."""
    for number in range(first, first + count):
        try:
            database.change("INSERT INTO item VALUES (?)", (f"{number:0100}",))
        except StorageError:
            return number - first
    return count


def count_committed(database: CacheDatabase) -> tuple[int, int]:
    """Return how many items another process sees, and how many the mark says that there are."""
    with closing(sqlite3.connect(database.path)) as db:
        items = db.execute("SELECT count(*) FROM item").fetchone()[0]
        marked = db.execute("SELECT coalesce(max(items), 0) FROM mark").fetchone()[0]
    return int(items), int(marked)


def fill_then_commit(database: CacheDatabase) -> tuple[int, int]:
    """Commit ten items, add more until there is no room, go on and commit; return what is committed."""
    assert add(database, 0, 10) == 10
    database.commit(MARK, [(10,)])
    taken = add(database, 10, 10_000)
    assert taken < 10_000
    add(database, 20_000, 5)
    with suppress(StorageError):
        database.commit(MARK, [(10 + taken + 5,)])
    return count_committed(database)


def test_no_commit_passes_for_one_that_failed(database: CacheDatabase) -> None:
    """A full disk takes all uncommitted changes along: from then on every use is an error, and no mark is written."""
    assert fill_then_commit(database) == (10, 10)
    with pytest.raises(StorageError, match="full"):
        database.rows("SELECT 1")


def test_a_commit_after_a_rollback_says_too_much(database: CacheDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: without the check, the mark counts items that are gone."""
    monkeypatch.setattr(CacheDatabase, "_require_changes", lambda _: None)
    items, marked = fill_then_commit(database)
    assert items < marked


def test_an_error_that_takes_nothing_along_ends_nothing(database: CacheDatabase) -> None:
    """A commit that another process's reading holds off is made later, with all that was changed."""
    database._db.execute("PRAGMA busy_timeout = 0")
    assert add(database, 0, 1) == 1
    with hold_off_commits(database), pytest.raises(StorageError, match="locked"):
        database.commit(MARK, [(1,)])
    assert add(database, 1, 1) == 1
    database.commit(MARK, [(2,)])
    assert count_committed(database) == (2, 2)


@contextmanager
def hold_off_commits(database: CacheDatabase) -> Iterator[None]:
    """Read in another connection, and do not end."""
    with closing(sqlite3.connect(database.path)) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM item").fetchall()
        yield


def test_threads_do_not_take_each_others_errors(database: CacheDatabase) -> None:
    """While commits fail in one thread and another one reads, each gets its own outcome: an error of ours, or none."""
    database._db.execute("PRAGMA busy_timeout = 0")
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            database.rows("SELECT count(*) FROM item")

    with hold_off_commits(database), ThreadPoolExecutor() as threads:
        readers = [threads.submit(read) for _ in range(2)]
        try:
            assert add(database, 0, 1) == 1
            for _ in range(2000):
                with pytest.raises(StorageError, match="locked"):
                    database.commit(MARK, [(1,)])
        finally:
            done.set()
        for reader in readers:
            reader.result()


class Restless:
    """A connection to a file that somebody else changes at every step of a copy."""

    in_transaction = False

    def backup(self, _: sqlite3.Connection, *, pages: int, progress: Callable[[int, int, int], object]) -> None:
        assert pages > 0, "a copy in one step would keep the writer waiting"
        for _step in range(1000):
            progress(sqlite3.SQLITE_OK, 5 * pages, 5 * pages)


def test_a_copy_of_what_never_rests_is_given_up(tmp_path: Path) -> None:
    """Each commit of a run starts the copy over: who looks must come to an end all the same."""
    with closing(CacheDatabase(tmp_path / "index.sqlite3", "CREATE TABLE page (name TEXT)", 1)) as database:
        database.change("INSERT INTO page VALUES (?)", ("a",))
        database.commit("INSERT INTO page VALUES (?)", [("b",)])
        database.copy_to(tmp_path / "copy")
        with closing(sqlite3.connect(tmp_path / "copy")) as copy:
            assert copy.execute("SELECT name FROM page").fetchall() == [("a",), ("b",)]
        connection, database._db = database._db, Restless()  # type: ignore[assignment]
        with pytest.raises(StorageError, match="faster than it can be copied"):
            database.copy_to(tmp_path / "other")
        database._db = connection
