"""Which ledger counts a run's calls, and what became of the calls that earlier runs left open."""

import logging
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

import anyio.to_thread

from pipeline.billing import Calendar
from pipeline.config import Config, default_state_dir, expand_home
from pipeline.errors import LedgerError, UsageError
from pipeline.ledger.budget import Budget, ledger_path, own
from pipeline.ledger.ledger import Ledger
from pipeline.records import AttemptState, OpenAttempt, Service
from pipeline.shutdown import Shutdown
from pipeline.workspace.index import Index
from pipeline.workspace.lines import DamagedLineError, parse_result

logger = logging.getLogger("pagemill")


def ledger_file(config: Config, service: Service) -> Path | None:
    """Return where the ledger of a service's key lies; None for the embedded engine, whose calls are free."""
    if not service.metered:
        return None
    return ledger_path(ledger_directory(config), service.key, service.host)


def ledger_directory(config: Config) -> Path:
    """Return the absolute directory of the ledgers; it need not exist.

    Raises:
        UsageError: it is no directory, may not be entered, or its place is not known.
    """
    directory = expand_home(config.budget.ledger) if config.budget.ledger else default_state_dir() / "ledger"
    try:
        if directory.exists() and not directory.is_dir():
            raise UsageError(f"ledger {directory}: not a directory")
        return directory.absolute()
    except OSError as exc:
        raise UsageError(f"ledger {directory}: {exc.strerror}") from exc


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
    """Open the ledger and settle what earlier runs left open; also yield the calls whose outcome is lost.

    Args:
        path: The ledger; None for the embedded engine.
        former: The last run's ledger: after a change of key or place, calls are open in it.
        workspace_id: The workspace's id.
        index: Knows the first record of each content.
        results: Where all records stand.
        config: All settings.
        shutdown: Ends the run early.

    Raises:
        LedgerError: a ledger cannot be trusted.
    """
    uncertain: list[OpenAttempt] = []
    if former is not None and former == path:
        _require(former, limited=config.budget.limit is not None)
    elif former is not None and _is_there(former):
        async with _reserve_in(former, workspace_id, config, shutdown, max_calls=None) as budget:
            uncertain += await _recover(budget, index, results)
    async with _reserve_in(path, workspace_id, config, shutdown, max_calls=config.run.max_calls) as budget:
        yield budget, uncertain + await _recover(budget, index, results)


@asynccontextmanager
async def _reserve_in(
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
    """Settle what earlier runs left open, name what is lost now, and return all that is."""
    found = await budget.find_open()
    proven = {attempt.id for attempt in found if _has_record(index, attempt)}
    # Where a content has several records, or its first one is damaged, the index does not know the others.
    missed = {attempt.id for attempt in found if attempt.state is AttemptState.PENDING} - proven
    if missed:
        proven |= await anyio.to_thread.run_sync(find_attempts, results, missed)
    uncertain = await budget.recover(found, proven)
    for attempt in uncertain:
        if attempt.state is AttemptState.PENDING:
            message = "%s: an earlier call may have been billed and its answer is lost (%s)"
            logger.warning(message, attempt.source, attempt.page)
    return uncertain


def find_attempts(results: Path, ids: Collection[str]) -> set[str]:
    """Return those of the calls whose text stands in results.jsonl, under whatever page: reads the whole file."""
    fields = [f'"attempt":"{attempt}"'.encode() for attempt in ids]
    found = set[str]()
    with suppress(FileNotFoundError), results.open("rb") as lines:
        for line in lines:
            if any(field in line for field in fields):
                with suppress(DamagedLineError):
                    found.add(parse_result(line.removesuffix(b"\n")).attempt)
    return found.intersection(ids)


def _require(ledger: Path, *, limited: bool) -> None:
    """Return quietly when the last run's ledger is there, or no limit rests on what it counted.

    Raises:
        LedgerError: it is gone.
    """
    if not _is_there(ledger) and limited:
        raise LedgerError(f"ledger {ledger} is gone; no call goes out without its count (see --already-used)")


def _is_there(ledger: Path) -> bool:
    if not (found := ledger.exists()):
        message = "ledger %s is gone, and with it the count of its calls; `pagemill quota --already-used N` restores it"
        logger.warning(message, ledger)
    return found


def _has_record(index: Index, attempt: OpenAttempt) -> bool:
    record = index.find_record(attempt.page)
    return record is not None and record.attempt == attempt.id
