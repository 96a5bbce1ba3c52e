"""The keys that callers show, and what each used in a month: one SQLite file.

A key is 32 random bytes, so SHA-256 is hash enough: nobody finds the bytes by trying, and the slow hashes that
passwords need would only give strangers a way to keep the server busy. The key itself is shown once and kept nowhere.
"""

import hmac
import re
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from pipeline.config import TIER_CALLS, ServeConfig, Tier, default_state_dir
from pipeline.errors import KeyStoreError
from pipeline.storage.sqlite import DatabaseSpec, DurableDatabase

KEY_PREFIX: Final = "pm_"
_KEY: Final = re.compile(KEY_PREFIX + r"[A-Za-z0-9_-]{43}")

_SCHEMA: Final = """
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
"""

KEYS: Final = DatabaseSpec(
    name="keys",
    description="a pagemill key store",
    consequence="",
    place_hint="`[serve] keys` puts it on a disk of this machine",
    error=KeyStoreError,
    application_id=0x504D4B31,  # "PMK1"
    format=1,
    schema=_SCHEMA,
    is_private=True,
    busy_timeout_s=10.0,
)

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
        self._file = DurableDatabase(path, KEYS)
        self._db = self._file.db

    def __repr__(self) -> str:
        return f"<KeyStore {self.path.name}>"

    def close(self) -> None:
        """Release the file."""
        self._file.close()

    @contextmanager
    def transaction(self) -> Generator[None]:
        """Hold the write lock: what is read inside is still true when it is written, and durable behind the block.

        Raises:
            KeyStoreError: nothing was written.
        """
        with self._file.transaction():
            yield

    @contextmanager
    def reading(self) -> Generator[None]:
        """Only read.

        Raises:
            KeyStoreError: the store cannot be read, or its name leads to another file.
        """
        with self._file.reading():
            yield

    def add(self, *, name: str, tier: Tier, quota: int | None, now: str) -> tuple[str, Key]:
        """Make a key; return its secret, which is stored nowhere, and what the store knows of it."""
        secret = f"{KEY_PREFIX}{secrets.token_urlsafe(32)}"
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


def keys_file(config: ServeConfig) -> Path:
    """Return where the keys lie: as configured, or in the user's state directory."""
    return config.keys if config.keys is not None else default_state_dir() / "serve-keys.sqlite3"


def is_well_formed_key(text: str) -> bool:
    """Return whether it has the form of our keys; what has not needs no look into the store."""
    return _KEY.fullmatch(text) is not None


def _hash(secret: str) -> bytes:
    return sha256(secret.encode("utf-8", "surrogateescape")).digest()
