"""The interface of a ledger: which call counts in which month, for all runs that share an API key.

A `LedgerPlace` says where the calls of a key are counted and reads them for commands; `open` gives a `Ledger`, which a
run reserves and settles its calls in. `places` chooses the implementation.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from pipeline.billing import Calendar, NightShare, Usage
from pipeline.ledger.attempt_state import AttemptState, OpenAttempt
from pipeline.ledger.claims import Claims, ClaimScope
from pipeline.ledger.operations import Answer, Operation, Owner, Terms
from pipeline.ledger.shard_epochs import ShardEpochs


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """A row of the ledger, for the audit."""

    id: str
    page: str
    source: str
    state: AttemptState


@dataclass(frozen=True, slots=True)
class AcceptedCall:
    """A call whose text was synced; the source names its page in messages."""

    id: str
    source: str


@dataclass(frozen=True, slots=True)
class LedgerMark:
    """By what a ledger is known again.

    Attributes:
        id: Random, made with the ledger; None in a file of format 1 or 2, which has none.
        reserved: Number of calls ever reserved; a restored older ledger has fewer.
    """

    id: str | None
    reserved: int


@dataclass(frozen=True, slots=True)
class MonthCalls:
    """The calls that count in a billing month.

    Attributes:
        month: Such as "2026-01" for the one that begins in January.
        base: Calls without a row: those of a closed month, which was folded, and those that were made elsewhere and
            noted by `quota --already-used`; below 0 when fewer were billed than were counted.
        days: Calls with a row by day, as `day_of` returns it.
        here: Calls with a row that are of the workspace asked for.
    """

    month: str
    base: int
    days: Mapping[int, int]
    here: int

    @property
    def total(self) -> int:
        """All calls of the month."""
        return self.base + sum(self.days.values())


class AcceptedCalls(Protocol):
    """The accepted calls of one workspace: each must have a readable line in its results.jsonl."""

    def total(self) -> int:
        """Return their number, those of folded rows included; takes no longer for more of them."""

    def folded(self) -> int:
        """Return the number of those whose rows were folded."""

    def folded_posted(self) -> int:
        """Return the number of folded calls of earlier releases, of which some have a text."""

    def find(self, select: Callable[[Sequence[str]], set[str]], *, before: str = "~") -> Iterator[list[AcceptedCall]]:
        """Yield the calls with a row, in groups, that `select` returns of their ids.

        Args:
            select: Returns some of the ids.
            before: Only calls reserved at this time, RFC 3339, or earlier; by default all.
        """

    def count_known(self, ids: Sequence[str]) -> int:
        """Return how many of these attempts, of any workspace, have a row."""

    def find_charged(self, ids: Sequence[str]) -> set[str]:
        """Return those of these attempts that count without a text."""

    def charge(self, ids: Sequence[str]) -> None:
        """Record that these calls have no text any more."""

    def charge_folded(self, number: int) -> None:
        """Record that this many calls of folded rows have no text any more."""


class Ledger(Protocol):
    """The open ledger of one key. One thread at a time calls it; it blocks.

    Every method raises LedgerError when the ledger cannot be trusted, and TemporaryError when it is away.
    """

    @property
    def is_shared(self) -> bool:
        """Whether other machines use it, too: a reservation must then not wait for its settlement."""

    @property
    def left(self) -> int | None:
        """Calls left in the month after the last group; None when there is no limit."""

    def close(self) -> None:
        """Close the ledger."""

    def own(self) -> AbstractContextManager[Owner]:
        """Yield a new owner; all others see it alive until this context or this process ends."""

    def is_alive(self, owner: str) -> bool:
        """Return whether the run of an owner's id is alive."""

    def watch_pauses(self, note: Callable[[float], object]) -> None:
        """Call `note`, from any thread, with the seconds for which the service lets the runs of other machines wait."""

    def former_lease_s(self, workspace_id: str, owner: str) -> float:
        """Return for how many seconds other owners with open calls of a workspace are alive for certain; 0 for none."""

    def execute(
        self, operations: Sequence[Operation], workspace_id: str, owner: str, new_id: Callable[[], str]
    ) -> list[Answer]:
        """Carry out a group of operations in one transaction, settlements first.

        Args:
            operations: The group.
            workspace_id: The workspace's id.
            owner: The run's id.
            new_id: Returns an id that no attempt has yet.

        Returns:
            The answer to each operation, in their order.

        Raises:
            LedgerError: the ledger cannot be read or written, or does not know an attempt; nothing was reserved.
        """

    def open_attempts(self, workspace_id: str, is_alive: Callable[[str], bool]) -> list[OpenAttempt]:
        """Return this workspace's attempts without an outcome whose owner is dead.

        A dead owner makes no further call: its attempts of every workspace count in no month later than this one.
        """

    def recover(self, proven: Sequence[OpenAttempt], unproven: Sequence[OpenAttempt]) -> None:
        """Record the outcome of attempts that `open_attempts` returned."""

    def shard_epochs(self, job: str) -> ShardEpochs:
        """Return the epochs of the shards of a cluster's job."""

    def claims(self, scope: ClaimScope) -> Claims:
        """Return the claims of a shard."""

    def accepted_calls(self, workspace_id: str) -> AcceptedCalls:
        """Return the calls of a workspace whose texts must be in its results.jsonl."""

    def mark(self) -> LedgerMark:
        """Return the ledger's id and the number of calls that it has ever reserved."""

    def usage(self, month: str | None = None) -> Usage:
        """Return the usage of a month, by default the current one."""

    def months(self) -> list[str]:
        """Return the months that the ledger has counted in, and the current one, oldest first."""

    def resets_at(self, month: str) -> datetime:
        """Return when the month after this one begins."""

    def night_share(self) -> NightShare | None:
        """Return what `--spread` lets a run call that begins now; None when there is no limit."""

    def spread(self) -> None:
        """From now on, reserve no call beyond tonight's share, in which those of all other runs count.

        The last share of a month is the quota's to end.
        """

    def clock_problem(self) -> str | None:
        """Return a warning when calls count in a month that this machine's clock has not reached."""

    def set_used(self, used: int) -> Usage:
        """Set the current month's count to the number on the vendor's dashboard; calls in flight count on top.

        This is the only way back to an earlier month: when a wrong clock has opened later ones, their calls are moved
        to the clock's month.
        """


class LedgerPlace(Protocol):
    """Where the calls of one key are counted. Reading it changes nothing, and needs no open ledger.

    Every method raises LedgerError when the ledger cannot be read, and TemporaryError when it is away.
    """

    @property
    def name(self) -> str:
        """The ledger in messages and in run.json; it reveals neither the key nor a password."""

    def exists(self) -> bool:
        """Return whether anything was ever counted here."""

    def is_same(self, other: "LedgerPlace") -> bool:
        """Return whether both lead to the same ledger; both must exist."""

    def open(self, calendar: Calendar, limit: int | None, terms: Terms | None = None) -> Ledger:
        """Return the open ledger, made when it is missing.

        Args:
            calendar: When the plan's month begins.
            limit: Calls per month; None counts without limiting.
            terms: For a ledger that other machines share.

        Raises:
            UsageError: the address, the user or the password is wrong.
            TemporaryError: it is away for longer than the terms' patience.
        """

    def mark(self) -> LedgerMark | None:
        """Return the ledger's mark; None when there is no ledger."""

    def peek_usage(self, calendar: Calendar, limit: int | None, now: datetime) -> Usage:
        """Return the usage of the current month, also while a run writes the ledger."""

    def calls_by_day(self, workspace_id: str, day_of: Callable[[str], int | None]) -> list[MonthCalls]:
        """Return the months of the ledger in their order.

        Args:
            workspace_id: Whose calls are counted as `here`.
            day_of: Returns the day of an RFC 3339 time; None for a text that is none.
        """

    def attempts(self, workspace_id: str, *, until: str | None = None) -> Iterator[AttemptRow]:
        """Yield the attempts of a workspace that have a row, one by one.

        Args:
            workspace_id: The workspace's id.
            until: Only those reserved at this time, RFC 3339, or earlier; None for all.
        """

    def folded(self) -> dict[str, int]:
        """Return the number of folded rows of all workspaces by month, for every month that was counted in."""

    def miscounts(self) -> Iterator[tuple[str, int, int]]:
        """Yield (name, kept count, number of rows) of each kept count that the rows contradict."""
