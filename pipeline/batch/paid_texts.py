"""Whether each text that was paid for has a readable line, before a run pays for anything.

A run whose results.jsonl was replaced by an older backup, compressed, emptied or edited would send the pages again. The
ledger knows the calls whose texts were synced. Both sides keep counts, so the check takes no longer for more records:
as long as (attempts with a readable line) - (accepted calls) is what it was, no line is missing. Otherwise, and after
all lines were read anew, the ids are compared one by one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import StorageError, UsageError, one_line
from pipeline.ledger.base import AcceptedCalls, Ledger
from pipeline.ledger.budget import Budget
from pipeline.workspace.index import Index
from pipeline.workspace.line_stream import find_missing, find_place
from pipeline.workspace.paths import PARTS, RESULTS
from pipeline.workspace.run_file import RunFile
from pipeline.workspace.source_names import decode_name


@dataclass(frozen=True, slots=True)
class MergedCalls:
    """The calls of a workspace that was merged into this one, and may have gone on since.

    Attributes:
        calls: Its accepted calls in this run's ledger.
        until: RFC 3339: calls reserved later are not in here.
        texts: Number of its texts in here, whatever ledger counts their calls.
    """

    calls: AcceptedCalls
    until: str
    texts: int


@dataclass(frozen=True, slots=True)
class PaidCalls:
    """The calls that a workspace's texts are checked against.

    Attributes:
        calls: The accepted calls of this workspace in this run's ledger.
        ledger_id: The ledger's id.
        original: The accepted calls of the workspace that this one was copied from; None when it was not.
        copied_at: When that copy was whole, RFC 3339; calls reserved later are the original's alone.
        merged: Those of the workspaces that were merged into this one.
    """

    calls: AcceptedCalls
    ledger_id: str
    original: AcceptedCalls | None = None
    copied_at: str | None = None
    merged: Sequence[MergedCalls] = ()

    def total(self) -> int:
        """Return the number of accepted calls of all these workspaces, those made after a merge included."""
        return self.calls.total() + sum(part.calls.total() for part in self.merged)

    def folded(self) -> int:
        """Return the least number of texts whose calls' rows were folded."""
        return self.calls.folded() + sum(min(part.calls.folded(), part.texts) for part in self.merged)

    def folded_posted(self) -> int:
        """Return the number of folded calls of earlier releases, of which some have a text."""
        return self.calls.folded_posted() + sum(part.calls.folded_posted() for part in self.merged)


def find_paid_calls(ledger: Budget | Ledger, last: RunFile | None, workspace_id: str) -> PaidCalls | None:
    """Return the calls whose texts a workspace must have; None for a run that keeps no ledger.

    Args:
        ledger: The run's.
        last: The last run's run.json.
        workspace_id: The workspace's id in this run; a copy has another one than its original.
    """
    calls, mark = ledger.accepted_calls(workspace_id), ledger.mark()
    if calls is None or mark is None:
        return None
    if last is None:
        return PaidCalls(calls, str(mark.id))
    merged = [
        MergedCalls(found, part.until, part.texts)
        for part in last.merged
        if (found := ledger.accepted_calls(part.workspace_id)) is not None
    ]
    if last.workspace_id == workspace_id:
        return PaidCalls(calls, str(mark.id), merged=merged)
    original = ledger.accepted_calls(last.workspace_id)
    return PaidCalls(calls, str(mark.id), original, last.finished or last.started, merged)


def require_texts(
    workspace: Path,
    index: Index,
    paid: PaidCalls | None,
    *,
    pay_again: bool,
    accept_ledger: bool,
    is_plan: bool = False,
) -> None:
    """Return when no page would be sent again whose text was lost or edited.

    Args:
        workspace: The directory, for messages.
        index: With all lines read.
        paid: The ledger's side; None for a run that keeps no ledger.
        pay_again: True lets the run send such pages again; their earlier calls become `charged`.
        accept_ledger: True accepts a ledger that lacks calls whose texts are there.
        is_plan: True changes neither index nor ledger: no run follows.

    Raises:
        StorageError: lines are missing, or were edited.
        UsageError: the ledger lacks calls that it had.
    """
    if not pay_again:
        _require_unedited(workspace, index, paid)
    if paid is None:
        if not is_plan:
            index.proofs.forget_numbers()
        return
    difference = index.proofs.count() - paid.total()
    if paid.original is None and index.proofs.get_number(f"excess {paid.ledger_id}") == difference:
        return
    unknown = index.proofs.count() - sum(paid.calls.count_known(ids) for ids in index.proofs.all())
    strangers = max(0, unknown - paid.folded() - paid.folded_posted())
    known = index.proofs.get_number(f"strangers {paid.ledger_id}")
    if known is not None and strangers > known and not accept_ledger:
        raise UsageError(
            f"{workspace}: the ledger lacks {strangers - known} calls whose texts are in {RESULTS}: an older copy of it"
            " was restored, or lines of another key were added; restore the newest ledger, or confirm once with"
            " --accept-ledger, and `pagemill quota --already-used N` sets the count"
        )
    folded = max(0, paid.folded() - unknown)
    if is_plan and pay_again:
        return
    _require_lines(workspace, index, paid, folded, pay_again=pay_again)
    if is_plan:
        return
    index.proofs.put_number(f"excess {paid.ledger_id}", index.proofs.count() - paid.total())
    index.proofs.put_number(f"strangers {paid.ledger_id}", strangers)
    index.commit()


def _require_unedited(workspace: Path, index: Index, paid: PaidCalls | None) -> None:
    edited = index.proofs.edited()
    if edited and paid is not None:
        charged = paid.calls.find_charged([attempt for line in edited for attempt in line.attempts])
        edited = [line for line in edited if not line.attempts or not charged.issuperset(line.attempts)]
    if edited:
        first = edited[0]
        name, offset = find_place(workspace, first.file, first.offset_bytes)
        raise StorageError(
            f"{workspace}: {len(edited)} lines were edited: their checksums do not match (the first:"
            f" {one_line(decode_name(first.source))}, {name} at byte {offset}); nothing was sent;"
            f" `pagemill correct {workspace} --reseal` accepts the changes, --pay-again sends these pages again"
        )


def _require_lines(workspace: Path, index: Index, paid: PaidCalls, folded: int, *, pay_again: bool) -> None:
    """Raise when calls have no line; `folded` is the least number of those whose rows were folded."""

    def lacks_line(ids: Sequence[str]) -> set[str]:
        return set(ids) - index.proofs.find(ids)

    number, first = 0, ""
    for found in paid.calls.find(lacks_line):
        number, first = number + len(found), first or found[0].source
        if pay_again:
            paid.calls.charge([call.id for call in found])
    if folded and pay_again:
        paid.calls.charge_folded(min(folded, paid.calls.folded()))
    others = [(part.calls, part.until) for part in paid.merged]
    if paid.original is not None and paid.copied_at is not None:
        others.append((paid.original, paid.copied_at))
    for calls, until in others:
        for found in calls.find(lacks_line, before=until):
            number, first = number + len(found), first or found[0].source
    number += folded
    if number and not pay_again:
        example = f" (the first: {one_line(first)})" if first else ""
        missing = "".join(f"; {name} is missing" for name in find_missing(workspace))
        raise StorageError(
            f"{workspace}: {number} texts that were paid for have no readable line in {RESULTS} or {PARTS}{example}"
            f"{missing}; nothing was sent; `pagemill verify {workspace}` names them; restore the file, or run with"
            " --pay-again to send these pages again"
        )
