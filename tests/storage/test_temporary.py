"""Tables and sets on disk."""

from contextlib import closing

from pipeline.storage.temporary import KeySet, TemporaryDatabase


def test_a_key_is_added_once() -> None:
    with closing(KeySet()) as keys:
        assert [keys.add(key) for key in (b"a", b"b", b"a", b"", b"")] == [True, True, False, True, False]
        assert b"b" in keys
        assert b"c" not in keys


def test_rows_come_back_and_changes_are_counted() -> None:
    with TemporaryDatabase("CREATE TABLE number (value INTEGER PRIMARY KEY)") as database:
        assert [database.change("INSERT OR IGNORE INTO number VALUES (?)", (value,)) for value in (1, 2, 2)] == [
            1,
            1,
            0,
        ]
        assert database.rows("SELECT value FROM number WHERE value > ?", (1,)) == [(2,)]
