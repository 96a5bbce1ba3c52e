"""The key store behind its thread: group commit, other processes, and an event loop that is never blocked."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.errors import KeyStoreError
from pipeline.server.access.keyring import Keyring
from pipeline.server.access.keys import KeyStore
from tests.server.keyed import MONTH, NOW, add_key


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of the store."""
    return tmp_path / "keys.sqlite3"


@pytest.fixture
async def keyring(path: Path) -> AsyncIterator[Keyring]:
    """Return the keyring of a server."""
    async with Keyring(path) as opened:
        yield opened


@pytest.fixture
def elsewhere(path: Path, keyring: Keyring) -> Iterator[KeyStore]:
    """Return the store, opened as by another process."""
    with closing(KeyStore(path)) as opened:
        yield opened


async def test_reading_a_missing_store_finds_no_key_and_creates_no_file(keyring: Keyring, path: Path) -> None:
    assert await keyring.is_empty()
    assert await keyring.find("pm_" + "A" * 43) is None
    assert await keyring.find_by_id("nobody") is None
    assert await keyring.used("nobody", MONTH) == 0
    assert not path.exists()


async def test_a_key_that_another_process_makes_or_revokes_takes_effect_at_once(
    keyring: Keyring, elsewhere: KeyStore
) -> None:
    secret, key = add_key(elsewhere)
    assert await keyring.find(secret) == key
    assert not await keyring.is_empty()
    elsewhere.revoke(key.id, NOW)
    assert await keyring.find(secret) is None
    assert await keyring.find_by_id(key.id) is None
    assert not await keyring.is_empty()


async def test_concurrent_calls_take_no_more_than_the_quota(keyring: Keyring, elsewhere: KeyStore) -> None:
    key = add_key(elsewhere, quota=30)[1]
    taken = await asyncio.gather(*(keyring.take_call(key.id, MONTH) for _ in range(200)))
    assert taken == [True] * 30 + [False] * 170
    assert elsewhere.used(key.id, MONTH) == 30


async def test_concurrent_calls_share_commits(
    keyring: Keyring, elsewhere: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A durable commit costs 1 ms whatever its size."""
    key = add_key(elsewhere, "ultra")[1]
    commits = 0
    transaction = KeyStore.transaction

    def count(store: KeyStore) -> object:
        nonlocal commits
        commits += 1
        return transaction(store)

    monkeypatch.setattr(KeyStore, "transaction", count)
    await asyncio.gather(*(keyring.take_call(key.id, MONTH) for _ in range(200)))
    assert elsewhere.used(key.id, MONTH) == 200
    assert commits <= 5


async def test_the_event_loop_runs_while_another_process_locks_the_store(
    keyring: Keyring, elsewhere: KeyStore, path: Path
) -> None:
    key = add_key(elsewhere)[1]
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        taking = asyncio.create_task(keyring.take_call(key.id, MONTH))
        for _ in range(1000):
            await asyncio.sleep(0)
        assert not taking.done()
        other.execute("ROLLBACK")
    assert await taking
    assert elsewhere.used(key.id, MONTH) == 1


async def test_a_cancelled_call_is_counted_before_its_task_ends(keyring: Keyring, elsewhere: KeyStore) -> None:
    """The thread that writes cannot be cancelled."""
    key = add_key(elsewhere)[1]
    taking = asyncio.create_task(_take_and_stay(keyring, key.id))
    await asyncio.sleep(0)
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    assert elsewhere.used(key.id, MONTH) == 1


async def test_an_error_of_the_file_reaches_the_caller(path: Path) -> None:
    path.write_bytes(b"no database")
    async with Keyring(path) as keyring:
        with pytest.raises(KeyStoreError, match=r"keys\.sqlite3"):
            await keyring.is_empty()
        with pytest.raises(KeyStoreError, match=r"keys\.sqlite3"):
            await keyring.take_call("key", MONTH)


async def _take_and_stay(keyring: Keyring, key_id: str) -> None:
    await keyring.take_call(key_id, MONTH)
    await asyncio.sleep(600)
