"""The epochs of a job's shards in a ledger of many machines."""

from pipeline.ledger.postgres.database import Database
from pipeline.ledger.postgres.scripts import queries
from pipeline.ledger.shard_epochs import Begun, Commit, Held


class PostgresShardEpochs:
    """The epochs of one job; it implements `ShardEpochs`.

    Args:
        db: The database.
        ledger: Number of the key's row.
        job: The job's id.
    """

    def __init__(self, db: Database, ledger: int, job: str) -> None:
        self._db = db
        self._ledger = ledger
        self._job = job

    def __repr__(self) -> str:
        return f"<PostgresShardEpochs {self._job}>"

    def begin(self, shard: int, owner: str, above: int = 0) -> Begun | Held | Commit:
        """Begin the next epoch of a shard, unless it is done or the owner of the last epoch is alive."""
        (row,) = self._db.fetch(queries()["begin_shard"], self._ledger, self._job, shard, owner, above)
        if row["wait_s"] is not None:
            return Held(row["wait_s"])
        return Begun(row["epoch"]) if row["exit_code"] is None else Commit(row["epoch"], row["exit_code"])

    def commit(self, shard: int, epoch: int, owner: str, exit_code: int) -> bool:
        """Note that an attempt has finished its shard; False, and nothing is noted, when a later one has begun."""
        values = (self._ledger, self._job, shard, epoch, owner, exit_code)
        return bool(self._db.fetch(queries()["commit_shard"], *values))

    def committed(self) -> dict[int, Commit]:
        """Return the shards whose last attempt has committed."""
        rows = self._db.fetch(queries()["list_committed"], self._ledger, self._job)
        return {row["shard"]: Commit(row["epoch"], row["exit_code"]) for row in rows}
