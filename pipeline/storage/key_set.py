"""A set of byte strings whose memory does not grow with their number."""

import sqlite3

_CACHE_KIB = 16 * 1024


class KeySet:
    """Byte strings in a temporary SQLite file, which needs no cleaning up: it has no name."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._db.execute("CREATE TABLE key (key BLOB PRIMARY KEY) WITHOUT ROWID")

    def __repr__(self) -> str:
        return "<KeySet>"

    def close(self) -> None:
        """Forget all keys."""
        self._db.close()

    def __contains__(self, key: bytes) -> bool:
        return bool(self._db.execute("SELECT 1 FROM key WHERE key = ?", (key,)).fetchall())

    def add(self, key: bytes) -> bool:
        """Add a key; return False when it was there."""
        return self._db.execute("INSERT OR IGNORE INTO key VALUES (?)", (key,)).rowcount == 1
