"""Lists the INPUTs beside the run: which pages it has not reached yet, and which files hold no page."""

import logging
from collections import Counter
from contextlib import aclosing
from typing import Final

import anyio
import anyio.to_thread

from pipeline.batch.triage import Triage
from pipeline.config import InputConfig
from pipeline.errors import InterruptedRunError, StopError
from pipeline.inputs.kinds import OTHER
from pipeline.inputs.selection import Inputs
from pipeline.inputs.source import NameBatch, list_names
from pipeline.shutdown import Shutdown
from pipeline.workspace.index import Index

_MAX_KINDS: Final = 100
"""Kinds that are counted apart; with names that a program has numbered, every file could be a kind of its own."""

_COMMIT_EVERY_S: Final = 1.0
"""`status` shows what is committed."""

_AFTER_SIGNAL_S: Final = 2.0
"""The listing may go on this long after a signal: `docker stop` waits 10 s for the whole run."""
_WITHOUT_PROGRESS_S: Final = 10.0
"""A listing without a result for this long hangs on a dead network mount."""
_POLL_S: Final = 0.05

logger = logging.getLogger("pagemill")


def add_ignored(counts: Counter[str], kind: str, number: int = 1) -> None:
    """Count ignored files of a kind, under "other" when there are too many kinds."""
    counts[kind if kind in counts or len(counts) < _MAX_KINDS else OTHER] += number


class Listing:
    """The names in the INPUTs, listed once, without opening a file that its name decides about.

    Pages that have no state become pending in the index, so that `status` and the end of the run count them although
    the run has not reached them.

    Args:
        inputs: From `resolve_inputs`.
        config: Which files of directories are pages.
        index: Where pages become pending.
        triage: Decides about the other files.
    """

    def __init__(self, inputs: Inputs, config: InputConfig, index: Index, triage: Triage) -> None:
        self._inputs = inputs
        self._config = config
        self._index = index
        self._triage = triage
        self._batches = 0
        self._committed_s = 0.0
        self._ended = anyio.Event()
        self.pages = 0
        """Pages listed so far; a file that has not been opened counts as one."""
        self.ignored: Counter[str] = Counter()
        """Ignored files listed so far, by kind."""
        self.is_complete = False
        """True when everything was listed."""

    def __repr__(self) -> str:
        return f"<Listing of {self.pages} pages, {'complete' if self.is_complete else 'incomplete'}>"

    def total(self) -> int | None:
        """Return the number of pages that the run takes; None until all are listed."""
        return min(self.pages, self._config.sample or self.pages) if self.is_complete else None

    async def run(self) -> None:
        """List everything; an error of the INPUTs or of the index ends the listing, and the run meets it, too."""
        try:
            async with aclosing(list_names(self._inputs, self._config)) as batches:
                async for batch in batches:
                    await self._add(batch)
                    self._batches += 1
            await anyio.to_thread.run_sync(self._index.commit)
            self.is_complete = not self._inputs.has_stdin
        except StopError as exc:
            logger.debug("the INPUTs cannot be listed: %s", exc)
        finally:
            self._ended.set()

    async def wait(self, shutdown: Shutdown) -> None:
        """Wait for the end of the listing: for a bounded time after a signal, else while it makes progress."""
        moved_s, batches, signal_s = anyio.current_time(), self._batches, None
        while not self._ended.is_set():
            now_s = anyio.current_time()
            if batches != self._batches:
                moved_s, batches = now_s, self._batches
            if signal_s is None and isinstance(shutdown.reason, InterruptedRunError):
                signal_s = now_s
            if now_s - moved_s > _WITHOUT_PROGRESS_S or (signal_s is not None and now_s - signal_s > _AFTER_SIGNAL_S):
                return
            with anyio.move_on_after(_POLL_S):
                await self._ended.wait()

    async def _add(self, batch: NameBatch) -> None:
        for kind, number in batch.ignored.items():
            add_ignored(self.ignored, kind, number)
        names = list(batch.names)
        for file in batch.files:
            if (ignored := await self._triage.ignored_kind(file)) is not None:
                add_ignored(self.ignored, ignored)
            else:
                names.append(file.name)
        self.pages += len(names)
        await anyio.to_thread.run_sync(self._index.inventory.mark_pending, names)
        if anyio.current_time() - self._committed_s > _COMMIT_EVERY_S:
            await anyio.to_thread.run_sync(self._index.commit)
            self._committed_s = anyio.current_time()
