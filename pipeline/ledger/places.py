"""Which ledger counts the calls of a key: the one place that chooses between the implementations."""

import hashlib
from pathlib import Path

from pipeline.config import Config, default_state_dir, expand_home
from pipeline.config.database_url import is_database_url
from pipeline.errors import UsageError
from pipeline.ledger.base import LedgerPlace
from pipeline.ledger.postgres.database import Address
from pipeline.ledger.postgres.place import PostgresPlace, place_of
from pipeline.ledger.sqlite.place import SqlitePlace
from pipeline.service import Service


def find_place(config: Config, service: Service) -> LedgerPlace | None:
    """Return where the calls of a service's key are counted; None for the embedded engine, whose calls are free.

    A shard keeps a ledger with that, too: for its claims.

    Raises:
        UsageError: the directory of the ledgers cannot be used.
    """
    if not service.metered and config.input.shard is None:
        return None
    if (url := config.budget.ledger) is not None and is_database_url(url):
        return PostgresPlace(Address(url, _hash_of(service)))
    return SqlitePlace(ledger_directory(config) / f"{_hash_of(service)}.sqlite3")


def _hash_of(service: Service) -> str:
    return key_hash(service.key, service.host) if service.metered else key_hash(None, service.name)


def place_named(name: str, configured: str | None = None) -> LedgerPlace:
    """Return the place that has this name in a run.json.

    Args:
        name: `LedgerPlace.name`.
        configured: `[budget] ledger`: the URL there may have the password that a name has not.
    """
    return place_of(name, configured) if is_database_url(name) else SqlitePlace(Path(name))


def ledger_directory(config: Config) -> Path:
    """Return the absolute directory of the ledgers; it need not exist.

    Raises:
        UsageError: it is no directory, may not be entered, or its place is not known.
    """
    directory = expand_home(config.budget.ledger) if config.budget.ledger else default_state_dir() / "ledger"
    try:
        if directory.exists() and not directory.is_dir():
            raise UsageError(f"ledger {directory}: not a directory")
        return directory.absolute()
    except OSError as exc:
        raise UsageError(f"ledger {directory}: {exc.strerror}") from exc


def ledger_path(directory: Path, key: str | None, host: str) -> Path:
    """Return the path of the ledger of a key or, without a key, of a host; the name does not reveal the key."""
    return directory / f"{key_hash(key, host)}.sqlite3"


def key_hash(key: str | None, host: str) -> str:
    """Return by what the ledger of a key or, without a key, of a host is known: 32 hexadecimal digits."""
    text = key if key is not None else f"host {host}"
    return hashlib.sha256(b"pagemill ledger\0" + text.encode()).hexdigest()[:32]
