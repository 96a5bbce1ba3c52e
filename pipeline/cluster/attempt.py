"""An attempt at a shard: the run of one machine over a shard file, in an epoch that the ledger gives.

Whatever starts it, an engine or a person, the ledger lets one attempt at a time call for a shard: one whose lease has
ended is replaced, and gets nothing any more.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from pipeline.batch.job import Job, JobShard
from pipeline.batch.runner import run
from pipeline.batch.summary import Summary
from pipeline.cluster.drain import Drain, watch_drain
from pipeline.cluster.epoch_folders import epoch_of, find_epochs, make_epoch
from pipeline.cluster.shard_folder import shard_path
from pipeline.config import Config
from pipeline.errors import NoPagesError, StopError, UsageError, WorkspaceLockedError
from pipeline.ledger.opened import OpenLedger, open_ledger
from pipeline.ledger.places import find_place
from pipeline.ledger.shard_epochs import Begun, Commit, Held
from pipeline.remote.learned import Learned
from pipeline.service import Service
from pipeline.shutdown import Shutdown

_LONGEST_WAIT_S: Final = 5.0
"""The holder of a shard may end before its lease does."""
_FINISHED: Final = frozenset({0, 3, NoPagesError.exit_code})

logger = logging.getLogger("pagemill")


@dataclass(frozen=True, slots=True)
class ShardOrder:
    """What an attempt needs to know; it is sent to the node.

    Attributes:
        out: The job's workspace, on a folder that all nodes share.
        shard: The shard's number, 1-based.
        job: The job's id: that of its workspace.
        run_id: The id of the run that gave the order.
        service: Which API is called, with the key.
        config: All settings; those that choose files have done so already.
        accept_ledger: As in `Job`.
        pay_again: As in `Job`.
        switch_service: As in `Job`.
    """

    out: Path
    shard: int
    job: str
    run_id: str
    service: Service
    config: Config
    accept_ledger: bool = False
    pay_again: bool = False
    switch_service: bool = False


@dataclass(frozen=True, slots=True)
class ShardOutcome:
    """How an attempt has ended.

    Attributes:
        shard: The shard's number.
        exit_code: See `EXIT_CODES`.
        reason: Why it stopped early; None when it did not.
        run: Pages that ended in this attempt, by state.
        settled: Pages that had ended before.
        calls: Its calls that count against the quota.
        calls_left: Calls left in the month; None when there is no limit.
        sent: All its calls.
        refused: Those that were refused for now.
        uncertain: Sources of pages whose call an earlier attempt left without an outcome.
        learned: The limit that its calls have met.
        node: Where it ran.
    """

    shard: int
    exit_code: int
    reason: str | None = None
    run: Mapping[str, int] = field(default_factory=dict)
    settled: int = 0
    calls: int = 0
    calls_left: int | None = None
    sent: int = 0
    refused: int = 0
    uncertain: tuple[str, ...] = ()
    learned: Learned = field(default_factory=Learned)
    node: str = ""


async def attempt_shard(order: ShardOrder, shutdown: Shutdown | None = None) -> ShardOutcome:
    """Recognise a shard, unless that is done; wait while another attempt may be alive.

    Args:
        order: What to do.
        shutdown: Lets the caller end it early.
    """
    shutdown = shutdown if shutdown is not None else Shutdown()
    outcome: ShardOutcome
    async with anyio.create_task_group() as background:
        background.start_soon(watch_drain, Drain(order.out, order.run_id), shutdown)
        try:
            outcome = await _attempt(order, shutdown)
        except StopError as exc:  # raised inside the task group, it would arrive in an exception group
            outcome = ShardOutcome(order.shard, exc.exit_code, str(exc))
        background.cancel_scope.cancel()
    return outcome


async def _attempt(order: ShardOrder, shutdown: Shutdown) -> ShardOutcome:
    if (reason := await anyio.to_thread.run_sync(Drain(order.out, order.run_id).find)) is not None:
        raise reason
    place = find_place(order.config, order.service)
    if place is None:
        raise UsageError("shards of a cluster need a service whose calls a ledger counts")
    async with open_ledger(place, order.config, shutdown) as opened:
        begun = await _begin(order, opened, shutdown)
        if isinstance(begun, Commit):
            return ShardOutcome(order.shard, begun.exit_code)
        workspace = await anyio.to_thread.run_sync(make_epoch, order.out, order.shard, begun.epoch)
        job = Job(
            inputs=[shard_path(order.out, order.shard)],
            workspace=workspace,
            service=order.service,
            config=order.config,
            accept_ledger=order.accept_ledger,
            pay_again=order.pay_again,
            switch_service=order.switch_service,
            ledger=opened,
            job_shard=JobShard(order.job, order.shard),
        )
        summary = await run(job, shutdown)
        outcome = _describe(order.shard, summary)
        if summary.exit_code in _FINISHED:
            epochs = opened.ledger.shard_epochs(order.job)
            commit = partial(epochs.commit, order.shard, begun.epoch, opened.owner.id, outcome.exit_code)
            if not await anyio.to_thread.run_sync(commit):
                raise WorkspaceLockedError(f"shard {order.shard}: another attempt has taken it over")
        return outcome


async def _begin(order: ShardOrder, opened: OpenLedger, shutdown: Shutdown) -> Begun | Commit:
    """Return the epoch of this attempt, once no other one can be alive; or how a former one has ended."""
    epochs = await anyio.to_thread.run_sync(opened.ledger.shard_epochs, order.job)
    former = await anyio.to_thread.run_sync(find_epochs, order.out, order.shard)
    above = epoch_of(former[-1]) if former else 0
    begin = partial(epochs.begin, order.shard, opened.owner.id, above)
    while isinstance(begun := await anyio.to_thread.run_sync(begin), Held):
        logger.info("shard %d: another attempt may be alive; waiting %.0f s", order.shard, begun.wait_s)
        if shutdown.reason is not None:
            raise shutdown.reason
        with anyio.move_on_after(min(begun.wait_s, _LONGEST_WAIT_S)):
            await shutdown.requested.wait()
    return begun


def _describe(shard: int, summary: Summary) -> ShardOutcome:
    """Return how a run ended; one that has found no page in its files has done them all."""
    is_empty = summary.exit_code == NoPagesError.exit_code
    return ShardOutcome(
        shard,
        0 if is_empty else summary.exit_code,
        None if is_empty else summary.reason,
        run={state.value: number for state, number in summary.run.items()},
        settled=summary.settled,
        calls=summary.calls,
        calls_left=summary.calls_left,
        sent=summary.sent,
        refused=summary.refused,
        uncertain=tuple(summary.uncertain),
        learned=summary.learned,
    )
