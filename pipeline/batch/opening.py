"""Opens what a run needs: the index, the service, the gate, the client."""

import logging
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final

import anyio.to_thread

from pipeline.batch.events import EventQueue, Pause
from pipeline.batch.files import Files
from pipeline.batch.job import ResolvedJob, skip_rule
from pipeline.batch.triage import Triage
from pipeline.config import RunConfig
from pipeline.inputs.selection import compile_glob
from pipeline.ledger.budget import Budget
from pipeline.remote.client import Client, open_client
from pipeline.remote.gate import Gate
from pipeline.remote.timeouts import choose_timeouts
from pipeline.service import Service
from pipeline.shutdown import Shutdown
from pipeline.workspace.index import Index
from pipeline.workspace.line_stream import find_place
from pipeline.workspace.source_names import decode_name

_NAMED_DAMAGES: Final = 10
"""Damaged lines that are named, so that a file in another format does not fill the terminal."""

logger = logging.getLogger("pagemill")


async def open_index(job: ResolvedJob, *, was_torn: bool) -> Index:
    """Return the index with all lines read; name the lines that it skipped.

    Raises:
        StorageError: the index, or a JSONL file, cannot be read or written.
    """
    index = await anyio.to_thread.run_sync(partial(Index.open, job.workspace, was_torn=was_torn))
    index.skips.rule = skip_rule(job.config)
    index.positioned.are_wanted = job.config.run.positions
    index.reviewed.are_sent_again = job.again_reviewed
    for damage in index.damaged[:_NAMED_DAMAGES]:
        name, offset = find_place(job.workspace, damage.file, damage.offset_bytes)
        logger.warning("%s: skipped a damaged line at byte %d: %s", name, offset, damage.problem)
    if (number := index.positioned.count_without()) > 0:
        message = "%d pages have a text without positions; those among the INPUTs are sent again, a call each"
        logger.warning(message, number)
    if (unnamed := len(index.damaged) - _NAMED_DAMAGES) > 0:
        logger.warning("skipped %d more damaged lines; pagemill verify names each", unnamed)
    if job.again is not None and not job.again_reviewed and (number := count_reviewed(index, job.again)) > 0:
        message = (
            "--again %s: %d pages that a person has corrected or checked stay as they are, without --again-reviewed"
        )
        logger.info(message, job.again, number)
    return index


def count_reviewed(index: Index, again: str) -> int:
    """Return the number of pages whose name matches a glob, and that a person has corrected or checked."""
    glob = compile_glob(again)
    return sum(number for source, number in index.reviewed.sources() if glob.matches(decode_name(source)))


@asynccontextmanager
async def open_service(job: ResolvedJob, files: Files, triage: Triage, shutdown: Shutdown) -> AsyncGenerator[Service]:
    """Yield the service to call; the embedded engine is started for it, unless no page needs a call."""
    async with AsyncExitStack() as stack:
        service = job.service
        if job.start_service is not None:
            with shutdown.cancels_unsent():
                if await files.need_calls(triage):
                    logger.info("recognising with the embedded engine on this machine")
                    service = await stack.enter_async_context(job.start_service())
        yield service


def open_client_of(
    job: ResolvedJob, service: Service, usable_s: float | None = None
) -> AbstractAsyncContextManager[Client]:
    """Return the client for the calls of a job.

    Args:
        job: Says through which proxy, and how many at once.
        service: Which service is called.
        usable_s: As `Budget.usable_s`.
    """
    if job.proxy is not None:
        logger.info("calls go through the proxy %s (%s)", job.proxy.name, job.proxy.origin)
    timeouts, run = choose_timeouts(job.config.api, service), job.config.run
    return open_client(
        service,
        timeouts,
        connections=run.jobs,
        proxy=job.proxy,
        wants_positions=run.positions,
        unacknowledged_s=usable_s,
    )


def open_gate(config: RunConfig, events: EventQueue, budget: Budget) -> Gate:
    """Return the gate before the calls; the runs that share the ledger pause with it, and it with them."""

    def note_pause(wait_s: float | None) -> None:
        events.put(Pause(wait_s))
        if wait_s is not None:
            budget.penalise(wait_s)

    gate = Gate(rate_per_s=config.rate_per_s, patience_s=config.patience_s, on_pause=note_pause)
    budget.watch_pauses(gate.pause)
    return gate
