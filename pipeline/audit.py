"""Do the accounts add up? Reads a workspace line by line and names each discrepancy."""

from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path

from pipeline.errors import WorkspaceLockedError
from pipeline.index import Index
from pipeline.ledger import read_attempt_states
from pipeline.records import AttemptState, PageId, State
from pipeline.rules.resume import DamagedLineError, parse_failure, parse_result
from pipeline.sink import FAILURES, RESULTS
from pipeline.workspace import RunFile, hold_workspace

_SHOWN = 80


def audit(workspace: Path, run_file: RunFile) -> Iterator[str]:
    """Yield one line for each fault of a workspace that no run holds.

    Checks every line's checksum and fields, that no content was paid twice, that a duplicate's original is there,
    that each page stands in one state which its lines bear out, that the sums are those of the last run, and that
    the ledger counts every call whose result is on disk.
    """
    with Index.open(workspace) as index:
        states = _read_ledger(run_file)
        dedup = run_file.settings.get("prepare", {}).get("dedup", True)
        yield from _audit_results(workspace / RESULTS, index, states, once=dedup)
        yield from _audit_failures(workspace / FAILURES)
        yield from _audit_pages(index)
        yield from _audit_totals(index, run_file)


def count_pages(workspace: Path) -> dict[State, int]:
    """Return how many pages stand in each state; while a run is under way, as of its last commit."""
    try:
        with hold_workspace(workspace), Index.open(workspace) as index:
            return index.totals()
    except WorkspaceLockedError:
        with closing(Index.peek(workspace)) as index:
            return index.totals()


def _audit_results(path: Path, index: Index, states: dict[str, AttemptState] | None, *, once: bool) -> Iterator[str]:
    for number, offset, line in _lines(path):
        place = f"{path.name}:{number}"
        try:
            head = parse_result(line)
        except DamagedLineError as exc:
            yield f"{place}: {exc}"
            continue
        first = index.find_offset(PageId(head.id))
        if first is None:
            yield f"{place}: {head.source}: the index does not know it"
        elif once and head.duplicate_of is None and first != offset:
            yield f"{place}: {head.source}: its content has an earlier record, so it was sent twice"
        elif head.duplicate_of is not None and first == offset:
            yield f"{place}: {head.source}: a duplicate of '{head.duplicate_of}' without its record"
        if states is not None and states.get(head.attempt) is AttemptState.VOID:
            yield f"{place}: {head.source}: the ledger counts its call {head.attempt} as never made"


def _audit_failures(path: Path) -> Iterator[str]:
    for number, _, line in _lines(path):
        try:
            parse_failure(line)
        except DamagedLineError as exc:
            yield f"{path.name}:{number}: {exc}"


def _audit_pages(index: Index) -> Iterator[str]:
    for source, page, state, page_id in index.pages():
        name = source.decode("utf-8", "replace")[:_SHOWN]
        has_record = page_id is not None and index.find_record(PageId(page_id)) is not None
        if state in {State.DONE, State.DUPLICATE} and not has_record:
            yield f"{name} page {page}: counts as {state} and has no record that can be read"


def _audit_totals(index: Index, run_file: RunFile) -> Iterator[str]:
    if run_file.finished is None:
        return  # a run that was killed wrote no totals
    for state, number in index.totals().items():
        expected = run_file.totals.get(state.value, 0)
        if state is State.PENDING and number == 0:
            continue  # what is pending leaves no line: an index that was made anew does not know it
        if number != expected:
            yield f"run.json: {expected} pages {state}, the files say {number}"


def _read_ledger(run_file: RunFile) -> dict[str, AttemptState] | None:
    """Return what the ledger says of the workspace's calls, without writing to it; None when there is none here."""
    ledger = run_file.existing_ledger
    return None if ledger is None else read_attempt_states(ledger, run_file.workspace)


def _lines(path: Path) -> Generator[tuple[int, int, bytes]]:
    """Yield (line number from 1, offset, line without its newline)."""
    if not path.exists():
        return
    with path.open("rb") as file:
        offset = 0
        for number, line in enumerate(file, 1):
            yield number, offset, line.removesuffix(b"\n")
            offset += len(line)
