"""The claims of a job's shards in a ledger of many machines."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.ledger.claims import ClaimScope, End, Holder, Take, require_held
from pipeline.ledger.postgres.database import Database
from pipeline.ledger.postgres.scripts import queries

if TYPE_CHECKING:
    from asyncpg import Connection


class PostgresClaims:
    """The claims of one shard; it implements `Claims`.

    Args:
        db: The database.
        ledger: Number of the key's row.
        scope: Whose claims these are.
    """

    def __init__(self, db: Database, ledger: int, scope: ClaimScope) -> None:
        self._db = db
        self._ledger = ledger
        self._scope = scope

    def __repr__(self) -> str:
        return f"<PostgresClaims {self._scope}>"

    def find_holder(self) -> Holder | None:
        """Return the workspace that is this shard of the job; None when there is none yet."""
        rows = self._db.fetch(queries()["find_shard"], self._ledger, self._scope.job, self._scope.shard)
        return Holder(rows[0]["workspace"], rows[0]["place"]) if rows else None

    def register(self) -> None:
        """Make this workspace the shard; what another one has claimed as the same shard is released."""
        scope = self._scope
        key = (self._ledger, scope.job)

        async def take_place(db: "Connection") -> None:
            async with db.transaction():
                former = await db.fetchval(queries()["take_shard"], *key, scope.shard)
                if former not in {None, scope.workspace_id}:
                    await db.execute(queries()["release_former"], *key, former)
                await db.execute(queries()["register_shard"], *key, scope.shard, scope.workspace_id, scope.place)

        self._db.call(take_place)

    def execute(self, operations: Sequence[Take | End]) -> list[int | None]:
        """Carry out a group in one transaction; a group whose answer was lost is sent again, and changes nothing."""
        last = {operation.page: operation for operation in operations}
        ended = [page for page, operation in last.items() if isinstance(operation, End)]
        taken = sorted({operation.page for operation in operations if isinstance(operation, Take)})
        key, mine = (self._ledger, self._scope.job), (self._scope.shard, self._scope.workspace_id)

        async def carry_out(db: "Connection") -> dict[str, int]:
            async with db.transaction():
                require_held(self._scope, await db.fetchval(queries()["hold_shard"], *key, self._scope.shard))
                await db.execute(queries()["take_claims"], *key, *mine, taken)
                await db.execute(queries()["end_claims"], *key, self._scope.workspace_id, ended)
                rows = await db.fetch(queries()["find_holders"], *key, self._scope.workspace_id, taken)
                return {row["page"]: row["shard"] for row in rows}

        holders = self._db.call(carry_out)
        return [holders.get(operation.page) if isinstance(operation, Take) else None for operation in operations]

    def held_by_others(self, pages: Sequence[str]) -> set[str]:
        """Return those of the pages that other shards of the job have claimed."""
        scope = self._scope
        rows = self._db.fetch(queries()["find_holders"], self._ledger, scope.job, scope.workspace_id, list(pages))
        return {row["page"] for row in rows}

    def unended(self) -> list[str]:
        """Return the pages that this workspace has claimed and not ended."""
        rows = self._db.fetch(queries()["find_unended"], self._ledger, self._scope.job, self._scope.workspace_id)
        return [row["page"] for row in rows]

    def release(self) -> None:
        """Let other shards take the pages that this workspace has claimed and not ended."""
        self._db.fetch(queries()["release_claims"], self._ledger, self._scope.job, self._scope.workspace_id)
