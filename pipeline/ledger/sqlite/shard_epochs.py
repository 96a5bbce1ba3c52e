"""The epochs of a job's shards in the ledger of one machine.

An owner is alive as long as its process exists, so none wakes up after another has taken its shard over.
"""

from collections.abc import Callable
from typing import Final

from pipeline.ledger.shard_epochs import Begun, Commit, Held
from pipeline.storage.sqlite import DurableDatabase

_WAIT_S: Final = 1.0
_SCHEMA: Final = """CREATE TABLE IF NOT EXISTS shard_epoch (
  job TEXT NOT NULL, shard INTEGER NOT NULL, epoch INTEGER NOT NULL, owner TEXT NOT NULL,
  exit_code INTEGER,  -- NULL until the attempt has committed
  PRIMARY KEY (job, shard)
) WITHOUT ROWID"""


class SqliteShardEpochs:
    """The epochs of one job; it implements `ShardEpochs`.

    Args:
        file: The ledger; the table is made when it is missing.
        job: The job's id.
        is_alive: Returns whether an owner's process is alive.
    """

    def __init__(self, file: DurableDatabase, job: str, is_alive: Callable[[str], bool]) -> None:
        self._file = file
        self._job = job
        self._is_alive = is_alive
        with file.transaction() as db:
            db.execute(_SCHEMA)

    def __repr__(self) -> str:
        return f"<SqliteShardEpochs {self._job}>"

    def begin(self, shard: int, owner: str, above: int = 0) -> Begun | Held | Commit:
        """Begin the next epoch of a shard, unless it is done or the owner of the last epoch is alive."""
        with self._file.transaction() as db:
            query = "SELECT epoch, owner, exit_code FROM shard_epoch WHERE job = ? AND shard = ?"
            epoch, holder, exit_code = db.execute(query, (self._job, shard)).fetchone() or (0, None, None)
            if exit_code is not None and (last := Commit(epoch, exit_code)).is_done:
                return last
            if holder is not None and exit_code is None and self._is_alive(holder):
                return Held(_WAIT_S)
            epoch = max(epoch, above) + 1
            values = (self._job, shard, epoch, owner)
            db.execute("INSERT OR REPLACE INTO shard_epoch VALUES (?, ?, ?, ?, NULL)", values)
            return Begun(epoch)

    def commit(self, shard: int, epoch: int, owner: str, exit_code: int) -> bool:
        """Note that an attempt has finished its shard; False, and nothing is noted, when a later one has begun."""
        with self._file.transaction() as db:
            change = "UPDATE shard_epoch SET exit_code = ? WHERE job = ? AND shard = ? AND epoch = ? AND owner = ?"
            return db.execute(change, (exit_code, self._job, shard, epoch, owner)).rowcount == 1

    def committed(self) -> dict[int, Commit]:
        """Return the shards whose last attempt has committed."""
        with self._file.reading() as db:
            query = "SELECT shard, epoch, exit_code FROM shard_epoch WHERE job = ? AND exit_code IS NOT NULL"
            return {shard: Commit(epoch, code) for shard, epoch, code in db.execute(query, (self._job,))}
