"""Permits: a call whose run others may take for dead is not sent."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from pipeline.batch.permits import Permits
from pipeline.billing import Calendar
from pipeline.ledger.attempt_state import AttemptState
from pipeline.ledger.budget import Budget
from pipeline.ledger.operations import Owner, Permit
from pipeline.ledger.sqlite.ledger import SqliteLedger
from pipeline.records import PageId
from pipeline.remote.gate import Gate
from pipeline.shutdown import Shutdown
from tests.ledgers import read_attempt_states

PAGE = PageId("sha256:00#1")


class LapsedOwner(Owner):
    """Its lease has ended when it asks for the first time."""

    def __init__(self) -> None:
        super().__init__("o")
        self.asked: list[str] = []

    def may_send(self, permit: Permit) -> bool:
        """Return False for the first permit."""
        self.asked.append(permit.attempt)
        return len(set(self.asked)) > 1


@asynccontextmanager
async def obtain(path: Path, *, is_turn_first: bool) -> AsyncGenerator[tuple[LapsedOwner, Gate, str]]:
    """Obtain a permit of a lapsed owner for one call."""
    owner, gate, shutdown = LapsedOwner(), Gate(), Shutdown()
    with (
        closing(SqliteLedger(path, Calendar(), 10)) as ledger,
        closing(Budget(ledger, workspace_id="w", owner=owner, shutdown=shutdown)) as budget,
    ):
        permits = Permits(budget, gate, shutdown, is_turn_first=is_turn_first)
        async with permits.obtain(PAGE, "a.png") as (attempt, turn):
            attempt.mark_sent()
            yield owner, gate, attempt.id
            attempt.accept()
            gate.report_accepted(turn)
        await budget.flush()


@pytest.mark.parametrize("is_turn_first", [False, True])
async def test_a_permit_that_has_lapsed_is_void_and_another_one_is_used(tmp_path: Path, *, is_turn_first: bool) -> None:
    path = tmp_path / "ledger.sqlite3"
    async with obtain(path, is_turn_first=is_turn_first) as (owner, gate, sent):
        void, used = owner.asked
        assert sent == used
        assert read_attempt_states(path, "w") == {void: AttemptState.VOID, used: AttemptState.PENDING}
        assert gate.statistics().learned.in_flight is None
    assert read_attempt_states(path, "w")[used] is AttemptState.ACCEPTED
