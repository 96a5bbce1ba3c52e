"""The accepted calls of one workspace in a ledger of many machines."""

from collections.abc import Callable, Iterator, Sequence

from pipeline.ledger.attempt_state import AttemptState
from pipeline.ledger.base import AcceptedCall
from pipeline.ledger.postgres.database import Database
from pipeline.ledger.postgres.scripts import queries


class PostgresAcceptedCalls:
    """The accepted calls of one workspace; it implements `AcceptedCalls`.

    Args:
        db: The database.
        ledger: Number of the key's row.
        workspace_id: The workspace's id.
        settle: Sets states without changing a last month that a row has.
    """

    def __init__(
        self, db: Database, ledger: int, workspace_id: str, settle: Callable[[Sequence[str], AttemptState], None]
    ) -> None:
        self._db = db
        self._ledger = ledger
        self._workspace_id = workspace_id
        self._settle = settle

    def __repr__(self) -> str:
        return f"<PostgresAcceptedCalls of {self._workspace_id}>"

    def total(self) -> int:
        """Return their number, those of folded rows included; takes no longer for more of them."""
        return self._count("total")

    def folded(self) -> int:
        """Return the number of those whose rows were folded."""
        return self._count("folded_accepted")

    def folded_posted(self) -> int:
        """Return the number of folded calls of earlier releases, of which some have a text."""
        return self._count("folded_posted")

    def find(self, select: Callable[[Sequence[str]], set[str]], *, before: str = "~") -> Iterator[list[AcceptedCall]]:
        """Yield the calls with a row, in groups, that `select` returns of their ids."""
        last = 0
        while rows := self._db.fetch(queries()["find_accepted"], self._ledger, self._workspace_id, last, before):
            last = rows[-1]["number"]
            selected = select([row["id"] for row in rows])
            if found := [AcceptedCall(row["id"], row["source"]) for row in rows if row["id"] in selected]:
                yield found

    def count_known(self, ids: Sequence[str]) -> int:
        """Return how many of these attempts, of any workspace, have a row."""
        (row,) = self._db.fetch(queries()["count_known"], self._ledger, list(ids))
        return int(row[0])

    def find_charged(self, ids: Sequence[str]) -> set[str]:
        """Return those of these attempts that count without a text."""
        return {row[0] for row in self._db.fetch(queries()["find_charged"], self._ledger, list(ids))}

    def charge(self, ids: Sequence[str]) -> None:
        """Record that these calls have no text any more."""
        self._settle(ids, AttemptState.CHARGED)

    def charge_folded(self, number: int) -> None:
        """Record that this many calls of folded rows have no text any more; it is not tried again."""
        values = (self._ledger, self._workspace_id, number)
        self._db.call(lambda db: db.execute(queries()["forget_folded"], *values), is_patient=False)

    def _count(self, name: str) -> int:
        rows = self._db.fetch(queries()["count_accepted"], self._ledger, self._workspace_id)
        return int(rows[0][name]) if rows else 0
