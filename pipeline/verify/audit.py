"""Audits a workspace: reads it, changes nothing in it, and names each discrepancy."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from pipeline.errors import StorageError
from pipeline.records import State
from pipeline.verify.evidence import Evidence
from pipeline.verify.index_copy import IndexCopy
from pipeline.verify.ledger_copy import LedgerCopy
from pipeline.workspace.page_counts import PageCounts
from pipeline.workspace.paths import RESULTS
from pipeline.workspace.repair import find_evidence, find_rescues
from pipeline.workspace.run_file import RunFile
from pipeline.workspace.segments import find_covered
from pipeline.workspace.snapshot import open_snapshot

logger = logging.getLogger("pagemill")

_WITHOUT_TEXT: Final = frozenset({State.FAILED, State.UNCERTAIN, State.SKIPPED})


def audit(workspace: Path, run_file: RunFile | None, ledger: str | None = None) -> Iterator[str]:
    """Yield one message for each fault of a workspace that no run holds.

    Checks that each line is whole and consistent; that no content and no call has two texts; that a duplicate's
    original exists; that the index agrees with the lines; that the totals are those of the last run; and that the
    ledgers count every call whose text is on disk.

    Args:
        workspace: The directory; only read.
        run_file: The content of run.json; None when it cannot be read.
        ledger: `[budget] ledger`: it may have the password of a database.

    Raises:
        StorageError: a file cannot be read.
    """
    try:
        with TemporaryDirectory(prefix="pagemill-") as directory:
            yield from _audit(workspace, run_file, Path(directory), ledger)
    except OSError as exc:
        raise StorageError(f"{exc.filename or workspace}: {exc.strerror or exc}") from exc


def count_pages(workspace: Path, *, is_live: bool = False) -> PageCounts:
    """Count pages and unreadable lines; change and lock nothing, so that a run can begin at any time.

    Args:
        workspace: The directory.
        is_live: True while a run goes on: of many pages, those of the index's last commit are enough.

    Raises:
        StorageError: the workspace cannot be read.
    """
    with open_snapshot(workspace, copies_large=not is_live) as index:
        return replace(index.count_pages(), unreadable=index.proofs.count_unreadable(RESULTS))


def _audit(workspace: Path, run_file: RunFile | None, directory: Path, ledger: str | None) -> Iterator[str]:
    evidence = Evidence(workspace, directory)
    with closing(evidence.database):
        yield from evidence.read()
        dedup = "content" if run_file is None else run_file.section("prepare").get("dedup", "content")
        is_merged = run_file is not None and bool(run_file.merged)
        # An earlier release had a switch. The lines of a merged workspace are in the order of their sources.
        yield from evidence.compare_lines(once=dedup not in {False, "off"}, in_time=not is_merged)
        yield from _audit_files(workspace)
        index = IndexCopy(workspace, directory, evidence)
        yield from index.compare()
        if run_file is not None and run_file.is_merging:
            yield "run.json: a merge into this workspace was interrupted; repeat it"
        if run_file is not None and run_file.finished is not None:  # a killed run wrote no totals
            changed, reviewed = evidence.pages_of_changed_files(), evidence.pages_reviewed_since(run_file.finished)
            yield from _audit_totals(run_file, index.totals(), changed, reviewed, evidence.left_to_shards())
        if run_file is not None:
            yield from LedgerCopy(run_file, evidence, ledger).compare()


def _audit_files(workspace: Path) -> Iterator[str]:
    for path in find_rescues(workspace):
        yield f"{path.name}: holds lines saved from a failed disk; the next run merges them"
    for segment in find_covered(workspace):
        logger.info("%s: not read, another file holds its lines: a crash or another program left it", segment.name)
    for path in find_evidence(workspace):
        logger.info("%s: holds bytes that a crash tore from a line", path.name)


def _audit_totals(
    run_file: RunFile, totals: Mapping[State, int], changed: int, reviewed: int, left_to_shards: int
) -> Iterator[str]:
    """Compare the totals with those of the last run.

    Args:
        run_file: Of the last run.
        totals: By the lines.
        changed: Number of pages of changed files.
        reviewed: Number of pages that a person has reviewed since: a page that had failed is done then.
        left_to_shards: Number of pending pages that have a line: another shard recognises them.

    Other pending pages have no line, so a rebuilt index lacks them, and counts a changed page in its earlier state. A
    state's total may therefore exceed the last run's by at most the missing pending pages and the pages of changed
    files; it must not be lower, but for failed and skipped pages whose text a person wrote.
    """
    expected = {state: run_file.totals.get(state.value, 0) for state in State}
    missing = max(0, expected[State.PENDING] - totals[State.PENDING])
    for state, number in totals.items():
        if state is State.PENDING:
            is_right = number in {left_to_shards, expected[state]}
        else:
            fewer = reviewed if state in _WITHOUT_TEXT else 0
            more = missing + changed + (0 if state in _WITHOUT_TEXT else reviewed)
            is_right = expected[state] - fewer <= number <= expected[state] + more
        if not is_right:
            yield f"run.json: {expected[state]} pages {state}, the files say {number}"
