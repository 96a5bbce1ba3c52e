"""The accepted calls of one workspace: each must have a readable line in its results.jsonl."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from pipeline.ledger.attempt_state import AttemptState
from pipeline.ledger.base import AcceptedCall
from pipeline.ledger.sqlite.counts import change_states, forget_folded
from pipeline.storage.sqlite import DurableDatabase

_BATCH: Final = 500


class SqliteAcceptedCalls:
    """The accepted calls of one workspace.

    Args:
        file: The ledger.
        workspace_id: The workspace's id.
    """

    def __init__(self, file: DurableDatabase, workspace_id: str) -> None:
        self._file = file
        self._workspace_id = workspace_id

    def __repr__(self) -> str:
        return f"<SqliteAcceptedCalls of {self._workspace_id}>"

    def total(self) -> int:
        """Return their number, those of folded rows included; takes no longer for more of them."""
        return self._read("SELECT accepted + folded_accepted FROM workspace WHERE id = ?")

    def folded(self) -> int:
        """Return the number of those whose rows were folded."""
        return self._read("SELECT folded_accepted FROM workspace WHERE id = ?")

    def folded_posted(self) -> int:
        """Return the number of folded calls of earlier releases, of which some have a text."""
        return self._read("SELECT folded_posted FROM workspace WHERE id = ?")

    def find(self, select: Callable[[Sequence[str]], set[str]], *, before: str = "~") -> Iterator[list[AcceptedCall]]:
        """Yield the calls with a row, in groups, that `select` returns of their ids.

        Args:
            select: Returns some of the ids.
            before: Only calls reserved at this time, RFC 3339, or earlier; by default all.
        """
        last = 0
        while True:
            with self._file.reading() as db:
                rows = db.execute(
                    "SELECT number, id, source FROM attempt WHERE workspace = ? AND state = 'accepted'"
                    " AND number > ? AND added <= ? ORDER BY number LIMIT ?",
                    (self._workspace_id, last, before, _BATCH),
                ).fetchall()
            if not rows:
                return
            last = rows[-1][0]
            selected = select([row[1] for row in rows])
            if found := [AcceptedCall(row[1], row[2]) for row in rows if row[1] in selected]:
                yield found

    def count_known(self, ids: Sequence[str]) -> int:
        """Return how many of these attempts, of any workspace, have a row."""
        marks = ", ".join("?" * len(ids))
        with self._file.reading() as db:
            found = db.execute(f"SELECT count(*) FROM attempt WHERE id IN ({marks})", ids)  # noqa: S608
            return int(found.fetchone()[0])

    def find_charged(self, ids: Sequence[str]) -> set[str]:
        """Return those of these attempts that count without a text."""
        found = set[str]()
        for start in range(0, len(ids), _BATCH):
            some = ids[start : start + _BATCH]
            marks = ", ".join("?" * len(some))
            with self._file.reading() as db:
                rows = db.execute(f"SELECT id FROM attempt WHERE state = 'charged' AND id IN ({marks})", some)  # noqa: S608
                found.update(row[0] for row in rows)
        return found

    def charge(self, ids: Sequence[str]) -> None:
        """Record that these calls have no text any more."""
        with self._file.transaction() as db:
            change_states(db, ids, AttemptState.CHARGED, "", keep_end=True)

    def charge_folded(self, number: int) -> None:
        """Record that this many calls of folded rows have no text any more."""
        with self._file.transaction() as db:
            forget_folded(db, self._workspace_id, number)

    def _read(self, statement: str) -> int:
        with self._file.reading() as db:
            row = db.execute(statement, (self._workspace_id,)).fetchone()
        return 0 if row is None else int(row[0])
