"""Do the accounts add up? Reads a workspace, changes nothing in it, and names each discrepancy."""

import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from pipeline.errors import StorageError
from pipeline.records import State
from pipeline.verify.evidence import Evidence
from pipeline.verify.index_copy import IndexCopy
from pipeline.verify.ledger_copy import LedgerCopy
from pipeline.workspace.index import Index, copy_index
from pipeline.workspace.repair import waiting_rescues
from pipeline.workspace.run_file import RunFile

logger = logging.getLogger("pagemill")


def audit(workspace: Path, run_file: RunFile | None) -> Iterator[str]:
    """Yield one line for each fault of a workspace that no run holds.

    Checks each line by itself, that no content and no call has two texts, that a duplicate's original is there, that
    the index says what the lines say, that the sums are those of the last run, and that the ledger counts every call
    whose result is on disk.

    Args:
        workspace: Its directory; only read.
        run_file: What its last run left; None when that cannot be read.

    Raises:
        StorageError: a file cannot be read.
    """
    try:
        with TemporaryDirectory(prefix="pagemill-") as directory:
            yield from _audit(workspace, run_file, Path(directory))
    except OSError as exc:
        raise StorageError(f"{exc.filename or workspace}: {exc.strerror or exc}") from exc
    except sqlite3.Error as exc:
        raise StorageError(f"{gettempdir()}: {exc}") from exc


def count_pages(workspace: Path) -> dict[State, int]:
    """Return how many pages stand in each state; nothing is changed or locked, so that no run meets us.

    An index that is behind the lines catches up in a copy. When that fails, the last commit is counted.

    Raises:
        StorageError: the workspace cannot be read.
    """
    try:
        index = Index.peek(workspace)
    except StorageError:  # it is missing, damaged, or a crash cut off a change
        return _count_copy(workspace, partial(copy_index, workspace))
    with closing(index):
        if not index.is_current():
            with suppress(StorageError):
                return _count_copy(workspace, index.copy_into)
        return index.totals()


def _count_copy(workspace: Path, copy_into: Callable[[Path], Path]) -> dict[State, int]:
    try:
        with (
            TemporaryDirectory(prefix="pagemill-") as directory,
            closing(Index.open(workspace, copy_into(Path(directory)))) as index,
        ):
            return index.totals()
    except OSError as exc:
        raise StorageError(f"{exc.filename or gettempdir()}: {exc.strerror or exc}") from exc


def _audit(workspace: Path, run_file: RunFile | None, directory: Path) -> Iterator[str]:
    evidence = Evidence(workspace, directory)
    with closing(evidence.database):
        yield from evidence.read()
        once = run_file is None or run_file.section("prepare").get("dedup", True)
        yield from evidence.compare_lines(once=bool(once))
        yield from _audit_files(workspace)
        index = IndexCopy(workspace, directory, evidence)
        yield from index.compare()
        if run_file is not None and run_file.finished is not None:  # a run that was killed wrote no totals
            yield from _audit_totals(run_file, index.totals(), evidence.pages_of_changed_files())
        if run_file is not None:
            yield from LedgerCopy(run_file, evidence.database).compare()


def _audit_files(workspace: Path) -> Iterator[str]:
    for path in waiting_rescues(workspace):
        yield f"{path.name}: lines of a failed disk wait here; the next run takes them in"
    for path in sorted(workspace.glob("*.jsonl.broken-*")):
        logger.info("%s: kept as evidence: what a crash tore", path.name)


def _audit_totals(run_file: RunFile, totals: dict[State, int], history: int) -> Iterator[str]:
    """Compare the sums with those of the last run.

    What is pending leaves no line: an index that was made anew does not know it, and takes a changed page for what it
    was before. So lines may say more of a state than the run did, by so many pages; never less.
    """
    expected = {state: run_file.totals.get(state.value, 0) for state in State}
    unknown = max(0, expected[State.PENDING] - totals[State.PENDING])
    for state, number in totals.items():
        if state is State.PENDING:
            is_right = number in {0, expected[state]}
        else:
            is_right = expected[state] <= number <= expected[state] + unknown + history
        if not is_right:
            yield f"run.json: {expected[state]} pages {state}, the files say {number}"
