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
from pipeline.server.access.keys import Key, KeyStore, is_well_formed_key, keys_file

NOW = "2026-11-03T10:00:00.000000Z"
MONTH = "2026-11"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the store will be."""
    return tmp_path / "state" / "keys.sqlite3"


@pytest.fixture
def store(path: Path) -> Iterator[KeyStore]:
    """Return an empty store."""
    with closing(KeyStore(path)) as opened:
        yield opened


def add(store: KeyStore, tier: Tier = "free", quota: int | None = None) -> tuple[str, Key]:
    """Make a key."""
    return store.add(name="Anna", tier=tier, quota=quota, now=NOW)


def take(store: KeyStore, key: Key, month: str = MONTH) -> bool:
    """Count a call, durably."""
    with store.transaction():
        return store.take(key.id, month)


def test_a_key_is_32_random_bytes_behind_a_prefix(store: KeyStore) -> None:
    """The prefix lets secret scanners know it."""
    secret, key = add(store)
    assert re.fullmatch("pm_[A-Za-z0-9_-]{43}", secret)
    assert is_well_formed_key(secret)
    assert secret != add(store)[0]
    assert store.find(secret) == key


def test_the_secret_is_in_no_file(store: KeyStore, path: Path) -> None:
    """Who copies the store cannot call with it."""
    secret, key = add(store)
    held = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert key.id.encode() in held
    assert secret.encode() not in held
    assert secret[3:].encode() not in held


def test_the_file_is_its_owner_s_alone_whatever_the_umask(path: Path) -> None:
    """So is its journal."""
    before = os.umask(0)
    try:
        with closing(KeyStore(path)) as store:
            add(store)
            modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"keys.sqlite3": 0o600, "keys.sqlite3-journal": 0o600}


@pytest.mark.parametrize("guess", ["pm_" + "A" * 43, "pm_", "", "\udcff", "pm_" + "A" * 100_000])
def test_a_guess_finds_nothing(store: KeyStore, guess: str) -> None:
    """Whatever it looks like."""
    add(store)
    assert store.find(guess) is None


@pytest.mark.parametrize("text", ["", "pm_", "pm_" + "A" * 42, "pm_" + "A" * 44, "PM_" + "A" * 43, "pm_" + "é" * 43])
def test_what_has_not_the_form_of_a_key_is_known_without_a_look(text: str) -> None:
    """It costs no read."""
    assert not is_well_formed_key(text)


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
    """The contract's "Monthly quota by tier"."""
    assert add(store, tier, quota)[1].limit == limit


def test_a_month_has_its_calls_and_no_more(store: KeyStore) -> None:
    """The next month begins anew."""
    key = add(store, quota=2)[1]
    assert [take(store, key) for _ in range(4)] == [True, True, False, False]
    assert take(store, key, "2026-12")
    assert (store.used(key.id, MONTH), store.used(key.id, "2026-12"), store.used(key.id, "2027-01")) == (2, 1, 0)


def test_keys_do_not_share_a_quota(store: KeyStore) -> None:
    """Nor does the unlimited tier end."""
    one, other, any_number = add(store, quota=1)[1], add(store, quota=1)[1], add(store, "ultra")[1]
    assert [take(store, key) for key in (one, other, one)] == [True, True, False]
    assert all(take(store, any_number) for _ in range(50))
    assert store.used(any_number.id, MONTH) == 50


def test_a_call_that_is_given_back_can_be_made_again(store: KeyStore) -> None:
    """The count never goes below nothing."""
    key = add(store, quota=1)[1]
    assert take(store, key)
    with store.transaction():
        store.give_back(key.id, MONTH)
        store.give_back(key.id, MONTH)
    assert store.used(key.id, MONTH) == 0
    assert [take(store, key) for _ in range(2)] == [True, False]


def test_a_revoked_key_is_refused_and_stays_in_the_list(store: KeyStore) -> None:
    """Revoking again changes nothing, not even the time."""
    secret, key = add(store)
    assert store.revoke(key.id, "2026-11-04T00:00:00.000000Z")
    assert store.revoke(key.id, "2027-01-01T00:00:00.000000Z")
    assert not take(store, key)
    found = store.find(secret)
    assert found is not None
    assert found.revoked == "2026-11-04T00:00:00.000000Z"
    assert store.all_keys() == [found]


def test_an_unknown_key_cannot_be_revoked(store: KeyStore) -> None:
    """Nor counted."""
    assert not store.revoke("nobody", NOW)
    with store.transaction():
        assert not store.take("nobody", MONTH)


def test_keys_and_counts_survive_a_restart(path: Path) -> None:
    """That is what the file is for."""
    with closing(KeyStore(path)) as store:
        secret, key = add(store, "basic")
        take(store, key)
    with closing(KeyStore(path)) as store:
        assert store.find(secret) == key
        assert store.used(key.id, MONTH) == 1


def test_processes_that_share_the_file_share_the_quota(path: Path) -> None:
    """Eight openings of the file, each with its own connection and thread, for 50 calls."""
    with closing(KeyStore(path)) as store:
        key = add(store, quota=50)[1]
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
    """And the next one works."""
    key = add(store)[1]
    with suppress(ZeroDivisionError), store.transaction():
        assert store.take(key.id, MONTH)
        raise ZeroDivisionError
    assert store.used(key.id, MONTH) == 0
    assert take(store, key)


@pytest.mark.parametrize("content", [b"", b"no database", bytes(4096)], ids=["empty", "text", "zeros"])
def test_a_file_that_is_no_key_store_is_refused(path: Path, content: bytes) -> None:
    """Nobody is let in by a file that cannot be trusted."""
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(KeyStoreError, match=re.escape(str(path))):
        KeyStore(path)


def test_another_program_s_database_is_refused(path: Path) -> None:
    """A ledger, say."""
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE month (month TEXT)")
    with pytest.raises(KeyStoreError, match="not a pagemill key store of format 1"):
        KeyStore(path)


def test_a_file_that_is_replaced_in_use_is_noticed(store: KeyStore, path: Path) -> None:
    """SQLite would go on counting in the deleted one."""
    path.unlink()
    with pytest.raises(KeyStoreError, match="No such file"):
        store.all_keys()
    with closing(KeyStore(path)), pytest.raises(KeyStoreError, match="was replaced while it was in use"):
        add(store)


def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """The message names the file."""
    (tmp_path / "file").touch()
    with pytest.raises(KeyStoreError, match=r"keys\.sqlite3: "):
        KeyStore(tmp_path / "file" / "keys.sqlite3")


def test_the_store_lies_where_it_is_configured_or_with_the_user_s_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the ledgers."""
    monkeypatch.setenv("PAGEMILL_STATE_DIR", str(tmp_path))
    assert keys_file(ServeConfig()) == tmp_path / "serve-keys.sqlite3"
    assert keys_file(ServeConfig(keys=Path("/srv/keys"))) == Path("/srv/keys")


def test_a_store_on_a_network_filesystem_is_refused(network_mount: Path) -> None:
    """Servers on two machines would count past each other; the error names the setting, and nothing is made."""
    with pytest.raises(KeyStoreError, match=r"far away/k\.sqlite3.*nfs4.*\[serve\] keys"):
        KeyStore(network_mount / "k.sqlite3")
    assert list(network_mount.iterdir()) == []
