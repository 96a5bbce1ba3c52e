"""The shards of a cluster run: listed while the first ones are attempted, each attempted once there is room for it."""

import logging
import math
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
import msgspec
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from pipeline.batch.job import ResolvedJob
from pipeline.batch.listing import add_ignored
from pipeline.batch.observers import publish
from pipeline.batch.ordering import arrange, needs_listing
from pipeline.batch.progress import report
from pipeline.cluster.attempt import ShardOrder
from pipeline.cluster.drain import Drain, stop_error
from pipeline.cluster.engine import Engine
from pipeline.cluster.epoch_folders import find_epochs
from pipeline.cluster.shard_folder import ShardFolder
from pipeline.cluster.tally import Tally
from pipeline.config import Config
from pipeline.errors import (
    MaxFailuresError,
    NoPagesError,
    PlannedStopError,
    StopError,
    StorageError,
    WorkspaceLockedError,
)
from pipeline.inputs import source
from pipeline.inputs.selection import Inputs
from pipeline.ledger.shard_epochs import Commit
from pipeline.records import IgnoredFiles, SourceFile
from pipeline.shutdown import Shutdown, ShuttingDownError
from pipeline.workspace.index import Index
from pipeline.workspace.live_progress import LiveProgress, read_live_progress

_LOOK_EVERY_S: Final = 2.0
_GRACE_S: Final = 30.0
"""An attempt that is told to end has this long, beyond the deadline of its calls."""
_GOES_ON: Final = frozenset({0, 3})
"""Exit codes of attempts after which the run goes on."""

logger = logging.getLogger("pagemill")


def _settings_of_attempts(config: Config) -> Config:
    """Return the settings of a run whose files are chosen already, and whose end others decide about."""
    chosen = msgspec.structs.replace(config.input, sample=None, order="name", changed_since=None)
    run = msgspec.structs.replace(config.run, max_duration=None, max_failures=None)
    return msgspec.structs.replace(config, input=chosen, run=run)


@dataclass(slots=True)
class Shards:
    """The shards of one run, listed and attempted.

    Attributes:
        job: What to do.
        out: The job's workspace.
        job_id: Its id.
        engine: Makes the attempts.
        shutdown: Ends the run.
        committed: Shards that earlier runs have finished.
        tally: What attempts have brought.
        in_flight: Shards whose attempts are under way or queued.
        files: Files in all shards; None until all are listed.
        ignored: Files that hold no page by their name, by kind.
        found: Files of the INPUTs that may be pages.
    """

    job: ResolvedJob
    out: Path
    job_id: str
    engine: Engine
    shutdown: Shutdown
    committed: Mapping[int, Commit]
    tally: Tally = field(default_factory=Tally)
    in_flight: set[int] = field(default_factory=set)
    files: int | None = None
    ignored: Counter[str] = field(default_factory=Counter)
    found: int = 0
    _room: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(1))

    async def run(self, inputs: Inputs) -> None:
        """List the INPUTs, and attempt each shard that is not done; return when all attempts have ended."""
        drain = Drain(self.out, self.job.run_id)
        bar, every_s = self.job.bar, self.job.config.operate.stats_s
        async with anyio.create_task_group() as background:
            background.start_soon(
                partial(report, self.tally.snapshot, lambda: self.files, bar=bar, log_every_s=every_s)
            )
            background.start_soon(publish, self.out, self.job.run_id, self.tally.snapshot)
            background.start_soon(self._look_regularly)
            if (duration_s := self.job.config.run.max_duration_s) is not None:
                background.start_soon(self._end_after, duration_s)
            try:
                async with anyio.create_task_group() as attempts:
                    background.start_soon(self._order_drain, drain, attempts.cancel_scope)
                    listed, numbers = anyio.create_memory_object_stream[int](math.inf)
                    attempts.start_soon(self._list, inputs, listed)
                    await self._dispatch(numbers, attempts)
            finally:
                background.cancel_scope.cancel()
        drain.remove()

    async def _dispatch(self, numbers: MemoryObjectReceiveStream[int], attempts: TaskGroup) -> None:
        """Start an attempt at each shard that is not done, once there is room for it."""
        with numbers, suppress(ShuttingDownError):
            await self._measure()
            async for number in numbers:
                if (commit := self.committed.get(number)) is not None and commit.is_done:
                    continue
                with self.shutdown.cancels_unsent():
                    await self._room.acquire_on_behalf_of(number)
                attempts.start_soon(self._attempt, number)

    async def _list(self, inputs: Inputs, listed: MemoryObjectSendStream[int]) -> None:
        """Name the shards that were listed before, and list the INPUTs into further ones, ahead of the attempts."""
        root, shard_files = inputs.names_root or inputs.root, self.job.config.cluster.shard_files
        try:
            with listed, ShardFolder(self.out, root, shard_files) as folder, Index.open(self.out) as index:
                for number in range(1, folder.last + 1):
                    listed.send_nowait(number)
                async with aclosing(self._walk(inputs)) as files:
                    async for file in files:
                        self.shutdown.check()
                        if (full := self._take(file, folder, index)) is not None:
                            listed.send_nowait(full)
                if (last := folder.finish()) is not None:
                    listed.send_nowait(last)
                self.files = folder.number_of_files
        except (ShuttingDownError, anyio.BrokenResourceError):
            return
        except StopError as exc:  # raised here, it would cancel the attempts under way
            self.shutdown.request(exc)
        if not self.found and not self.ignored and self.shutdown.reason is None:
            names = ", ".join(item.text for item in inputs.items)
            self.shutdown.request(NoPagesError(f"no page in {names}; is a disk not mounted?"))

    def _walk(self, inputs: Inputs) -> AsyncGenerator[SourceFile | IgnoredFiles, None]:
        chosen, job = self.job.config.input, self.job
        files = source.walk(inputs, chosen, stdin=job.stdin, null_separated=job.null_separated)
        return arrange(files, chosen) if needs_listing(chosen) else files

    def _take(self, file: SourceFile | IgnoredFiles, folder: ShardFolder, index: Index) -> int | None:
        """Put a file that is not settled into a shard; return the number of a shard that is full."""
        if isinstance(file, IgnoredFiles):
            add_ignored(self.ignored, file.kind, file.number)
            return None
        self.found += 1
        return folder.add(file) if index.settled_states(file) is None else None

    async def _attempt(self, number: int) -> None:
        job = self.job
        order = ShardOrder(
            self.out,
            number,
            self.job_id,
            job.run_id,
            job.service,
            _settings_of_attempts(job.config),
            accept_ledger=job.accept_ledger,
            pay_again=job.pay_again,
            switch_service=job.switch_service,
        )
        self.in_flight.add(number)
        try:
            outcome = await self.engine.attempt(order)
            while outcome.exit_code == WorkspaceLockedError.exit_code and self.shutdown.reason is None:
                outcome = await self.engine.attempt(order)  # it was replaced: the engine had given its node up
        except StopError as exc:
            self.shutdown.request(exc)
            return
        finally:
            self.in_flight.discard(number)
            self._room.release_on_behalf_of(number)
        self.tally.note(outcome)
        if outcome.exit_code not in _GOES_ON and self.shutdown.reason is None:
            reason = outcome.reason or f"shard {number}: exit {outcome.exit_code}"
            self.shutdown.request(stop_error(outcome.exit_code, reason))
        most = job.config.run.max_failures
        if most is not None and self.tally.failed > most and self.shutdown.reason is None:
            self.shutdown.request(MaxFailuresError(f"more than {most} pages have failed (--max-failures)"))

    async def _order_drain(self, drain: Drain, attempts: anyio.CancelScope) -> None:
        """Once the run is ending, tell all attempts; leave those that do not end, such as on a lost last node."""
        await self.shutdown.requested.wait()
        assert self.shutdown.reason is not None
        try:
            await anyio.to_thread.run_sync(drain.order, self.shutdown.reason)
        except StorageError as exc:
            logger.warning("%s", exc)
        await anyio.sleep(self.job.config.api.timeout_s + _GRACE_S)
        logger.warning("%d shards have not ended; the next run goes on with them", len(self.in_flight))
        attempts.cancel()

    async def _end_after(self, duration_s: float) -> None:
        await anyio.sleep(duration_s)
        self.shutdown.request(PlannedStopError(f"--max-duration {duration_s:g} s is over"))

    async def _measure(self) -> None:
        """Let one more round of attempts be queued than the nodes make at a time, so that none is idle."""
        capacity = await anyio.to_thread.run_sync(self.engine.capacity)
        self._room.total_tokens = 2 * max(1, capacity)

    async def _look_regularly(self) -> None:
        """Read what the attempts under way report, and follow nodes that come and go."""
        while True:
            await anyio.sleep(_LOOK_EVERY_S)
            self.tally.live = await anyio.to_thread.run_sync(_read_live, self.out, frozenset(self.in_flight))
            await self._measure()


def _read_live(out: Path, shards: frozenset[int]) -> dict[int, LiveProgress]:
    found = {shard: find_epochs(out, shard) for shard in shards}
    live = {shard: read_live_progress(paths[-1]) for shard, paths in found.items() if paths}
    return {shard: progress for shard, progress in live.items() if progress is not None}
