"""Opens a run's ledger and settles the attempts that earlier runs of the workspace left open."""

import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, closing

import anyio.to_thread

from pipeline.config import Config
from pipeline.ledger.attempt_state import AttemptState, OpenAttempt
from pipeline.ledger.base import LedgerPlace
from pipeline.ledger.budget import Budget
from pipeline.ledger.opened import OpenLedger, open_ledger
from pipeline.ledger.operations import Owner, new_owner_id
from pipeline.shutdown import Shutdown
from pipeline.workspace.index import Index

logger = logging.getLogger("pagemill")


@asynccontextmanager
async def open_budget(
    place: LedgerPlace | None,
    former: LedgerPlace | None,
    workspace_id: str,
    *,
    index: Index,
    config: Config,
    shutdown: Shutdown,
    opened: OpenLedger | None = None,
) -> AsyncGenerator[tuple[Budget, list[OpenAttempt]]]:
    """Open the ledger and settle the attempts that earlier runs left open; also yield those whose outcome is lost.

    Args:
        place: The ledger; None for the embedded engine.
        former: The last run's ledger: after a change of the key or the directory, attempts are open in it.
        workspace_id: The workspace's id.
        index: Knows the attempts that have a line.
        config: All settings.
        shutdown: Cancels the budget's waits.
        opened: The ledger, when the caller has opened it, with this run as its owner.

    Raises:
        LedgerError: a ledger cannot be trusted.
    """
    uncertain: list[OpenAttempt] = []
    if former is not None and former != place and await anyio.to_thread.run_sync(former.exists):
        async with _open_unrecovered(former, workspace_id, config, shutdown, is_limited=False) as budget:
            uncertain += await _recover(budget, index)
    async with _open_unrecovered(place, workspace_id, config, shutdown, opened) as budget:
        yield budget, uncertain + await _recover(budget, index)


@asynccontextmanager
async def _open_unrecovered(
    place: LedgerPlace | None,
    workspace_id: str,
    config: Config,
    shutdown: Shutdown,
    opened: OpenLedger | None = None,
    *,
    is_limited: bool = True,
) -> AsyncGenerator[Budget]:
    max_calls = config.run.max_calls if is_limited else None
    if place is None:
        owner = Owner(new_owner_id())
        yield Budget(None, workspace_id=workspace_id, owner=owner, shutdown=shutdown, max_calls=max_calls)
        return
    async with AsyncExitStack() as stack:
        if opened is None:
            opened = await stack.enter_async_context(open_ledger(place, config, shutdown))
        ledger, owner = opened.ledger, opened.owner
        if (problem := ledger.clock_problem()) is not None:
            logger.warning("%s", problem)
        if is_limited and config.run.spread:
            await anyio.to_thread.run_sync(ledger.spread)
        made = Budget(ledger, workspace_id=workspace_id, owner=owner, shutdown=shutdown, max_calls=max_calls)
        with closing(made) as budget:
            try:
                yield budget
            finally:
                await budget.flush()


async def _recover(budget: Budget, index: Index) -> list[OpenAttempt]:
    """Settle the attempts that earlier runs left open; return those whose outcome is lost, and warn of the new ones."""
    await budget.wait_for_former()
    found = await budget.find_open()
    proven = index.proofs.find([attempt.id for attempt in found])
    uncertain = await budget.recover(found, proven)
    for attempt in uncertain:
        if attempt.state is AttemptState.PENDING:
            message = "%s: an earlier call may have been billed and its answer is lost (%s)"
            logger.warning(message, attempt.source, attempt.page)
    return uncertain
