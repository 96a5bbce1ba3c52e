"""Opens a run's ledger and settles the attempts that earlier runs of the workspace left open."""

import logging
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

import anyio.to_thread

from pipeline.billing import Calendar
from pipeline.config import Config
from pipeline.errors import LedgerError
from pipeline.ledger.budget import Budget
from pipeline.ledger.ledger import Ledger
from pipeline.ledger.owners import own
from pipeline.records import AttemptState, OpenAttempt
from pipeline.shutdown import Shutdown
from pipeline.workspace.index import Index
from pipeline.workspace.lines import DamagedLineError, parse_result

logger = logging.getLogger("pagemill")


@asynccontextmanager
async def open_budget(
    path: Path | None,
    former: Path | None,
    workspace_id: str,
    *,
    index: Index,
    results: Path,
    config: Config,
    shutdown: Shutdown,
) -> AsyncGenerator[tuple[Budget, list[OpenAttempt]]]:
    """Open the ledger and settle the attempts that earlier runs left open; also yield those whose outcome is lost.

    Args:
        path: The ledger; None for the embedded engine.
        former: The last run's ledger: after a change of the key or the directory, attempts are open in it.
        workspace_id: The workspace's id.
        index: Finds the first record of each content.
        results: The path of results.jsonl.
        config: All settings.
        shutdown: Cancels the budget's waits.

    Raises:
        LedgerError: a ledger cannot be trusted.
    """
    uncertain: list[OpenAttempt] = []
    if former is not None and former == path:
        _require(former, limited=config.budget.limit is not None)
    elif former is not None and _exists(former):
        async with _open_unrecovered(former, workspace_id, config, shutdown, max_calls=None) as budget:
            uncertain += await _recover(budget, index, results)
    async with _open_unrecovered(path, workspace_id, config, shutdown, max_calls=config.run.max_calls) as budget:
        yield budget, uncertain + await _recover(budget, index, results)


@asynccontextmanager
async def _open_unrecovered(
    path: Path | None, workspace_id: str, config: Config, shutdown: Shutdown, *, max_calls: int | None
) -> AsyncGenerator[Budget]:
    with own(path) as owner:
        if path is None:
            yield Budget(None, workspace_id=workspace_id, owner=owner, shutdown=shutdown, max_calls=max_calls)
            return
        calendar = Calendar(config.budget.timezone, config.budget.reset_day)
        with closing(await anyio.to_thread.run_sync(Ledger, path, calendar, config.budget.limit)) as ledger:
            if (problem := ledger.clock_problem()) is not None:
                logger.warning("%s", problem)
            with closing(
                Budget(ledger, workspace_id=workspace_id, owner=owner, shutdown=shutdown, max_calls=max_calls)
            ) as budget:
                try:
                    yield budget
                finally:
                    await budget.flush()


async def _recover(budget: Budget, index: Index, results: Path) -> list[OpenAttempt]:
    """Settle the attempts that earlier runs left open; return those whose outcome is lost, and warn of the new ones."""
    found = await budget.find_open()
    proven = {attempt.id for attempt in found if _has_record(index, attempt)}
    # The index has only the first whole record of a content; another one may be the proof.
    unproven = {attempt.id for attempt in found if attempt.state is AttemptState.PENDING} - proven
    if unproven:
        proven |= await anyio.to_thread.run_sync(find_attempts, results, unproven)
    uncertain = await budget.recover(found, proven)
    for attempt in uncertain:
        if attempt.state is AttemptState.PENDING:
            message = "%s: an earlier call may have been billed and its answer is lost (%s)"
            logger.warning(message, attempt.source, attempt.page)
    return uncertain


def find_attempts(results: Path, ids: Collection[str]) -> set[str]:
    """Return those of the attempts that a record in results.jsonl names, whatever its page; reads the whole file."""
    fields = [f'"attempt":"{attempt}"'.encode() for attempt in ids]
    found = set[str]()
    with suppress(FileNotFoundError), results.open("rb") as lines:
        for line in lines:
            if any(field in line for field in fields):
                with suppress(DamagedLineError):
                    found.add(parse_result(line.removesuffix(b"\n")).attempt)
    return found.intersection(ids)


def _require(ledger: Path, *, limited: bool) -> None:
    """Check that the last run's ledger exists, or that no limit depends on its count.

    Raises:
        LedgerError: the ledger is gone.
    """
    if not _exists(ledger) and limited:
        raise LedgerError(f"ledger {ledger} is gone; no call goes out without its count (see --already-used)")


def _exists(ledger: Path) -> bool:
    """Return whether the last run's ledger exists, and warn when it does not."""
    if not (found := ledger.exists()):
        message = "ledger %s is gone, and with it the count of the calls; `pagemill quota --already-used N` restores it"
        logger.warning(message, ledger)
    return found


def _has_record(index: Index, attempt: OpenAttempt) -> bool:
    record = index.find_record(attempt.page)
    return record is not None and record.attempt == attempt.id
