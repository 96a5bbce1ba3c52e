"""The key store behind its thread: groups, other processes, and an event loop that is never held up."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.errors import KeyStoreError
from pipeline.server.access.keyring import Keyring
from pipeline.server.access.keys import KeyStore
from tests.server.access.test_keys import MONTH, NOW, add


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the store will be."""
    return tmp_path / "keys.sqlite3"


@pytest.fixture
async def keyring(path: Path) -> AsyncIterator[Keyring]:
    """Return the keyring of a server."""
    async with Keyring(path) as opened:
        yield opened


@pytest.fixture
def elsewhere(path: Path, keyring: Keyring) -> Iterator[KeyStore]:
    """Return the store as another process has it open."""
    with closing(KeyStore(path)) as opened:
        yield opened


async def test_without_a_store_there_is_no_key_and_none_is_made(keyring: Keyring, path: Path) -> None:
    """A server that only looks leaves no file behind."""
    assert await keyring.is_empty()
    assert await keyring.find("pm_" + "A" * 43) is None
    assert await keyring.find_id("nobody") is None
    assert await keyring.used("nobody", MONTH) == 0
    assert not path.exists()


async def test_a_key_that_another_process_makes_or_revokes_counts_at_once(
    keyring: Keyring, elsewhere: KeyStore
) -> None:
    """The server need not be started again."""
    secret, key = add(elsewhere)
    assert await keyring.find(secret) == key
    assert not await keyring.is_empty()
    elsewhere.revoke(key.id, NOW)
    assert await keyring.find(secret) is None
    assert await keyring.find_id(key.id) is None
    assert not await keyring.is_empty()


async def test_calls_that_come_together_are_each_judged_by_those_before(keyring: Keyring, elsewhere: KeyStore) -> None:
    """No `await` stands between the question whether there is room and the count."""
    key = add(elsewhere, quota=30)[1]
    taken = await asyncio.gather(*(keyring.take(key.id, MONTH) for _ in range(200)))
    assert taken == [True] * 30 + [False] * 170
    assert elsewhere.used(key.id, MONTH) == 30


async def test_calls_that_come_together_share_their_commits(
    keyring: Keyring, elsewhere: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A durable write costs a millisecond whatever it carries."""
    key = add(elsewhere, "ultra")[1]
    commits = 0
    transaction = KeyStore.transaction

    def count(store: KeyStore) -> object:
        nonlocal commits
        commits += 1
        return transaction(store)

    monkeypatch.setattr(KeyStore, "transaction", count)
    await asyncio.gather(*(keyring.take(key.id, MONTH) for _ in range(200)))
    assert elsewhere.used(key.id, MONTH) == 200
    assert commits <= 5


async def test_the_event_loop_runs_while_the_store_is_waited_for(
    keyring: Keyring, elsewhere: KeyStore, path: Path
) -> None:
    """Another process holds the file; whoever needs no key is served meanwhile."""
    key = add(elsewhere)[1]
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        taking = asyncio.create_task(keyring.take(key.id, MONTH))
        for _ in range(1000):
            await asyncio.sleep(0)
        assert not taking.done()
        other.execute("ROLLBACK")
    assert await taking
    assert elsewhere.used(key.id, MONTH) == 1


async def test_a_call_that_was_called_off_is_counted_before_the_task_ends(
    keyring: Keyring, elsewhere: KeyStore
) -> None:
    """A thread that writes cannot be stopped, so nobody goes on as if it had been."""
    key = add(elsewhere)[1]
    taking = asyncio.create_task(_take_and_stay(keyring, key.id))
    await asyncio.sleep(0)
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    assert elsewhere.used(key.id, MONTH) == 1


async def test_what_is_wrong_with_the_file_reaches_the_caller(path: Path) -> None:
    """And nobody is let in."""
    path.write_bytes(b"no database")
    async with Keyring(path) as keyring:
        with pytest.raises(KeyStoreError, match=r"keys\.sqlite3"):
            await keyring.is_empty()
        with pytest.raises(KeyStoreError, match=r"keys\.sqlite3"):
            await keyring.take("key", MONTH)


async def _take_and_stay(keyring: Keyring, key_id: str) -> None:
    await keyring.take(key_id, MONTH)
    await asyncio.sleep(600)
