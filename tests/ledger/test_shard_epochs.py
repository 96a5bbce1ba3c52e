"""Epochs of shards in both ledgers: one attempt at a time, and none from an attempt that was taken for dead."""

import itertools
import secrets
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.billing import Calendar
from pipeline.errors import WorkspaceLockedError
from pipeline.ledger.attempt_state import AttemptState
from pipeline.ledger.base import Ledger
from pipeline.ledger.operations import Permit, Reserve, Settle
from pipeline.ledger.postgres.database import Address
from pipeline.ledger.postgres.ledger import PostgresLedger
from pipeline.ledger.shard_epochs import Begun, Commit, Held
from pipeline.ledger.sqlite.ledger import SqliteLedger
from pipeline.records import PageId
from tests.postgres import PostgresServer

PAGE = PageId("sha256:00#1")
Open = Callable[[], Ledger]


@pytest.fixture
def address(postgres_server: PostgresServer) -> Address:
    """A key of its own in the common database."""
    return Address(postgres_server.url("postgres"), secrets.token_hex(16))


@pytest.fixture(params=["sqlite", "postgres"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens the same ledger once more; all are closed at the end."""
    opened: list[Ledger] = []

    def open_ledger() -> Ledger:
        if request.param == "sqlite":
            opened.append(SqliteLedger(tmp_path / "ledger", Calendar(), None))
        else:
            opened.append(PostgresLedger(request.getfixturevalue("address"), Calendar(), None))
        return opened[-1]

    if request.param == "postgres":
        request.getfixturevalue("address")
    yield open_ledger
    for ledger in opened:
        ledger.close()


def test_one_attempt_at_a_time_in_epochs_that_count_from_1(opener: Open) -> None:
    one, two = opener(), opener()
    first, second = one.shard_epochs("job"), two.shard_epochs("job")
    with two.own() as other:
        with one.own() as owner:
            assert first.begin(7, owner.id) == Begun(1)
            held = second.begin(7, other.id)
            assert isinstance(held, Held)
            assert 0 < held.wait_s <= 30
            assert second.begin(8, other.id) == Begun(1)
        assert second.begin(7, other.id) == Begun(2)
    with one.own() as owner:
        assert first.begin(7, owner.id) == Begun(3)
        assert first.begin(9, owner.id, 5) == Begun(6)
        assert one.shard_epochs("another job").begin(7, owner.id) == Begun(1)


def test_a_commit_counts_in_the_last_epoch_alone(opener: Open) -> None:
    ledger = opener()
    epochs = ledger.shard_epochs("job")
    with ledger.own() as owner:
        epochs.begin(1, owner.id)
    with ledger.own() as later:
        epochs.begin(1, later.id)
        assert not epochs.commit(1, 1, owner.id, 0)
        assert epochs.committed() == {}
        assert epochs.commit(1, 2, later.id, 0)
        assert epochs.begin(1, later.id) == Commit(2, 0)
        assert epochs.begin(1, "another") == Commit(2, 0)
    assert epochs.committed() == {1: Commit(2, 0)}


def test_a_shard_with_failures_is_tried_again_although_its_owner_is_alive(opener: Open) -> None:
    ledger = opener()
    epochs = ledger.shard_epochs("job")
    with ledger.own() as owner:
        epochs.begin(1, owner.id)
        assert epochs.commit(1, 1, owner.id, 3)
        assert epochs.begin(1, "another") == Begun(2)
    assert epochs.committed() == {}


def test_an_attempt_that_was_taken_for_dead_gets_nothing_any_more(address: Address) -> None:
    """Its lease has ended, as after a partition: neither calls nor settlements nor the commit come through."""
    numbers = itertools.count()
    with (
        closing(PostgresLedger(address, Calendar(), None)) as ledger,
        closing(PostgresLedger(address, Calendar(), None)) as other,
        ledger.own() as zombie,
        other.own() as owner,
    ):
        epochs = ledger.shard_epochs("job")
        epochs.begin(1, zombie.id)
        (permit,) = ledger.execute([Reserve(PAGE)], "w", zombie.id, lambda: f"a{next(numbers)}")
        ledger._db.call(lambda db: db.execute("UPDATE pagemill.owner SET expires = 'epoch' WHERE id = $1", zombie.id))
        assert other.shard_epochs("job").begin(1, owner.id) == Begun(2)
        assert isinstance(permit, Permit)
        for operation in (Reserve(PAGE), Settle(permit.attempt, AttemptState.ACCEPTED)):
            with pytest.raises(WorkspaceLockedError, match="taken for dead"):
                ledger.execute([operation], "w", zombie.id, lambda: f"a{next(numbers)}")
        with pytest.raises(WorkspaceLockedError):
            ledger._one("beat", ledger._number, zombie.id, 30.0)
        assert not epochs.commit(1, 1, zombie.id, 0)
        assert not other.is_alive(zombie.id)
        assert [attempt.id for attempt in other.open_attempts("w", other.is_alive)] == [permit.attempt]
        assert other.usage().used == 1


def test_an_attempt_whose_lease_was_renewed_in_time_keeps_its_shard(address: Address) -> None:
    with (
        closing(PostgresLedger(address, Calendar(), None)) as ledger,
        closing(PostgresLedger(address, Calendar(), None)) as other,
        ledger.own() as owner,
    ):
        ledger.shard_epochs("job").begin(1, owner.id)
        ledger._db.call(lambda db: db.execute("UPDATE pagemill.owner SET expires = 'epoch' WHERE id = $1", owner.id))
        ledger._one("beat", ledger._number, owner.id, 30.0)
        assert isinstance(other.shard_epochs("job").begin(1, "another"), Held)
        assert ledger.shard_epochs("job").commit(1, 1, owner.id, 0)


def test_a_begin_whose_answer_was_lost_begins_one_epoch(address: Address) -> None:
    with closing(PostgresLedger(address, Calendar(), None)) as ledger, ledger.own() as owner:
        epochs = ledger.shard_epochs("job")
        assert [epochs.begin(1, owner.id), epochs.begin(1, owner.id)] == [Begun(1), Begun(1)]
