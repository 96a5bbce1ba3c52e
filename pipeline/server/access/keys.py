"""The keys that callers show, and what each used in a month: one SQLite file.

A key is 32 random bytes, so SHA-256 is hash enough: nobody finds the bytes by trying, and the slow hashes that
passwords need would only give strangers a way to keep the server busy. The key itself is shown once and kept nowhere.

Rollback journal with `synchronous=EXTRA`, as in the ledger: a call that was counted stays counted, whatever happens.
"""

import hmac
import os
import re
import secrets
import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from pipeline.config import TIER_CALLS, ServeConfig, Tier, default_state_dir
from pipeline.errors import KeyStoreError
from pipeline.filesystems import find_network_filesystem

_FORMAT: Final = 1
_APPLICATION_ID: Final = 0x504D4B31  # "PMK1"
_BUSY_TIMEOUT_S: Final = 10.0
_KEY: Final = re.compile(r"pm_[A-Za-z0-9_-]{43}")

_SCHEMA: Final = f"""
CREATE TABLE key (
  id TEXT PRIMARY KEY,
  hash BLOB NOT NULL UNIQUE,
  name TEXT NOT NULL,
  tier TEXT NOT NULL CHECK (tier IN ('free', 'basic', 'pro', 'ultra')),
  quota INTEGER,  -- instead of the tier's; NULL: the tier's
  added TEXT NOT NULL,
  revoked TEXT  -- NULL while the key is good
) WITHOUT ROWID;
CREATE TABLE use (
  key_id TEXT NOT NULL REFERENCES key (id),
  month TEXT NOT NULL,
  calls INTEGER NOT NULL CHECK (calls >= 0),
  PRIMARY KEY (key_id, month)
) WITHOUT ROWID;
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_FORMAT};
"""

_ALL: Final = "SELECT id, name, tier, quota, added, revoked FROM key ORDER BY added, id"
_BY_ID: Final = "SELECT id, name, tier, quota, added, revoked FROM key WHERE id = ?"
_BY_HASH: Final = "SELECT id, name, tier, quota, added, revoked, hash FROM key WHERE hash = ?"


@dataclass(frozen=True, slots=True)
class Key:
    """A key as the store knows it; the secret itself is not among it.

    Attributes:
        id: Names the key in lists and logs.
        name: Whose it is, as the operator wrote it.
        tier: The plan.
        quota: Calls a month instead of the tier's; None: the tier's.
        added: When it was made, RFC 3339 UTC.
        revoked: When it was revoked; None while it is good.
    """

    id: str
    name: str
    tier: Tier
    quota: int | None
    added: str
    revoked: str | None = None

    @property
    def limit(self) -> int | None:
        """Calls a month; None when they are counted, not limited."""
        return self.quota if self.quota is not None else TIER_CALLS[self.tier]


class KeyStore:
    """The open file; made when it is missing, readable by its owner alone. For one thread at a time.

    Args:
        path: Where it lies, on a disk of this machine: the locks of network filesystems cannot be trusted.

    Raises:
        KeyStoreError: it is damaged, no key store, on a network filesystem, or cannot be read and written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._translated():
            _refuse_network(path)
            if not path.exists():
                _make(path)
            self._identity = _identify(path)
            self._db = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        try:
            with self._translated():
                self._prepare()
        except BaseException:
            self._db.close()
            raise

    def __repr__(self) -> str:
        return f"<KeyStore {self.path.name}>"

    def close(self) -> None:
        """Release the file."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Generator[None]:
        """Hold the write lock: what is read inside is still true when it is written, and durable behind the block.

        Raises:
            KeyStoreError: nothing was written.
        """
        with self.reading():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # some errors have rolled it back already
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Generator[None]:
        """Only read.

        Raises:
            KeyStoreError: the store cannot be read, or its name leads to another file: SQLite goes on with the old one.
        """
        with self._translated():
            if _identify(self.path) != self._identity:
                raise KeyStoreError(f"keys {self.path}: the file was replaced while it was in use")
            yield

    def add(self, *, name: str, tier: Tier, quota: int | None, now: str) -> tuple[str, Key]:
        """Make a key; return its secret, which is stored nowhere, and what the store knows of it."""
        secret = f"pm_{secrets.token_urlsafe(32)}"
        with self.transaction():
            taken = {row[0] for row in self._db.execute("SELECT id FROM key")}
            key_id = secrets.token_hex(4)
            while key_id in taken:
                key_id = secrets.token_hex(4)
            self._db.execute(
                "INSERT INTO key (id, hash, name, tier, quota, added) VALUES (?, ?, ?, ?, ?, ?)",
                (key_id, _hash(secret), name, tier, quota, now),
            )
        return secret, Key(key_id, name, tier, quota, now)

    def revoke(self, key_id: str, now: str) -> bool:
        """Refuse a key from now on; return whether there is such a key."""
        with self.transaction():
            self._db.execute("UPDATE key SET revoked = ? WHERE id = ? AND revoked IS NULL", (now, key_id))
            return self.find_id(key_id) is not None

    def all_keys(self) -> list[Key]:
        """Return all keys, the oldest first."""
        with self.reading():
            return [Key(*row) for row in self._db.execute(_ALL)]

    def is_empty(self) -> bool:
        """Return whether no key was ever made: revoking the last one does not open the server to everybody."""
        return self._db.execute("SELECT 1 FROM key LIMIT 1").fetchone() is None

    def find(self, secret: str) -> Key | None:
        """Return the key with this secret, revoked or not; looked up by its hash and compared in constant time."""
        digest = _hash(secret)
        row = self._db.execute(_BY_HASH, (digest,)).fetchone()
        return Key(*row[:-1]) if row is not None and hmac.compare_digest(row[-1], digest) else None

    def find_id(self, key_id: str) -> Key | None:
        """Return the key with this id, revoked or not."""
        row = self._db.execute(_BY_ID, (key_id,)).fetchone()
        return None if row is None else Key(*row)

    def used(self, key_id: str, month: str) -> int:
        """Return the calls of a key in a month."""
        row = self._db.execute("SELECT calls FROM use WHERE key_id = ? AND month = ?", (key_id, month)).fetchone()
        return 0 if row is None else int(row[0])

    def take(self, key_id: str, month: str) -> bool:
        """Count one more call if the key is good and the month has room for it; inside a transaction."""
        key = self.find_id(key_id)
        if key is None or key.revoked is not None:
            return False
        if key.limit is not None and self.used(key_id, month) >= key.limit:
            return False
        self._db.execute(
            "INSERT INTO use VALUES (?, ?, 1) ON CONFLICT (key_id, month) DO UPDATE SET calls = calls + 1",
            (key_id, month),
        )
        return True

    def give_back(self, key_id: str, month: str) -> None:
        """Take one call off the count; inside a transaction."""
        self._db.execute("UPDATE use SET calls = max(0, calls - 1) WHERE key_id = ? AND month = ?", (key_id, month))

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode = PERSIST")  # a file that stays is cheaper than one made for each commit
        self._db.execute("PRAGMA synchronous = EXTRA")
        problem = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if problem != "ok":
            raise sqlite3.DatabaseError(problem)
        found = tuple(self._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
        if found != (_APPLICATION_ID, _FORMAT):
            raise KeyStoreError(f"keys {self.path}: not a pagemill key store of format {_FORMAT}")

    @contextmanager
    def _translated(self) -> Generator[None]:
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError, OSError) as exc:
            raise KeyStoreError(f"keys {self.path}: {exc}") from exc


def keys_file(config: ServeConfig) -> Path:
    """Return where the keys lie: as configured, or in the user's state directory."""
    return config.keys if config.keys is not None else default_state_dir() / "serve-keys.sqlite3"


def looks_like_key(text: str) -> bool:
    """Return whether it has the form of our keys; what has not needs no look into the store."""
    return _KEY.fullmatch(text) is not None


def _hash(secret: str) -> bytes:
    return sha256(secret.encode("utf-8", "surrogateescape")).digest()


def _refuse_network(path: Path) -> None:
    found = find_network_filesystem(path)
    if found is not None:
        raise KeyStoreError(
            f"keys {path}: it lies on a network filesystem ({found}), where locks cannot be trusted; "
            "`[serve] keys` puts it on a disk of this machine"
        )


def _identify(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _make(path: Path) -> None:
    """Make an empty store under its name in one step, so that an empty file is never taken for a new store."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))  # SQLite would ask the umask
        with closing(sqlite3.connect(temporary)) as db:
            db.executescript(_SCHEMA)
        with suppress(FileExistsError):  # another process was quicker
            os.link(temporary, path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    finally:
        temporary.unlink(missing_ok=True)
