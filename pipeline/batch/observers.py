"""Lets others watch a run: each is called when it begins, regularly, and when it has ended.

An observer runs beside the run in a task of its own. Nothing that it does changes how the run ends: a failure is a
warning, and each of its calls has a deadline, so that it holds up the end of the run for twice `patience_s` at most.
"""

import logging
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import ClassVar

import anyio

from pipeline.batch.progress import Snapshot
from pipeline.batch.summary import Summary
from pipeline.errors import StopError
from pipeline.workspace.live_progress import (
    EVERY_S,
    LiveProgress,
    remove_live_progress,
    utc_now,
    write_live_progress,
)

logger = logging.getLogger("pagemill")

Ended = Summary | StopError
"""How a run ended; an error when it ended before it could begin."""


@dataclass(frozen=True, slots=True)
class Start:
    """A run that begins.

    Attributes:
        run_id: A random UUID.
        workspace: Directory of the results.
        moment: When it begins, aware.
    """

    run_id: str
    workspace: Path
    moment: datetime


class Observer:
    """Watches a run; every method may be left out."""

    name: ClassVar[str]
    """What it is called in warnings."""

    every_s: float | None = None
    """How often `see` is called, in seconds; None for never."""

    patience_s: float = 10.0
    """Deadline of each call."""

    def open(self) -> None:
        """Take what it needs, before anything else happens.

        Raises:
            UsageError: that cannot be; the run ends before any call.
        """

    def close(self) -> None:
        """Give it back."""

    async def begin(self, start: Start) -> None:
        """The run begins; it does not wait for this."""

    async def see(self, snapshot: Snapshot) -> None:
        """The run goes on."""

    async def end(self, ended: Ended) -> None:
        """The run has ended, and its workspace is free."""


class Watch:
    """Where a run shows its counters once it has some, and how it ended."""

    def __init__(self) -> None:
        self._take: Callable[[], Snapshot] | None = None
        self._stirred = anyio.Event()
        self._finished = anyio.Event()
        self._ended: Ended | None = None

    def __repr__(self) -> str:
        return f"<Watch {self._ended or self._take}>"

    def show(self, take: Callable[[], Snapshot]) -> None:
        """Let observers take snapshots from now on."""
        self._take = take
        self._stirred.set()

    def finish(self, ended: Ended) -> None:
        """Say how the run ended."""
        self._ended = ended
        self._finished.set()
        self._stirred.set()

    async def follow(self, observer: Observer, start: Start) -> None:
        """Call an observer until the run has ended."""
        caution = _Caution(observer)
        await caution.run(observer.begin(start))
        await self._stirred.wait()
        while observer.every_s is not None and self._ended is None:
            assert self._take is not None
            await caution.run(observer.see(self._take()))
            with anyio.move_on_after(observer.every_s):
                await self._finished.wait()
        await self._finished.wait()
        assert self._ended is not None
        await caution.run(observer.end(self._ended))


class _Caution:
    """Awaits the calls of one observer, and warns of its first failure."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._has_warned = False

    def __repr__(self) -> str:
        return f"<_Caution {self._observer.name}>"

    async def run(self, call: Awaitable[None]) -> None:
        problem: object = f"not done after {self._observer.patience_s:g} s, given up"
        with anyio.move_on_after(self._observer.patience_s):
            try:
                await call
            except Exception as exc:  # noqa: BLE001 - whatever fails in an observer does not end the run
                problem = str(exc) or type(exc).__name__
            else:
                return
        level = logging.DEBUG if self._has_warned else logging.WARNING
        logger.log(level, "%s: %s; the run does not depend on it", self._observer.name, problem)
        self._has_warned = True


async def publish(workspace: Path, run_id: str, take: Callable[[], Snapshot]) -> None:
    """Write progress.json until cancelled, and then remove it."""
    try:
        while True:
            snapshot = take()
            progress = LiveProgress(
                run_id=run_id,
                updated=utc_now(),
                elapsed_s=snapshot.elapsed_s,
                pages={state.value: number for state, number in snapshot.ended.items()},
                in_flight=snapshot.in_flight,
                calls=snapshot.calls,
                calls_left=snapshot.calls_left,
                sent=snapshot.sent,
                refused=snapshot.refused,
                paused_s=snapshot.paused_s,
            )
            write_live_progress(workspace, progress)
            await anyio.sleep(EVERY_S)
    finally:
        remove_live_progress(workspace)


def new_run_id() -> str:
    """Return the id of a run: a random UUID, as monitors of cron jobs demand it."""
    return str(uuid.uuid4())


async def observe(observers: Sequence[Observer], start: Start, run: Callable[[Watch], Awaitable[Summary]]) -> Summary:
    """Carry out a run before its observers' eyes, and return how it ended.

    Args:
        observers: Who watches.
        start: What they are told first.
        run: The run; it shows its counters to the watch.

    Raises:
        StopError: the run ended before it could begin, or an observer lacks what it needs.
    """
    watch = Watch()
    error: Exception | None = None
    opened: list[Observer] = []
    try:
        async with anyio.create_task_group() as tasks:
            try:
                for observer in observers:
                    observer.open()
                    opened.append(observer)
            except StopError as exc:
                error = exc
            for observer in opened:
                tasks.start_soon(watch.follow, observer, start)
            try:
                summary = await run(watch) if error is None else None
            except Exception as exc:  # noqa: BLE001 - raised again below, where no exception group wraps it
                error = exc
            watch.finish(summary if error is None and summary is not None else _as_stop(error))
    finally:
        for observer in opened:
            observer.close()
    if error is not None:
        raise error
    assert summary is not None
    return summary


def _as_stop(error: Exception | None) -> StopError:
    return error if isinstance(error, StopError) else StopError(f"unexpected error: {type(error).__name__}: {error}")
