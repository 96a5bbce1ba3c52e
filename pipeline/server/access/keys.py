"""The key store: API keys, by their hashes, and the calls of each key per month, in one SQLite file.

A key is 32 random bytes, which nobody can guess, so SHA-256 suffices; a slow password hash would only let strangers
keep the server busy. The secret itself is printed once, when the key is made, and never stored.
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
NO_VALID_KEY: Final = (
    "every key is revoked, so a server with these keys refuses every request but the operator's; make a key: pagemill "
    "serve keys add"
)
"""Reported by the command that revokes the last key, and by servers that have no operator's key."""

_KEY: Final = re.compile(KEY_PREFIX + r"[A-Za-z0-9_-]{43}")

_SCHEMA: Final = """
CREATE TABLE key (
  id TEXT PRIMARY KEY,
  hash BLOB NOT NULL UNIQUE,
  name TEXT NOT NULL,
  tier TEXT NOT NULL CHECK (tier IN ('free', 'basic', 'pro', 'ultra')),
  quota INTEGER,  -- calls per month, overriding the tier; NULL: the tier's
  added TEXT NOT NULL,
  revoked TEXT  -- NULL: valid
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
    """A row of the key store, which has no secret.

    Attributes:
        id: Identifies the key in lists and logs.
        name: The owner, as the operator wrote it.
        tier: The plan.
        quota: Calls per month, overriding the tier's; None: the tier's.
        added: Time of creation, RFC 3339 UTC.
        revoked: Time of revocation; None for a valid key.
    """

    id: str
    name: str
    tier: Tier
    quota: int | None
    added: str
    revoked: str | None = None

    @property
    def limit(self) -> int | None:
        """Calls per month; None when calls are counted, not limited."""
        return self.quota if self.quota is not None else TIER_CALLS[self.tier]


class KeyStore:
    """The open key store; created when it is missing, readable by its owner only. For one thread at a time.

    Args:
        path: A file on a disk of this machine: the locks of network filesystems are not reliable.

    Raises:
        KeyStoreError: the file is damaged, not a key store, on a network filesystem, or cannot be read and written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = DurableDatabase(path, KEYS)
        self._db = self._file.db

    def __repr__(self) -> str:
        return f"<KeyStore {self.path.name}>"

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @contextmanager
    def transaction(self) -> Generator[None]:
        """Hold the write lock; all changes of the block are committed, durably, when it ends.

        Raises:
            KeyStoreError: the transaction failed; nothing was written.
        """
        with self._file.transaction():
            yield

    @contextmanager
    def reading(self) -> Generator[None]:
        """Read only, in the block.

        Raises:
            KeyStoreError: the store cannot be read, or another file has taken its path.
        """
        with self._file.reading():
            yield

    def add(self, *, name: str, tier: Tier, quota: int | None, now: str) -> tuple[str, Key]:
        """Make a key; return its secret, which is not stored, and its row."""
        secret = f"{KEY_PREFIX}{secrets.token_urlsafe(32)}"
        with self.transaction():
            taken = {row[0] for row in self._db.execute("SELECT id FROM key")}
            key_id = secrets.token_hex(4)
            while key_id in taken:
                key_id = secrets.token_hex(4)
            self._db.execute(
                "INSERT INTO key (id, hash, name, tier, quota, added) VALUES (?, ?, ?, ?, ?, ?)",
                (key_id, hash_secret(secret), name, tier, quota, now),
            )
        return secret, Key(key_id, name, tier, quota, now)

    def revoke(self, key_id: str, now: str) -> bool:
        """Revoke a key; return whether a key has this id."""
        with self.transaction():
            self._db.execute("UPDATE key SET revoked = ? WHERE id = ? AND revoked IS NULL", (now, key_id))
            return self.find_by_id(key_id) is not None

    def all_keys(self) -> list[Key]:
        """Return all keys, the oldest first."""
        with self.reading():
            return [Key(*row) for row in self._db.execute(_ALL)]

    def is_empty(self) -> bool:
        """Return whether no key was ever made: a store whose keys are all revoked is not empty."""
        return self._db.execute("SELECT 1 FROM key LIMIT 1").fetchone() is None

    def has_valid_key(self) -> bool:
        """Return whether a key exists that is not revoked."""
        return self._db.execute("SELECT 1 FROM key WHERE revoked IS NULL LIMIT 1").fetchone() is not None

    def find(self, secret: str) -> Key | None:
        """Return the key with this secret, valid or revoked; compared in constant time after the lookup by hash."""
        digest = hash_secret(secret)
        row = self._db.execute(_BY_HASH, (digest,)).fetchone()
        return Key(*row[:-1]) if row is not None and hmac.compare_digest(row[-1], digest) else None

    def find_by_id(self, key_id: str) -> Key | None:
        """Return the key with this id, valid or revoked."""
        row = self._db.execute(_BY_ID, (key_id,)).fetchone()
        return None if row is None else Key(*row)

    def used(self, key_id: str, month: str) -> int:
        """Return the number of calls of a key in a month."""
        row = self._db.execute("SELECT calls FROM use WHERE key_id = ? AND month = ?", (key_id, month)).fetchone()
        return 0 if row is None else int(row[0])

    def take_call(self, key_id: str, month: str) -> bool:
        """Count one call if the key is valid and its quota is not used up; requires a transaction."""
        key = self.find_by_id(key_id)
        if key is None or key.revoked is not None:
            return False
        if key.limit is not None and self.used(key_id, month) >= key.limit:
            return False
        self._db.execute(
            "INSERT INTO use VALUES (?, ?, 1) ON CONFLICT (key_id, month) DO UPDATE SET calls = calls + 1",
            (key_id, month),
        )
        return True

    def refund_call(self, key_id: str, month: str) -> None:
        """Subtract one call from the count; requires a transaction."""
        self._db.execute("UPDATE use SET calls = max(0, calls - 1) WHERE key_id = ? AND month = ?", (key_id, month))


def way_back(path: Path) -> str:
    """Return how a server that only this machine calls accepts requests without a key again.

    Args:
        path: The key store.
    """
    return f"to serve this machine without keys again, stop the server, delete {path} and start the server"


def keys_file(config: ServeConfig) -> Path:
    """Return the path of the key store: as configured, else in the user's state directory."""
    return config.keys if config.keys is not None else default_state_dir() / "serve-keys.sqlite3"


def is_well_formed_key(text: str) -> bool:
    """Return whether the text has the syntax of this server's keys; only then can the store have it."""
    return _KEY.fullmatch(text) is not None


def hash_secret(secret: str) -> bytes:
    """Return the SHA-256 of a key or session token; any text from a URL or header has one."""
    return sha256(secret.encode("utf-8", "surrogateescape")).digest()


def is_same_secret(given: str, expected: str) -> bool:
    """Return whether two secrets are equal; in constant time."""
    return hmac.compare_digest(hash_secret(given), hash_secret(expected))
