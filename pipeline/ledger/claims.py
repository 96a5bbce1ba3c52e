"""Claims: which shard of a job recognises a content that several shards have, so that it is paid once.

A claim belongs to a workspace that is a shard of a job. It ends when its page has a record or has failed; then it
stays, and the other shards leave the content to that shard. One that has not ended when the run ends is released, and
another shard may take it over; so are all claims of a workspace that another one replaces as the same shard.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Protocol

from pipeline.errors import LedgerError
from pipeline.storage.group_commit import GroupCommit


@dataclass(frozen=True, slots=True)
class ClaimScope:
    """Whose claims these are.

    Attributes:
        job: The shards of one job share their claims.
        shard: The shard's number, 1-based.
        workspace_id: Its workspace.
        place: The workspace's absolute path.
    """

    job: str
    shard: int
    workspace_id: str
    place: str


@dataclass(frozen=True, slots=True)
class Holder:
    """The workspace that is a shard of a job."""

    workspace_id: str
    place: str


@dataclass(frozen=True, slots=True)
class Take:
    """Claim a page's content before its first call."""

    page: str


@dataclass(frozen=True, slots=True)
class End:
    """Note that the page has its record, or has failed."""

    page: str


def require_held(scope: ClaimScope, workspace_id: str | None) -> None:
    """Return when the shard is still the workspace; one that was replaced would claim what nobody releases.

    Args:
        scope: Whose claims these are.
        workspace_id: The workspace that is the shard at present.

    Raises:
        LedgerError: it is another one.
    """
    if workspace_id != scope.workspace_id:
        raise LedgerError(f"{scope.place}: another workspace is shard {scope.shard} of the job now; go on there")


class Claims(Protocol):
    """The claims of one shard in a ledger. One thread at a time calls it; it blocks.

    Every method raises LedgerError when the ledger cannot be trusted, and TemporaryError when it is away.
    """

    def find_holder(self) -> Holder | None:
        """Return the workspace that is this shard of the job; None when there is none yet."""

    def register(self) -> None:
        """Make this workspace the shard; what another one has claimed as the same shard is released."""

    def execute(self, operations: Sequence[Take | End]) -> list[int | None]:
        """Carry out a group in one transaction; return the shard that holds each page, None for this one.

        Raises:
            LedgerError: another workspace has become the shard meanwhile; nothing is claimed.
        """

    def held_by_others(self, pages: Sequence[str]) -> Collection[str]:
        """Return those of the pages that other shards of the job have claimed."""

    def unended(self) -> list[str]:
        """Return the pages that this workspace has claimed and not ended."""

    def release(self) -> None:
        """Let other shards take the pages that this workspace has claimed and not ended."""


def end_known(claims: Claims, has_outcome: Callable[[str], bool]) -> None:
    """End those claims whose pages have a record or have failed."""
    claims.execute([End(page) for page in claims.unended() if has_outcome(page)])


def release_rest(claims: Claims, has_outcome: Callable[[str], bool]) -> None:
    """Release the claims of pages that have neither a record nor failed."""
    end_known(claims, has_outcome)
    claims.release()


class ContentClaims:
    """The claims of one run.

    Args:
        claims: Of its shard.
        thread: Calls them, one after the other.
        of: Number of shards; None while it is not known.
    """

    def __init__(self, claims: Claims, thread: Executor, of: int | None) -> None:
        self._claims = claims
        self._thread = thread
        self._of = of
        self._group: GroupCommit[Take | End, int | None] = GroupCommit(self._commit)

    def __repr__(self) -> str:
        return f"<ContentClaims {self._claims!r}>"

    async def take(self, page: str) -> str | None:
        """Claim a page's content durably; return the shard that has claimed it, such as "3/7", or None for this one."""
        holder = await self._group.submit(Take(page))
        return None if holder is None else f"{holder}/{self._of}" if self._of is not None else str(holder)

    def end(self, page: str) -> None:
        """Note that the page has its record, or has failed; the next group, or `finish`, makes it durable."""
        self._group.defer(End(page))

    async def finish(self, has_outcome: Callable[[str], bool]) -> None:
        """Make all ends durable, and release what has not ended.

        Args:
            has_outcome: Whether a page has a record or has failed; so have those that were to be sent again, and they
                stay claimed.
        """
        await self._group.flush()
        await asyncio.get_running_loop().run_in_executor(self._thread, release_rest, self._claims, has_outcome)

    def _commit(self, group: Sequence[Take | End]) -> Awaitable[Sequence[int | None]]:
        return asyncio.get_running_loop().run_in_executor(self._thread, self._claims.execute, group)
