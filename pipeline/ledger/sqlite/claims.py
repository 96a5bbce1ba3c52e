"""The claims of a job's shards in the ledger of one machine."""

from collections.abc import Sequence
from sqlite3 import Connection
from typing import Final

from pipeline.ledger.claims import ClaimScope, End, Holder, Take, require_held
from pipeline.storage.sqlite import DurableDatabase

_BATCH: Final = 500
_SCHEMA: Final = (
    # The workspace that is a shard of a job at present.
    """CREATE TABLE IF NOT EXISTS shard (
  job TEXT NOT NULL, number INTEGER NOT NULL, workspace TEXT NOT NULL, place TEXT NOT NULL, PRIMARY KEY (job, number)
) WITHOUT ROWID""",
    # workspace: NULL once it is released; epoch: how often another workspace has taken it over
    """CREATE TABLE IF NOT EXISTS claim (
  job TEXT NOT NULL, page TEXT NOT NULL, shard INTEGER NOT NULL, workspace TEXT, epoch INTEGER NOT NULL DEFAULT 1,
  ended INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (job, page)
) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS claim_open ON claim (workspace) WHERE NOT ended",
)
_TAKE: Final = """
INSERT INTO claim (job, page, shard, workspace) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT DO UPDATE SET shard = ?3, epoch = epoch + (workspace IS NOT ?4), workspace = ?4, ended = 0
WHERE workspace IS NULL OR workspace = ?4
"""


class SqliteClaims:
    """The claims of one shard; it implements `Claims`.

    Args:
        file: The ledger; the tables are made when they are missing.
        scope: Whose claims these are.
    """

    def __init__(self, file: DurableDatabase, scope: ClaimScope) -> None:
        self._file = file
        self._scope = scope
        with file.transaction() as db:
            for statement in _SCHEMA:
                db.execute(statement)

    def __repr__(self) -> str:
        return f"<SqliteClaims {self._scope}>"

    def find_holder(self) -> Holder | None:
        """Return the workspace that is this shard of the job; None when there is none yet."""
        with self._file.reading() as db:
            query = "SELECT workspace, place FROM shard WHERE job = ? AND number = ?"
            row = db.execute(query, (self._scope.job, self._scope.shard)).fetchone()
        return None if row is None else Holder(*row)

    def register(self) -> None:
        """Make this workspace the shard; what another one has claimed as the same shard is released."""
        scope = self._scope
        with self._file.transaction() as db:
            former = self._holder_id(db)
            if former not in {None, scope.workspace_id}:
                db.execute("UPDATE claim SET workspace = NULL WHERE job = ? AND workspace = ?", (scope.job, former))
            db.execute(
                "INSERT OR REPLACE INTO shard VALUES (?, ?, ?, ?)",
                (scope.job, scope.shard, scope.workspace_id, scope.place),
            )

    def execute(self, operations: Sequence[Take | End]) -> list[int | None]:
        """Carry out a group in one transaction; return the shard that holds each page, None for this one."""
        scope = self._scope
        with self._file.transaction() as db:
            require_held(scope, self._holder_id(db))
            answers: list[int | None] = []
            for operation in operations:
                holder = None
                if isinstance(operation, End):
                    db.execute(
                        "UPDATE claim SET ended = 1 WHERE job = ? AND page = ? AND workspace = ?",
                        (scope.job, operation.page, scope.workspace_id),
                    )
                elif not db.execute(_TAKE, (scope.job, operation.page, scope.shard, scope.workspace_id)).rowcount:
                    holder = self._holders(db, [operation.page])[operation.page]
                answers.append(holder)
            return answers

    def held_by_others(self, pages: Sequence[str]) -> set[str]:
        """Return those of the pages that other shards of the job have claimed."""
        with self._file.reading() as db:
            found = set[str]()
            for start in range(0, len(pages), _BATCH):
                found.update(self._holders(db, pages[start : start + _BATCH]))
            return found

    def _holder_id(self, db: Connection) -> str | None:
        query = "SELECT workspace FROM shard WHERE job = ? AND number = ?"
        row = db.execute(query, (self._scope.job, self._scope.shard)).fetchone()
        return None if row is None else str(row[0])

    def _holders(self, db: Connection, pages: Sequence[str]) -> dict[str, int]:
        marks = ", ".join("?" * len(pages))
        query = f"SELECT page, shard FROM claim WHERE job = ? AND workspace <> ? AND page IN ({marks})"  # noqa: S608
        return dict(db.execute(query, (self._scope.job, self._scope.workspace_id, *pages)).fetchall())

    def unended(self) -> list[str]:
        """Return the pages that this workspace has claimed and not ended."""
        with self._file.reading() as db:
            query = "SELECT page FROM claim WHERE workspace = ? AND NOT ended AND job = ?"
            return [row[0] for row in db.execute(query, (self._scope.workspace_id, self._scope.job))]

    def release(self) -> None:
        """Let other shards take the pages that this workspace has claimed and not ended."""
        with self._file.transaction() as db:
            release = "UPDATE claim SET workspace = NULL WHERE workspace = ? AND NOT ended AND job = ?"
            db.execute(release, (self._scope.workspace_id, self._scope.job))
