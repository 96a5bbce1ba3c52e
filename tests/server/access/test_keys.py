"""The key store: one file, real SQLite."""

import os
import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from pipeline.config import ServeConfig, Tier
from pipeline.errors import KeyStoreError
from pipeline.server.access.keys import Key, KeyStore, is_same_secret, is_well_formed_key, keys_file
from tests.server.keyed import MONTH, NOW, add_key


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of the store."""
    return tmp_path / "state" / "keys.sqlite3"


@pytest.fixture
def store(path: Path) -> Iterator[KeyStore]:
    """Return an empty store."""
    with closing(KeyStore(path)) as opened:
        yield opened


def take(store: KeyStore, key: Key, month: str = MONTH) -> bool:
    """Count a call, durably."""
    with store.transaction():
        return store.take_call(key.id, month)


def test_a_key_is_32_random_bytes_after_a_prefix(store: KeyStore) -> None:
    """Secret scanners recognise keys by the prefix."""
    secret, key = add_key(store)
    assert re.fullmatch("pm_[A-Za-z0-9_-]{43}", secret)
    assert is_well_formed_key(secret)
    assert secret != add_key(store)[0]
    assert store.find(secret) == key


def test_the_secret_is_in_no_file(store: KeyStore, path: Path) -> None:
    secret, key = add_key(store)
    held = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert key.id.encode() in held
    assert secret.encode() not in held
    assert secret[3:].encode() not in held


def test_only_the_owner_can_read_the_file_and_its_journal_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        with closing(KeyStore(path)) as store:
            add_key(store)
            modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"keys.sqlite3": 0o600, "keys.sqlite3-journal": 0o600}


@pytest.mark.parametrize("guess", ["pm_" + "A" * 43, "pm_", "", "\udcff", "pm_" + "A" * 100_000])
def test_a_guess_finds_nothing(store: KeyStore, guess: str) -> None:
    add_key(store)
    assert store.find(guess) is None


@pytest.mark.parametrize("text", ["", "pm_", "pm_" + "A" * 42, "pm_" + "A" * 44, "PM_" + "A" * 43, "pm_" + "é" * 43])
def test_text_without_the_syntax_of_a_key_is_not_well_formed(text: str) -> None:
    assert not is_well_formed_key(text)


@pytest.mark.parametrize(
    ("given", "expected", "same"),
    [
        ("k", "k", True),
        ("K", "k", False),
        ("", "k", False),
        ("ключ", "k", False),
        ("\udcff", "k", False),
    ],
)
def test_only_the_same_text_is_the_same_secret(given: str, expected: str, same: bool) -> None:  # noqa: FBT001
    assert is_same_secret(given, expected) is same


@pytest.mark.parametrize(
    ("tier", "quota", "limit"),
    [
        ("free", None, 30),
        ("basic", None, 1000),
        ("pro", None, 5000),
        ("ultra", None, None),
        ("free", 7, 7),
        ("ultra", 0, 0),
    ],
)
def test_a_tier_has_its_calls_and_a_quota_overrides_them(
    store: KeyStore, tier: Tier, quota: int | None, limit: int | None
) -> None:
    """The API's contract, "Monthly quota by tier"."""
    assert add_key(store, tier, quota)[1].limit == limit


def test_a_quota_limits_the_calls_of_each_month(store: KeyStore) -> None:
    key = add_key(store, quota=2)[1]
    assert [take(store, key) for _ in range(4)] == [True, True, False, False]
    assert take(store, key, "2026-12")
    assert (store.used(key.id, MONTH), store.used(key.id, "2026-12"), store.used(key.id, "2027-01")) == (2, 1, 0)


def test_keys_do_not_share_a_quota(store: KeyStore) -> None:
    one, other, any_number = add_key(store, quota=1)[1], add_key(store, quota=1)[1], add_key(store, "ultra")[1]
    assert [take(store, key) for key in (one, other, one)] == [True, True, False]
    assert all(take(store, any_number) for _ in range(50))
    assert store.used(any_number.id, MONTH) == 50


def test_a_refunded_call_can_be_made_again(store: KeyStore) -> None:
    """The count does not go below 0."""
    key = add_key(store, quota=1)[1]
    assert take(store, key)
    with store.transaction():
        store.refund_call(key.id, MONTH)
        store.refund_call(key.id, MONTH)
    assert store.used(key.id, MONTH) == 0
    assert [take(store, key) for _ in range(2)] == [True, False]


def test_a_revoked_key_takes_no_call_and_stays_in_the_list(store: KeyStore) -> None:
    """Revoking it again changes nothing, not even the time."""
    secret, key = add_key(store)
    assert store.revoke(key.id, "2026-11-04T00:00:00.000000Z")
    assert store.revoke(key.id, "2027-01-01T00:00:00.000000Z")
    assert not take(store, key)
    found = store.find(secret)
    assert found is not None
    assert found.revoked == "2026-11-04T00:00:00.000000Z"
    assert store.all_keys() == [found]


def test_an_unknown_key_is_neither_revoked_nor_counted(store: KeyStore) -> None:
    assert not store.revoke("nobody", NOW)
    with store.transaction():
        assert not store.take_call("nobody", MONTH)


def test_keys_and_counts_survive_a_restart(path: Path) -> None:
    with closing(KeyStore(path)) as store:
        secret, key = add_key(store, "basic")
        take(store, key)
    with closing(KeyStore(path)) as store:
        assert store.find(secret) == key
        assert store.used(key.id, MONTH) == 1


def test_connections_that_share_the_file_share_the_quota(path: Path) -> None:
    """Eight threads, each with a connection of its own, and a quota of 50 calls."""
    with closing(KeyStore(path)) as store:
        key = add_key(store, quota=50)[1]
    results: list[bool] = []

    def call() -> None:
        with closing(KeyStore(path)) as own:
            for _ in range(10):
                results.append(take(own, key))  # noqa: PERF401 - one at a time is the point

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (results.count(True), results.count(False)) == (50, 30)


def test_a_transaction_that_fails_counts_nothing(store: KeyStore) -> None:
    key = add_key(store)[1]
    with suppress(ZeroDivisionError), store.transaction():
        assert store.take_call(key.id, MONTH)
        raise ZeroDivisionError
    assert store.used(key.id, MONTH) == 0
    assert take(store, key)


@pytest.mark.parametrize("content", [b"", b"no database", bytes(4096)], ids=["empty", "text", "zeros"])
def test_a_file_that_is_not_a_key_store_is_an_error(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(KeyStoreError, match=re.escape(str(path))):
        KeyStore(path)


def test_another_sqlite_database_is_an_error(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE month (month TEXT)")
    with pytest.raises(KeyStoreError, match="not a pagemill key store of format 1"):
        KeyStore(path)


def test_a_file_that_is_replaced_in_use_is_an_error(store: KeyStore, path: Path) -> None:
    """SQLite itself would go on writing to the deleted file."""
    path.unlink()
    with pytest.raises(KeyStoreError, match="No such file"):
        store.all_keys()
    with closing(KeyStore(path)), pytest.raises(KeyStoreError, match="was replaced while it was in use"):
        add_key(store)


def test_a_directory_that_cannot_be_made_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(KeyStoreError, match=r"keys\.sqlite3: "):
        KeyStore(tmp_path / "file" / "keys.sqlite3")


def test_the_store_is_at_the_configured_path_or_in_the_state_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAGEMILL_STATE_DIR", str(tmp_path))
    assert keys_file(ServeConfig()) == tmp_path / "serve-keys.sqlite3"
    assert keys_file(ServeConfig(keys=Path("/srv/keys"))) == Path("/srv/keys")


def test_a_store_on_a_network_filesystem_is_an_error_that_names_the_setting(network_mount: Path) -> None:
    """No file is created."""
    with pytest.raises(KeyStoreError, match=r"far away/k\.sqlite3.*nfs4.*\[serve\] keys"):
        KeyStore(network_mount / "k.sqlite3")
    assert list(network_mount.iterdir()) == []
