"""The ledger in PostgreSQL: leases, pace, a database that is away, its tables."""

import asyncio
import itertools
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import anyio
import asyncpg
import pytest

from pipeline.billing import Calendar, QuotaRefusal
from pipeline.errors import LedgerError, TemporaryError, UsageError
from pipeline.ledger.attempt_state import AttemptState
from pipeline.ledger.budget import Budget
from pipeline.ledger.operations import Answer, Operation, PaceRefusal, Penalise, Permit, Reserve, Settle, Terms
from pipeline.ledger.postgres import lease as leases
from pipeline.ledger.postgres.database import Address
from pipeline.ledger.postgres.lease import LEASE_S, LeasedOwner
from pipeline.ledger.postgres.ledger import PostgresLedger
from pipeline.ledger.postgres.place import PostgresPlace, place_of
from pipeline.ledger.postgres.scripts import queries, read_scripts
from pipeline.records import PageId
from tests.postgres import PASSWORD, PostgresServer, run_postgres

PAGE = PageId("sha256:00#1")


@pytest.fixture
def address(postgres_server: PostgresServer) -> Address:
    """A key of its own in the common database."""
    return Address(postgres_server.url("postgres"), secrets.token_hex(16))


@contextmanager
def opened(
    address: Address, limit: int | None = None, terms: Terms | None = None, **more: Any
) -> Iterator[PostgresLedger]:
    """Open a ledger and close it again."""
    ledger = PostgresLedger(address, Calendar(), limit, terms, **more)
    try:
        yield ledger
    finally:
        ledger.close()


def ids(prefix: str = "a") -> Callable[[], str]:
    """Return a source of attempt ids."""
    numbers = itertools.count()
    return lambda: f"{prefix}{next(numbers)}"


class TestLeases:
    def test_an_owner_is_alive_until_its_context_ends(self, address: Address) -> None:
        with opened(address) as ledger, opened(address) as other:
            with ledger.own() as owner:
                (permit,) = ledger.execute([Reserve(PAGE)], "w", owner.id, ids())
                assert isinstance(permit, Permit)
                assert owner.may_send(permit)
                assert other.is_alive(owner.id)
                assert other.open_attempts("w", other.is_alive) == []
            assert not other.is_alive(owner.id)
            assert [attempt.id for attempt in other.open_attempts("w", other.is_alive)] == ["a0"]

    def test_a_lease_is_renewed_while_its_owner_makes_no_call(self, address: Address) -> None:
        """Three beats later the lease would have ended."""
        beats, renewed = itertools.count(1), threading.Event()
        with opened(address, lease_s=1.2) as ledger, opened(address) as other:
            ledger.watch_pauses(lambda _: renewed.set() if next(beats) == 5 else None)
            with ledger.own() as owner:
                other.execute([Penalise(60)], "w", "o", ids())
                assert renewed.wait(30)
                assert other.is_alive(owner.id)

    def test_permits_of_a_lease_that_has_ended_are_unusable_and_new_ones_usable(self, address: Address) -> None:
        """Another machine ends it, as the database's clock would."""
        with opened(address) as ledger, opened(address) as other, ledger.own() as owner:
            (old,) = ledger.execute([Reserve(PAGE)], "w", owner.id, ids())
            other._one("beat", other._number, owner.id, 0.0)
            other._db.call(lambda db: db.execute("UPDATE pagemill.owner SET expires = 'epoch' WHERE id = $1", owner.id))
            (new,) = ledger.execute([Reserve(PAGE)], "w", owner.id, ids("b"))
            assert isinstance(old, Permit)
            assert isinstance(new, Permit)
            assert (owner.may_send(old), owner.may_send(new)) == (False, True)

    def test_a_permit_is_unusable_in_the_last_fifth_of_the_lease(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now_s = 100.0
        monkeypatch.setattr(leases, "awake_s", lambda: now_s)
        owner, permit = LeasedOwner("o", LEASE_S), Permit("a", 0.0, 7)
        owner.renew(90.0, 7, LEASE_S)
        assert owner.may_send(permit)
        now_s = 90 + 0.8 * LEASE_S - 0.01
        assert owner.may_send(permit)
        now_s = 90 + 0.8 * LEASE_S
        assert not owner.may_send(permit)
        owner.renew(now_s, 7, LEASE_S)
        assert owner.may_send(permit)


class TestPace:
    def test_all_owners_together_keep_the_pace(self, address: Address) -> None:
        """At 95 % of ten calls per second, the slots of two runs are 105 ms apart."""
        with opened(address, None, Terms(rate_per_s=10)) as one, opened(address, None, Terms(rate_per_s=10)) as two:
            delays = list[float]()
            for ledger in (one, two, one):
                results = ledger.execute([Reserve(PAGE)] * 3, "w", "o", ids(secrets.token_hex(4)))
                delays += [result.delay_s for result in results if isinstance(result, Permit)]
        assert len(delays) == 9
        gaps = [after - before for before, after in itertools.pairwise(delays)]
        assert gaps[0] == gaps[1] == pytest.approx(1 / 9.5)
        assert delays[-1] <= 8 / 9.5

    def test_slots_far_ahead_are_refused_with_the_wait(self, address: Address) -> None:
        with opened(address, None, Terms(rate_per_s=1)) as ledger:
            first, *others, last = ledger.execute([Reserve(PAGE)] * 9, "w", "o", ids())
            assert isinstance(first, Permit)
            assert isinstance(last, PaceRefusal)
            assert 1 < last.wait_s < 3
            assert sum(isinstance(each, Permit) for each in others) == 1
            assert ledger.usage().used == 2

    def test_a_retry_after_that_one_run_meets_makes_all_wait(self, address: Address) -> None:
        heard = list[float]()
        with opened(address) as one, opened(address) as two, two.own() as owner:
            two.watch_pauses(heard.append)
            one.execute([Penalise(30)], "w", "o", ids())
            (refusal,) = two.execute([Reserve(PAGE)], "v", owner.id, ids())
        assert isinstance(refusal, PaceRefusal)
        assert 25 < refusal.wait_s <= 30
        assert 25 < heard[0] <= 30


class TestConcurrency:
    @pytest.mark.parametrize("size", [pytest.param(1, id="one-at-a-time"), pytest.param(7, id="in-groups")])
    def test_runs_together_get_exactly_the_limit(self, address: Address, size: int) -> None:
        """Four runs reserve until they are refused; each voids its first call."""
        ready = threading.Barrier(4)

        def reserve_all(name: str) -> int:
            with opened(address, 150) as ledger, ledger.own() as owner:
                new_id, granted = ids(name), 0
                ready.wait(30)
                for turn in itertools.count():
                    answers = ledger.execute([Reserve(PAGE)] * size, "w", owner.id, new_id)
                    permits = [answer.attempt for answer in answers if isinstance(answer, Permit)]
                    granted += len(permits)
                    if turn == 0 and permits:  # another run may have had them all before this one began
                        ledger.execute([Settle(permits[0], AttemptState.VOID)], "w", owner.id, new_id)
                        granted -= 1
                    if not permits:
                        break
                return granted

        with ThreadPoolExecutor(4) as threads:
            assert sum(threads.map(reserve_all, "abcd")) == 150
        with opened(address, 150) as ledger:
            assert (ledger.left, ledger.usage().used) == (0, 150)
        assert list(PostgresPlace(address).miscounts()) == []

    async def test_a_group_waits_for_one_that_is_not_committed_yet(self, address: Address) -> None:
        """Else both would see the last call of the month."""
        db = await asyncpg.connect(address.url)
        with opened(address, 1) as first, opened(address, 1) as second, ThreadPoolExecutor(1) as thread:
            async with db.transaction():
                values = first._values([Reserve(PAGE)], ["a"], "w", "o", is_again=False)
                assert (await db.fetchrow(queries()["grant_calls"], *values))["granted"] == 1
                waiting = thread.submit(second.execute, [Reserve(PAGE)], "w", "o", ids("b"))
                waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"
                while not waiting.done() and not await db.fetchval(waits):
                    pass
            (refusal,) = waiting.result()
            assert isinstance(refusal, QuotaRefusal)
            assert first.usage().used == 1
        await db.close()


class TestLostAnswers:
    """The commit's answer does not arrive: the group is sent again."""

    def test_a_group_counts_once(self, address: Address, monkeypatch: pytest.MonkeyPatch) -> None:
        with opened(address, 4) as ledger:
            (first,) = ledger.execute([Reserve(PAGE)], "w", "o", ids("x"))
            assert isinstance(first, Permit)
            lost = iter([True, True, False])
            fetch = asyncpg.Connection.fetchrow

            async def lose_answer(self: Any, statement: str, *values: object) -> Any:
                answer = await fetch(self, statement, *values)
                if "grant_calls" in statement and next(lost):
                    raise ConnectionResetError("lost")
                return answer

            monkeypatch.setattr(asyncpg.Connection, "fetchrow", lose_answer)
            group: list[Operation] = [Reserve(PAGE)] * 4
            group.insert(1, Settle(first.attempt, AttemptState.ACCEPTED))
            results = ledger.execute(group, "w", "o", ids())
            assert [each.attempt for each in results if isinstance(each, Permit)] == ["a0", "a1", "a2"]
            assert isinstance(results[-1], QuotaRefusal)
            assert (ledger.usage().used, ledger.usage().pending, ledger.mark().reserved) == (4, 3, 4)
            assert list(PostgresPlace(address).miscounts()) == []


class TestAway:
    """The database stops and comes back."""

    def test_a_group_waits_for_a_database_that_restarts(self) -> None:
        with run_postgres() as server:
            address = Address(server.url("postgres"), "k" * 32)
            with opened(address, 10, Terms(patience_s=120)) as ledger, ledger.own() as owner:
                ledger.execute([Reserve(PAGE)], "w", owner.id, ids())
                server.stop("immediate")
                with ThreadPoolExecutor(1) as thread:
                    waiting = thread.submit(ledger.execute, [Reserve(PAGE)], "w", owner.id, ids("b"))
                    server.start()
                    (permit,) = waiting.result()
                assert isinstance(permit, Permit)
                assert owner.may_send(permit)
                assert ledger.usage().used == 2

    def test_the_wait_ends_with_patience_or_with_the_run(self, postgres_server: PostgresServer) -> None:
        """Exit 5, without the password."""
        url = postgres_server.url("postgres").replace(str(postgres_server.port), "1")
        with pytest.raises(TemporaryError, match="the database is away") as raised:
            PostgresLedger(Address(url, "k"), Calendar(), None, Terms(patience_s=0.2))
        assert PASSWORD not in str(raised.value)
        assert raised.value.exit_code == 5

    def test_a_wrong_password_is_a_usage_error_without_it(self, address: Address) -> None:
        wrong = Address(address.url.replace(PASSWORD, "wr0ng"), address.key)
        with pytest.raises(UsageError, match="password authentication failed") as raised:
            PostgresLedger(wrong, Calendar(), None)
        assert "wr0ng" not in str(raised.value)


class TestTables:
    def test_runs_that_begin_together_make_them_once(self, postgres_server: PostgresServer) -> None:
        url = postgres_server.url("postgres")
        with opened(Address(url, "new")) as ledger:
            ledger._db.call(lambda db: db.execute("DROP SCHEMA pagemill CASCADE"))
        with ThreadPoolExecutor(4) as threads, ExitStack() as stack:
            opening = [threads.submit(PostgresLedger, Address(url, "new"), Calendar(), None) for _ in range(4)]
            for each in opening:
                stack.callback(each.result().close)
            assert len({each.result().mark() for each in opening}) == 1

    def test_those_of_a_later_release_are_refused(self, address: Address) -> None:
        version = len(read_scripts()) + 1
        with opened(address) as ledger:
            ledger._db.call(lambda db: db.execute("INSERT INTO pagemill.version VALUES ($1)", version))
            try:
                with pytest.raises(LedgerError, match=f"later release .version {version}"):
                    PostgresLedger(address, Calendar(), None)
            finally:
                ledger._db.call(lambda db: db.execute("DELETE FROM pagemill.version WHERE number = $1", version))

    def test_rows_that_are_deleted_during_a_run_reserve_nothing(self, address: Address) -> None:
        with opened(address) as ledger:
            ledger._db.call(lambda db: db.execute("DELETE FROM pagemill.ledger WHERE key = $1", address.key))
            with pytest.raises(LedgerError, match="were deleted"):
                ledger.execute([Reserve(PAGE)], "w", "o", ids())


def test_the_name_has_no_password_and_leads_back_to_the_place(address: Address) -> None:
    place = PostgresPlace(address)
    assert PASSWORD not in place.name
    assert PASSWORD not in repr(place)
    assert place_of(place.name, address.url) == place
    assert PASSWORD not in place_of(place.name, "postgresql://elsewhere/x").address.url


class TestBudgets:
    """The calls of two runs, each with its own event loop and threads."""

    async def test_the_pause_of_one_run_reaches_the_other_and_delays_its_reservations(self, address: Address) -> None:
        heard = anyio.Event()
        with opened(address) as first, opened(address) as second, first.own() as one, second.own() as two:
            asking = Budget(first, workspace_id="w", owner=one)
            waiting = Budget(second, workspace_id="v", owner=two)
            waiting.watch_pauses(lambda _: heard.set())
            asking.penalise(3.0)
            await asking.flush()
            async with waiting.reserve(PAGE) as attempt:
                assert heard.is_set()
                is_over = "SELECT bool_and(paused_until <= clock_timestamp()) FROM pagemill.ledger WHERE number = $1"
                assert first._db.fetch(is_over, first._number)[0][0]
                assert attempt.may_send()
            await waiting.flush()
            for budget in (asking, waiting):
                budget.close()

    async def test_the_next_run_of_a_workspace_waits_for_the_lease_of_one_that_was_killed(
        self, address: Address
    ) -> None:
        """Its connections end, its lease does not; until then its calls are its own."""
        killed = PostgresLedger(address, Calendar(), 10, lease_s=1.0)
        killed._one("beat", killed._number, "killed", 1.0)
        killed.execute([Reserve(PAGE)], "w", "killed", ids())
        killed.close()
        with opened(address, 10) as ledger, ledger.own() as owner:
            budget = Budget(ledger, workspace_id="w", owner=owner)
            assert await budget.find_open() == []
            await Budget(ledger, workspace_id="another", owner=owner).wait_for_former()
            assert await budget.find_open() == []
            await budget.wait_for_former()
            assert [attempt.id for attempt in await budget.find_open()] == ["a0"]
            budget.close()

    async def test_a_call_is_settled_when_it_returns(self, address: Address, monkeypatch: pytest.MonkeyPatch) -> None:
        """Another run may reserve the last call of the month, which this one did not need."""
        settled, loop = anyio.Event(), asyncio.get_running_loop()
        execute = PostgresLedger.execute

        def note(self: PostgresLedger, operations: Sequence[Operation], *more: Any) -> list[Answer]:
            answers = execute(self, operations, *more)
            if any(isinstance(operation, Settle) for operation in operations):
                loop.call_soon_threadsafe(settled.set)
            return answers

        monkeypatch.setattr(PostgresLedger, "execute", note)
        with opened(address, 1) as first, opened(address, 1) as second, first.own() as one:
            budget = Budget(first, workspace_id="w", owner=one)
            async with budget.reserve(PAGE):
                (refused,) = second.execute([Reserve(PAGE)], "v", "o", ids())
                assert isinstance(refused, QuotaRefusal)
            await settled.wait()
            (permit,) = second.execute([Reserve(PAGE)], "v", "o", ids("b"))
            assert isinstance(permit, Permit)
            await budget.flush()
            budget.close()

    async def test_an_outage_longer_than_the_lease_makes_all_permits_unusable(self) -> None:
        """They are given back, and the same run goes on under another lease."""
        with run_postgres() as server:
            address = Address(server.url("postgres"), "k" * 32)
            with opened(address, 10, Terms(patience_s=120), lease_s=1.0) as ledger, ledger.own() as owner:
                budget = Budget(ledger, workspace_id="w", owner=owner)
                async with budget.reserve(PAGE) as attempt:
                    server.stop("immediate")
                    await anyio.sleep(1.2)  # the lease ends
                    server.start()
                    async with budget.reserve(PAGE) as later:
                        assert (attempt.may_send(), later.may_send()) == (False, True)
                await budget.flush()
                assert ledger.usage().used == 0
                budget.close()
