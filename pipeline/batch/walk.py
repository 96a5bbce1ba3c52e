"""Walks the files of the INPUTs: which are settled, which are ignored, and which are dispatched."""

import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Final

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from pipeline.batch.gone import count_gone
from pipeline.batch.listing import add_ignored
from pipeline.batch.recorder import Recorder
from pipeline.batch.relisted import Relisted
from pipeline.batch.triage import Triage
from pipeline.config import Config
from pipeline.errors import NoPagesError, PlannedStopError, StorageError
from pipeline.inputs.kinds import LEFT_KINDS, UNREADABLE
from pipeline.inputs.selection import Inputs
from pipeline.records import IgnoredFiles, SourceFile, rfc3339
from pipeline.shutdown import Shutdown
from pipeline.workspace.index import Index
from pipeline.workspace.inventory import FileState

_DRAIN_S: Final = 1.0

logger = logging.getLogger("pagemill")


class Walk:
    """Takes each file of the INPUTs once.

    Args:
        files: From the source.
        index: Finds files that are done.
        recorder: Counts them.
        triage: Decides about files that their name does not decide about.
        shutdown: Ends the walk.
        config: All settings.
        is_endless: True for a stream that cannot be listed again, such as a pipe: after a shutdown, what still arrives
            for a short time counts as pending.
        is_retry: The files are those of pages that failed; none is settled.
    """

    def __init__(
        self,
        files: AsyncIterator[SourceFile | IgnoredFiles],
        index: Index,
        recorder: Recorder,
        triage: Triage,
        *,
        shutdown: Shutdown,
        config: Config,
        is_endless: bool = False,
        is_retry: bool = False,
    ) -> None:
        self._files = files
        self._index = index
        self._recorder = recorder
        self._triage = triage
        self._shutdown = shutdown
        self._config = config
        self._drain_s = _DRAIN_S if is_endless else 0.0
        self._taken = 0
        self.is_retry = is_retry
        self._relisted = Relisted(index.inventory, recorder)
        self.begun = rfc3339(datetime.now(UTC))
        """When the walk began."""
        self.needs_listing = anyio.Event()
        """Set when the first file is dispatched, and at a shutdown: there are files that the walk has not reached."""
        self.found = 0
        """Files that are pages, settled ones included."""
        self.files: Counter[FileState] = Counter()
        """Files by what has become of them; empty for a retry."""
        self.ignored: Counter[str] = Counter()
        """Ignored files by kind."""
        self.is_limited = False
        """True when `--limit` left a file for another run."""
        self.is_sampled = False
        """True when every file of `--sample` was taken; others may be left for another run."""
        self.is_complete = False
        """True when every file was taken, or counted as pending."""

    def __repr__(self) -> str:
        return f"<Walk at {self.found} files, {self._taken} dispatched>"

    async def run(self, start: Callable[[SourceFile], Awaitable[None]], tasks: TaskGroup) -> None:
        """Dispatch each file that needs work; return at the end of the files, at the limit, and at a shutdown.

        Args:
            start: Dispatches a file once a slot is free.
            tasks: Where the shutdown is awaited.

        Raises:
            StopError: the INPUTs or the index cannot be read.
        """
        walk, watch = anyio.CancelScope(), anyio.CancelScope()
        tasks.start_soon(self._end_at_shutdown, walk, watch)
        try:
            with walk:
                async for item in self._files:
                    if not isinstance(item, IgnoredFiles):
                        await self._take(item, start)
                    else:
                        add_ignored(self.ignored, item.kind, item.number)
                    if self.is_limited:
                        return
                self.is_sampled = self._config.input.sample is not None and not self.is_retry
                self.is_complete = not self.is_sampled
                if self.is_sampled:
                    self.needs_listing.set()
        finally:
            watch.cancel()

    def conclude(self, inputs: Inputs, shutdown: Shutdown) -> None:
        """Say why the walk ended, once all dispatched files have ended; after a complete run, forget what is gone."""
        if self.is_limited:
            shutdown.request(PlannedStopError(f"--limit {self._config.run.limit} is reached"))
        elif (self.is_complete or self.is_sampled) and not self.is_retry and shutdown.reason is None:
            if not self.found and LEFT_KINDS.isdisjoint(self.ignored):
                names = ", ".join(item.text for item in inputs.items)
                shutdown.request(NoPagesError(f"no page in {names}; is a disk not mounted?"))
            if self.is_sampled:
                shutdown.request(PlannedStopError(f"--sample {self._config.input.sample} is taken"))
                return
            try:
                if self._config.input.changed_since is None:
                    self._index.inventory.forget_pending(inputs.folder_names())
            except StorageError as exc:
                shutdown.request(exc)

    async def find_changes(self, inputs: Inputs, shutdown: Shutdown) -> None:
        """After a walk that has met all files, count those that are gone, and end failures that are over."""
        if self.is_retry or not self.is_complete or not self.found or shutdown.reason is not None:
            return
        await self._relisted.settle(shutdown)
        known = self.files[FileState.CHANGED] + self.files[FileState.UNMODIFIED]
        count = partial(count_gone, self._index.inventory, inputs, known, forget=True)
        try:
            self.files[FileState.GONE] = await anyio.to_thread.run_sync(count, abandon_on_cancel=True)
        except StorageError as exc:
            shutdown.request(exc)

    def is_settled(self, file: SourceFile) -> bool:
        """Return True, and count its pages, when a file needs neither a call nor a record."""
        if self.is_retry or (self._config.input.changed_by == "sha256" and not file.is_url):
            return False
        keep_uncertain = self._config.run.at_most_once
        settled = self._index.settled_states(file, keep_uncertain=keep_uncertain, since=self.begun)
        if settled is None:
            return False
        for state, pages in settled.items():
            self._recorder.settled[state] += pages
        return True

    async def _end_at_shutdown(self, walk: anyio.CancelScope, watch: anyio.CancelScope) -> None:
        with watch:
            await self._shutdown.requested.wait()
            self.needs_listing.set()
            await anyio.sleep(self._drain_s)
            walk.cancel()

    async def _take(self, file: SourceFile, start: Callable[[SourceFile], Awaitable[None]]) -> None:
        self._relisted.see(file)
        if self.is_settled(file):
            self.found += 1
            self.files[FileState.UNMODIFIED] += 1
            return
        if (kind := await self._triage.ignored_kind(file)) is not None:
            if kind == UNREADABLE:
                logger.warning("%s: cannot be read, so nothing says whether it is a page; ignored", file.name)
            add_ignored(self.ignored, kind)
            return
        self.found += 1
        if not self.is_retry:
            self.files[self._index.inventory.file_state(file)] += 1
        if self._shutdown.reason is None and self._taken != self._config.run.limit:
            self._taken += 1
            self.needs_listing.set()
            await start(file)
            return
        self.is_limited = self._shutdown.reason is None
        self.needs_listing.set()
        self._index.mark_file_pending(file)
        if self._index.needs_commit:
            await anyio.to_thread.run_sync(self._index.commit)
