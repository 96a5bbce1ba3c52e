"""What a cluster run asks of an engine, which places attempts on nodes and makes those of a lost node anew."""

from pathlib import Path
from typing import Protocol

from pipeline.cluster.attempt import ShardOrder, ShardOutcome


class Engine(Protocol):
    """A cluster."""

    def open(self, out: Path) -> None:
        """Connect, and check the nodes. Blocks.

        Args:
            out: The job's workspace, which every node must see.

        Raises:
            UsageError: there is no such cluster, or a node cannot do the work.
        """

    def close(self) -> None:
        """Disconnect; attempts under way are ended."""

    @property
    def machines(self) -> int:
        """Number of machines; those that come later do not count."""

    def capacity(self) -> int:
        """Return how many attempts the cluster makes at a time, now. Blocks."""

    async def attempt(self, order: ShardOrder) -> ShardOutcome:
        """Return the outcome of an attempt at a shard, made anew when its node is lost.

        Raises:
            TemporaryError: the cluster is gone.
            StopError: the attempt ended in an unexpected error.
        """
