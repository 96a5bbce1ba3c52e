"""The claims of both ledgers answer the same histories as a dictionary does."""

import secrets
import shutil
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from pipeline.billing import Calendar
from pipeline.errors import LedgerError
from pipeline.ledger.claims import Claims, ClaimScope, End, Holder, Take
from pipeline.ledger.postgres.database import Address
from pipeline.ledger.postgres.ledger import PostgresLedger
from pipeline.ledger.sqlite.ledger import SqliteLedger
from tests.clocks import Clock
from tests.postgres import PostgresServer

PAGES = ("a", "ä", "c")
SCOPES = [
    ClaimScope("job", 1, "one", "/parts/1"),
    ClaimScope("job", 2, "two", "/parts/2"),
    ClaimScope("job", 1, "one again", "/parts/new"),
    ClaimScope("other", 1, "three", "/others/1"),
]
scopes = st.sampled_from(SCOPES)
operations = st.lists(st.builds(lambda kind, page: kind(page), st.sampled_from([Take, End]), st.sampled_from(PAGES)))


class BothClaims(RuleBasedStateMachine):
    """Two shards of a job, a workspace that takes one's place, and another job."""

    url: ClassVar = ""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        clock = Clock(datetime(2026, 1, 31, tzinfo=UTC))
        self.ledgers = (
            SqliteLedger(self.directory / "ledger", Calendar(), None, now=clock),
            PostgresLedger(Address(self.url, secrets.token_hex(16)), Calendar(), None, now=clock),
        )
        self.claims = {scope: [ledger.claims(scope) for ledger in self.ledgers] for scope in SCOPES}
        self.holders: dict[tuple[str, int], ClaimScope] = {}
        self.taken: dict[tuple[str, str], tuple[ClaimScope, bool]] = {}
        """Who has claimed a page of a job, and whether that has ended."""
        for scope in SCOPES:
            self.register(scope)

    def teardown(self) -> None:
        for ledger in self.ledgers:
            ledger.close()
        shutil.rmtree(self.directory)

    def both(self, scope: ClaimScope, ask: Callable[[Claims], Any]) -> Any:
        """Return the answer of the ledgers, which must be the same."""
        first, second = (ask(claims) for claims in self.claims[scope])
        assert first == second
        return first

    @rule(scope=scopes)
    def register(self, scope: ClaimScope) -> None:
        self.both(scope, lambda claims: claims.register())
        former = self.holders.get((scope.job, scope.shard))
        self.holders[scope.job, scope.shard] = scope
        if former not in {None, scope}:
            self.taken = {page: claim for page, claim in self.taken.items() if claim[0] != former}

    @rule(scope=scopes, group=operations)
    def execute(self, scope: ClaimScope, group: list[Take | End]) -> None:
        if self.holders[scope.job, scope.shard] != scope:
            for claims in self.claims[scope]:
                with pytest.raises(LedgerError, match="another workspace is shard 1 of the job now"):
                    claims.execute(group)
            return
        answers = self.both(scope, lambda claims: claims.execute(group))
        expected: list[int | None] = []
        for operation in group:
            page = (scope.job, operation.page)
            holder = self.taken[page][0] if page in self.taken else None
            if isinstance(operation, Take) and holder in {None, scope}:
                self.taken[page] = (scope, False)
            elif isinstance(operation, End) and holder == scope:
                self.taken[page] = (scope, True)
            is_left = isinstance(operation, Take) and holder not in {None, scope}
            expected.append(holder.shard if is_left and holder is not None else None)
        assert answers == expected

    @rule(scope=scopes)
    def release(self, scope: ClaimScope) -> None:
        self.both(scope, lambda claims: claims.release())
        self.taken = {page: claim for page, claim in self.taken.items() if claim != (scope, False)}

    @invariant()
    def agree(self) -> None:
        for scope in SCOPES:
            holder = self.holders[scope.job, scope.shard]
            assert self.both(scope, lambda claims: claims.find_holder()) == Holder(holder.workspace_id, holder.place)
            own = {page: claim for (job, page), claim in self.taken.items() if job == scope.job}
            found = self.both(scope, lambda claims: sorted(claims.unended()))
            assert found == sorted(page for page, claim in own.items() if claim == (scope, False))
            held = self.both(scope, lambda claims: set(claims.held_by_others(PAGES)))
            assert held == {page for page, claim in own.items() if claim[0] != scope}


def test_both_ledgers_keep_the_claims_of_any_history(postgres_server: PostgresServer) -> None:
    """Claims, ends, releases, a workspace in another one's place: answers and claims are those of a dictionary."""
    BothClaims.url = postgres_server.url("postgres")
    run_state_machine_as_test(
        BothClaims,
        settings=settings(
            max_examples=15,
            stateful_step_count=15,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
