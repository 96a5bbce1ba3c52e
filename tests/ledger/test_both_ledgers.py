"""The two ledgers answer the same histories in the same way."""

import itertools
import secrets
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from pipeline.billing import Calendar
from pipeline.ledger.attempt_state import AttemptState
from pipeline.ledger.base import Ledger, LedgerPlace
from pipeline.ledger.operations import Operation, Owner, Penalise, Permit, Reserve, Settle
from pipeline.ledger.postgres.database import Address
from pipeline.ledger.postgres.ledger import PostgresLedger
from pipeline.ledger.postgres.place import PostgresPlace
from pipeline.ledger.sqlite.ledger import SqliteLedger
from pipeline.ledger.sqlite.place import SqlitePlace
from pipeline.records import PageId
from tests.clocks import Clock
from tests.postgres import PostgresServer

CALENDAR = Calendar()
WORKSPACES = ("w", "v")


class BothLedgers(RuleBasedStateMachine):
    """Two runs that reserve, settle, crash and recover in a month that ends, in both ledgers."""

    url: ClassVar = ""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        self.clock = Clock(datetime(2026, 1, 31, 23, 57, tzinfo=UTC))
        self.limit: int | None = 5
        self.places: tuple[LedgerPlace, LedgerPlace] = (
            SqlitePlace(self.directory / "ledger"),
            PostgresPlace(Address(self.url, secrets.token_hex(16))),
        )
        self.numbers = itertools.count(1)
        self.open_calls: dict[str, str] = {}
        self.accepted: list[str] = []
        self.runs: dict[str, ExitStack] = {}
        self.owners: dict[str, tuple[Owner, Owner]] = {}
        self.ledgers = self.start()

    def start(self) -> tuple[Ledger, Ledger]:
        address = self.places[1].address  # type: ignore[attr-defined]
        ledgers = (
            SqliteLedger(self.directory / "ledger", CALENDAR, self.limit, now=self.clock),
            PostgresLedger(address, CALENDAR, self.limit, now=self.clock),
        )
        for workspace in WORKSPACES:
            self.begin(workspace, ledgers)
        return ledgers

    def begin(self, workspace: str, ledgers: Sequence[Ledger]) -> None:
        self.runs[workspace] = stack = ExitStack()
        first, second = (stack.enter_context(ledger.own()) for ledger in ledgers)
        self.owners[workspace] = (first, second)

    def teardown(self) -> None:
        try:
            self.rows_agree()
        finally:
            self.stop()
            shutil.rmtree(self.directory)

    def stop(self) -> None:
        for run in self.runs.values():
            run.close()
        for ledger in self.ledgers:
            ledger.close()

    def both(self, ask: Callable[[Ledger], Any]) -> Any:
        """Return the answer of the ledgers, which must be the same."""
        first, second = (ask(ledger) for ledger in self.ledgers)
        assert first == second
        return first

    def execute(self, workspace: str, operations: Sequence[Operation]) -> list[str]:
        """Carry out a group in both; return the attempts that were granted."""
        ids = [f"a{next(self.numbers):03d}" for _ in operations]
        answers = []
        for ledger, owner in zip(self.ledgers, self.owners[workspace], strict=True):
            answers.append(ledger.execute(operations, workspace, owner.id, iter(ids).__next__))
        plain = [[a.attempt if isinstance(a, Permit) else a for a in found] for found in answers]
        assert plain[0] == plain[1]
        for found, owner in zip(answers, self.owners[workspace], strict=True):
            assert all(owner.may_send(each) for each in found if isinstance(each, Permit))
        assert self.ledgers[0].left == self.ledgers[1].left
        granted = [each for each in plain[0] if isinstance(each, str)]
        self.open_calls.update(dict.fromkeys(granted, workspace))
        return granted

    @rule(workspace=st.sampled_from(WORKSPACES), count=st.integers(0, 3))
    def reserve(self, workspace: str, count: int) -> None:
        self.execute(workspace, [Reserve(PageId("sha256:00#1"), "ä/b.png")] * count)

    @precondition(lambda self: self.open_calls)
    @rule(data=st.data(), count=st.integers(0, 2))
    def settle(self, data: st.DataObject, count: int) -> None:
        attempts = data.draw(st.lists(st.sampled_from(sorted(self.open_calls)), unique=True, min_size=1, max_size=3))
        states = st.sampled_from([state for state in AttemptState if state is not AttemptState.PENDING])
        settled = [Settle(attempt, data.draw(states)) for attempt in attempts]
        self.execute("w", [Penalise(0.0), *settled, *[Reserve(PageId("p"))] * count])
        for each in settled:
            del self.open_calls[each.attempt]
            if each.state is AttemptState.ACCEPTED:
                self.accepted.append(each.attempt)

    @rule(workspace=st.sampled_from(WORKSPACES), data=st.data())
    def crash_and_recover(self, workspace: str, data: st.DataObject) -> None:
        """The run dies; the next one of the workspace finds its calls."""
        self.runs[workspace].close()
        self.begin(workspace, self.ledgers)
        found = self.both(lambda ledger: sorted(ledger.open_attempts(workspace, ledger.is_alive), key=repr))
        proven = {attempt.id for attempt in found if data.draw(st.booleans())}
        for ledger in self.ledgers:
            ledger.recover(
                [attempt for attempt in found if attempt.id in proven],
                [attempt for attempt in found if attempt.id not in proven],
            )
        for attempt in found:
            self.open_calls.pop(attempt.id, None)
        self.accepted += proven

    @rule(seconds=st.sampled_from([-90_000, -30, 30, 70, 130, 43_200, 28 * 86_400]))
    def move_clock(self, seconds: int) -> None:
        self.clock.now += timedelta(seconds=seconds)

    @rule(limit=st.sampled_from([None, 0, 3, 8]))
    def restart(self, limit: int | None) -> None:
        """Both ledgers are opened anew, under another limit: closed months are folded."""
        self.stop()
        self.limit = limit
        self.ledgers = self.start()

    @rule(used=st.integers(0, 6))
    def set_used(self, used: int) -> None:
        self.both(lambda ledger: ledger.set_used(used))

    @rule()
    def spread(self) -> None:
        for ledger in self.ledgers:
            ledger.spread()

    @precondition(lambda self: self.accepted)
    @rule(data=st.data())
    def lose_text(self, data: st.DataObject) -> None:
        """A text that was paid for is gone, and the user pays again."""
        attempt = data.draw(st.sampled_from(self.accepted))
        for ledger in self.ledgers:
            calls = ledger.accepted_calls("w")
            if calls.count_known([attempt]):
                calls.charge([attempt])
            elif calls.folded():
                calls.charge_folded(1)
        self.accepted.remove(attempt)

    @invariant()
    def counts_agree(self) -> None:
        for month in self.both(lambda ledger: ledger.months()):
            self.both(lambda ledger: ledger.usage(month))  # noqa: B023 - called at once
        self.both(lambda ledger: (ledger.usage(), ledger.night_share(), ledger.mark().reserved))
        self.both(lambda ledger: (ledger.clock_problem() or "").partition(": ")[2][:22])

    @rule()
    def rows_agree(self) -> None:
        """What commands read; connecting for each costs too much for an invariant."""

        def read(place: LedgerPlace, workspace: str) -> object:
            usage = place.peek_usage(CALENDAR, self.limit, self.clock.now)
            days = place.calls_by_day(workspace, lambda text: int(text[8:10]))
            return place.folded(), sorted(map(repr, place.attempts(workspace))), usage, days, list(place.miscounts())

        first, second = ([read(place, workspace) for workspace in WORKSPACES] for place in self.places)
        assert first == second
        assert first[0][-1] == []  # type: ignore[index]

    @invariant()
    def accepted_calls_agree(self) -> None:
        for workspace in WORKSPACES:

            def read(ledger: Ledger) -> object:
                calls = ledger.accepted_calls(workspace)  # noqa: B023 - called at once
                found = list(calls.find(set))
                charged = calls.find_charged([f"a{number:03d}" for number in range(60)])
                return calls.total(), calls.folded(), calls.folded_posted(), found, charged

            self.both(read)


def test_both_ledgers_answer_any_history_in_the_same_way(postgres_server: PostgresServer) -> None:
    """Reservations, outcomes, crashes, recoveries, months that end, limits, corrections: answers and counts agree."""
    BothLedgers.url = postgres_server.url("postgres")
    run_state_machine_as_test(
        BothLedgers,
        settings=settings(
            max_examples=8,
            stateful_step_count=20,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
