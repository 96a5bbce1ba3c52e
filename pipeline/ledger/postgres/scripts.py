"""The tables and functions in the database: created and upgraded by the first run of a release."""

import re
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from pipeline.errors import LedgerError

if TYPE_CHECKING:
    from asyncpg import Connection

_LOCK: Final = 0x706167656D696C6C  # "pagemill"; advisory locks are numbers
_FUNCTIONS: Final = "functions.sql"


def read_scripts() -> list[str]:
    """Return the scripts that make each version of the tables from the one before it."""
    names = sorted(
        file.name for file in (files(__package__) / "sql").iterdir() if re.fullmatch(r"\d{3}_\w+\.sql", file.name)
    )
    return [_read(name) for name in names]


async def upgrade(db: "Connection") -> None:
    """Create the tables and functions, or bring them to this release's version; several may try at the same time.

    Raises:
        LedgerError: a later release has changed them.
    """
    scripts = read_scripts()
    if await _find_version(db) == len(scripts):
        return
    async with db.transaction():
        await db.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        await db.execute("CREATE SCHEMA IF NOT EXISTS pagemill")
        await db.execute("CREATE TABLE IF NOT EXISTS pagemill.version (number integer NOT NULL)")
        found = await db.fetchval("SELECT max(number) FROM pagemill.version") or 0
        if found > len(scripts):
            raise LedgerError(
                f"its tables are those of a later release (version {found}, this one knows {len(scripts)}): upgrade "
                "pagemill on this machine"
            )
        for number, script in enumerate(scripts[found:], found + 1):
            await db.execute(script)
            await db.execute("INSERT INTO pagemill.version VALUES ($1)", number)
        await db.execute(_read(_FUNCTIONS))


async def has_tables(db: "Connection") -> bool:
    """Return whether a ledger was ever kept in the database."""
    return bool(await _find_version(db))


async def _find_version(db: "Connection") -> int:
    if await db.fetchval("SELECT to_regclass('pagemill.version')") is None:
        return 0
    return int(await db.fetchval("SELECT coalesce(max(number), 0) FROM pagemill.version"))


@cache
def queries() -> dict[str, str]:
    """Return the statements of `sql/queries.sql` by their names."""
    parts = re.split(r"^-- name: (\w+).*\n", _read("queries.sql"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _read(name: str) -> str:
    return (files(__package__) / "sql" / name).read_text("utf-8")
