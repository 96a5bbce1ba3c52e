"""The cache database: after a rollback by a failing disk, no commit claims to contain the lost changes."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from pipeline.errors import StorageError
from pipeline.workspace.cache_database import CacheDatabase, DamagedDatabaseError

SCHEMA = "CREATE TABLE item (text TEXT PRIMARY KEY) WITHOUT ROWID; CREATE TABLE mark (items INTEGER PRIMARY KEY);"
MARK = "INSERT OR REPLACE INTO mark VALUES (?)"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[CacheDatabase]:
    """A database that has room for a few more of SQLite's pages."""
    with closing(CacheDatabase.open(tmp_path / "cache.sqlite3", SCHEMA, 1)) as database:
        database._db.execute("PRAGMA max_page_count = 6")  # the error is SQLITE_FULL, as on a full disk
        yield database


def add(database: CacheDatabase, first: int, count: int) -> int:
    """Add items until one fails; return how many were added."""
    for number in range(first, first + count):
        try:
            database.change("INSERT INTO item VALUES (?)", (f"{number:0100}",))
        except StorageError:
            return number - first
    return count


def count_committed(database: CacheDatabase) -> tuple[int, int]:
    """Return the number of items that another process sees, and the number in the table `mark`."""
    with closing(sqlite3.connect(database.path)) as db:
        items = db.execute("SELECT count(*) FROM item").fetchone()[0]
        marked = db.execute("SELECT coalesce(max(items), 0) FROM mark").fetchone()[0]
    return int(items), int(marked)


def fill_then_commit(database: CacheDatabase) -> tuple[int, int]:
    """Commit ten items, add items until the disk is full, add five more, commit; return the committed numbers."""
    assert add(database, 0, 10) == 10
    database.commit(MARK, [(10,)])
    taken = add(database, 10, 10_000)
    assert taken < 10_000
    add(database, 20_000, 5)
    with suppress(StorageError):
        database.commit(MARK, [(10 + taken + 5,)])
    return count_committed(database)


def test_after_a_full_disk_has_rolled_changes_back_every_use_is_an_error(database: CacheDatabase) -> None:
    assert fill_then_commit(database) == (10, 10)
    with pytest.raises(StorageError, match="full"):
        database.rows("SELECT 1")


def test_without_the_check_a_commit_counts_items_that_were_rolled_back(
    database: CacheDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control."""
    monkeypatch.setattr(CacheDatabase, "_require_changes", lambda _: None)
    items, marked = fill_then_commit(database)
    assert items < marked


def test_a_commit_that_another_reader_blocks_succeeds_later_with_all_changes(database: CacheDatabase) -> None:
    database._db.execute("PRAGMA busy_timeout = 0")
    assert add(database, 0, 1) == 1
    with block_commits(database), pytest.raises(StorageError, match="locked"):
        database.commit(MARK, [(1,)])
    assert add(database, 1, 1) == 1
    database.commit(MARK, [(2,)])
    assert count_committed(database) == (2, 2)


@contextmanager
def block_commits(database: CacheDatabase) -> Iterator[None]:
    """Keep a read transaction open in another connection."""
    with closing(sqlite3.connect(database.path)) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM item").fetchall()
        yield


def test_threads_do_not_get_one_anothers_errors(database: CacheDatabase) -> None:
    """Commits fail in one thread while others read."""
    database._db.execute("PRAGMA busy_timeout = 0")
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            database.rows("SELECT count(*) FROM item")

    with block_commits(database), ThreadPoolExecutor() as threads:
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


class ChangingConnection:
    """A connection to a file that another process changes during every step of a copy."""

    in_transaction = False

    def backup(self, _: sqlite3.Connection, *, pages: int, progress: Callable[[int, int, int], object]) -> None:
        assert pages > 0, "a copy in one step would block the writer"
        for _step in range(1000):
            progress(sqlite3.SQLITE_OK, 5 * pages, 5 * pages)


def test_a_copy_that_commits_restart_again_and_again_is_given_up(tmp_path: Path) -> None:
    with closing(CacheDatabase.open(tmp_path / "index.sqlite3", "CREATE TABLE page (name TEXT)", 1)) as database:
        database.change("INSERT INTO page VALUES (?)", ("a",))
        database.commit("INSERT INTO page VALUES (?)", [("b",)])
        database.copy_to(tmp_path / "copy")
        with closing(sqlite3.connect(tmp_path / "copy")) as copy:
            assert copy.execute("SELECT name FROM page").fetchall() == [("a",), ("b",)]
        connection, database._db = database._db, ChangingConnection()  # type: ignore[assignment]
        with pytest.raises(StorageError, match="faster than it can be copied"):
            database.copy_to(tmp_path / "other")
        database._db = connection


@pytest.mark.parametrize("content", [pytest.param(b"x" * 9000, id="no-database"), pytest.param(None, id="version")])
def test_a_damaged_file_is_removed_when_it_is_opened(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "cache.sqlite3"
    CacheDatabase.open(path, SCHEMA, 2).close()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DamagedDatabaseError, match=r"cache\.sqlite3: .*; the next run rebuilds it"):
        CacheDatabase.open(path, SCHEMA, 1)
    assert list(tmp_path.iterdir()) == []
    CacheDatabase.open(path, SCHEMA, 1).close()


def test_a_reader_changes_and_removes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite3"
    with pytest.raises(StorageError, match="unable to open"):
        CacheDatabase.open_read_only(path)
    assert list(tmp_path.iterdir()) == []
    CacheDatabase.open(path, SCHEMA, 1).close()
    with closing(CacheDatabase.open_read_only(path)) as database, pytest.raises(StorageError, match="readonly"):
        database.change("INSERT INTO item VALUES (?)", ("a",))
    path.write_bytes(b"x" * 9000)
    with closing(CacheDatabase.open_read_only(path)) as database, pytest.raises(StorageError, match="not a database"):
        database.rows("SELECT * FROM item")
    assert path.read_bytes() == b"x" * 9000
