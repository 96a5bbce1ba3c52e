"""Which ledger counts a run's calls, and what became of the calls that earlier runs left open."""

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path

import anyio.to_thread

from pipeline.budget import Budget, ledger_path, own
from pipeline.config import Config, default_state_dir
from pipeline.errors import UsageError
from pipeline.index import Index
from pipeline.ledger import Ledger
from pipeline.records import AttemptState, OpenAttempt, Service
from pipeline.rules.quota import Calendar

logger = logging.getLogger("pagemill")


def ledger_file(config: Config, service: Service) -> Path | None:
    """Return where the ledger of a service's key lies; None for the embedded engine, whose calls are free."""
    if not service.metered:
        return None
    directory = Path(config.budget.ledger).expanduser() if config.budget.ledger else default_state_dir() / "ledger"
    if directory.exists() and not directory.is_dir():
        raise UsageError(f"ledger {directory}: not a directory")
    return ledger_path(directory.absolute(), service.key, service.host)


@asynccontextmanager
async def open_budget(
    path: Path | None, former: Path | None, workspace: str, index: Index, config: Config
) -> AsyncGenerator[tuple[Budget, list[OpenAttempt]]]:
    """Open the ledger and settle what earlier runs left open; also yield the calls whose outcome is lost.

    Args:
        path: The ledger; None for the embedded engine.
        former: The last run's ledger, when it is still there: after a change of key or place, calls are open in it.
        workspace: The workspace's id.
        index: Knows which calls have their result on disk.
        config: All settings.

    Raises:
        LedgerError: a ledger cannot be trusted.
    """
    uncertain: list[OpenAttempt] = []
    if former is not None and former != path:
        async with _reserve_in(former, workspace, config, max_calls=None) as budget:
            uncertain += await _recover(budget, index)
    async with _reserve_in(path, workspace, config, max_calls=config.run.max_calls) as budget:
        yield budget, uncertain + await _recover(budget, index)


@asynccontextmanager
async def _reserve_in(
    path: Path | None, workspace: str, config: Config, *, max_calls: int | None
) -> AsyncGenerator[Budget]:
    with own(path) as owner:
        if path is None:
            yield Budget(None, workspace=workspace, owner=owner, max_calls=max_calls)
            return
        calendar = Calendar(config.budget.timezone, config.budget.reset_day)
        with closing(await anyio.to_thread.run_sync(Ledger, path, calendar, config.budget.limit)) as ledger:
            budget = Budget(ledger, workspace=workspace, owner=owner, max_calls=max_calls)
            try:
                yield budget
            finally:
                await budget.flush()


async def _recover(budget: Budget, index: Index) -> list[OpenAttempt]:
    uncertain = await budget.recover(partial(_has_proof, index))
    for attempt in uncertain:
        if attempt.state is AttemptState.PENDING:
            told = "%s: an earlier call may have been billed and its answer is lost (%s)"
            logger.warning(told, attempt.source, attempt.page)
    return uncertain


def _has_proof(index: Index, attempt: OpenAttempt) -> bool:
    record = index.find_record(attempt.page)
    return record is not None and record.attempt == attempt.id
