"""Reports a run: a bar on a terminal, one log line per minute elsewhere, and a summary at its end."""

import logging
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NoReturn

import anyio
from tqdm import tqdm

from pipeline.errors import StopError
from pipeline.exit_codes import EXIT_PRECEDENCE
from pipeline.records import State

_BAR_EVERY_S: Final = 0.25
_LOG_EVERY_S: Final = 60.0

logger = logging.getLogger("pagemill")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The counters of a run at one moment.

    Attributes:
        ended: Pages that ended in this run, by state.
        settled: Pages that earlier runs had settled already, by state.
        in_flight: Files that hold a slot.
        calls: Calls of this run that count against the quota.
        calls_left: Calls left in the month; None when there is no limit.
        refused: Calls that were refused with 429 or 503.
        paused_s: Seconds left of the pause that a refusal caused.
        elapsed_s: Seconds since the run began.
    """

    ended: dict[State, int]
    settled: dict[State, int]
    in_flight: int
    calls: int
    calls_left: int | None
    refused: int
    paused_s: float
    elapsed_s: float

    @property
    def finished(self) -> int:
        """Pages of the input that have ended, in this run or before."""
        return sum(self.ended.values()) + sum(self.settled.values())

    @property
    def failed(self) -> int:
        """Pages that ended in this run without a text."""
        return self.ended.get(State.FAILED, 0) + self.ended.get(State.UNCERTAIN, 0)

    @property
    def pages_per_s(self) -> float:
        """Pages per second that ended in this run."""
        return sum(self.ended.values()) / self.elapsed_s if self.elapsed_s > 0 else 0.0


def describe(snapshot: Snapshot) -> str:
    """Return the snapshot as one line."""
    parts = [
        f"{snapshot.finished} pages",
        f"{snapshot.pages_per_s:.1f} pages/s",
        f"{snapshot.failed} failed",
        f"{snapshot.calls} calls",
    ]
    if snapshot.calls_left is not None:
        parts.append(f"{snapshot.calls_left} calls left this month")
    if snapshot.refused:
        parts.append(f"{snapshot.refused} refused")
    if snapshot.paused_s > 0:
        parts.append(f"paused {snapshot.paused_s:.0f} s")
    return ", ".join(parts)


async def report(take: Callable[[], Snapshot], count: Callable[[], Awaitable[int | None]], *, bar: bool) -> None:
    """Report until cancelled.

    Args:
        take: Returns the current snapshot.
        count: Counts the pages of the input, for the bar's total; returns None when they cannot be counted.
        bar: True draws a bar on stderr, False logs one line per minute.
    """
    if not bar:
        while True:
            await anyio.sleep(_LOG_EVERY_S)
            logger.info("%s", describe(take()))
    unmoved: tqdm[NoReturn] = tqdm(
        total=None, unit="page", file=sys.stderr, dynamic_ncols=True, smoothing=0.1, leave=True
    )
    with unmoved as line:
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_set_total, line, count)
                while True:
                    _draw(line, take())
                    await anyio.sleep(_BAR_EVERY_S)
        finally:
            _draw(line, take())


async def _set_total(line: "tqdm[NoReturn]", count: Callable[[], Awaitable[int | None]]) -> None:
    with suppress(StopError):  # the walk of the run meets the same error and reports it
        line.total = await count()


def _draw(line: "tqdm[NoReturn]", snapshot: Snapshot) -> None:
    if line.total is not None:
        line.total = max(line.total, snapshot.finished)  # a file may have several pages
    left = "" if snapshot.calls_left is None else f"{snapshot.calls_left} calls left, "
    paused = f", paused {snapshot.paused_s:.0f} s" if snapshot.paused_s > 0 else ""
    line.set_postfix_str(f"{left}{snapshot.failed} failed{paused}", refresh=False)
    line.n = snapshot.finished
    line.initial = sum(snapshot.settled.values())  # pages of earlier runs do not count for the speed
    line.refresh()


@dataclass(frozen=True, slots=True)
class Summary:
    """How a run ended.

    Attributes:
        exit_code: See `EXIT_CODES`.
        reason: Why it stopped early, one line; None when it finished.
        totals: Pages of the workspace by state.
        run: Pages that ended in this run, by state.
        settled: Pages of the input that had ended before this run.
        calls: Calls of this run that count against the quota.
        calls_left: Calls left in the month; None when there is no limit.
        uncertain: Sources of pages whose call an earlier run left without an outcome; these calls count.
        elapsed_s: Duration in seconds.
    """

    exit_code: int
    reason: str | None
    totals: dict[State, int]
    run: dict[State, int]
    settled: int
    calls: int
    calls_left: int | None
    uncertain: Sequence[str]
    elapsed_s: float

    @property
    def pages(self) -> int:
        """All pages of the workspace."""
        return sum(self.totals.values())


def summarise(
    snapshot: Snapshot, totals: dict[State, int] | None, reason: StopError | None, uncertain: Sequence[str]
) -> Summary:
    """Return how a run ended.

    Args:
        snapshot: The counters at the end.
        totals: Pages of the workspace by state; None when the index cannot be read: then those of this run.
        reason: Why it stopped early.
        uncertain: See `Summary`.
    """
    failed = snapshot.failed + snapshot.settled.get(State.FAILED, 0)
    codes = [0, *([3] if failed else []), *([reason.exit_code] if reason is not None else [])]
    return Summary(
        exit_code=min(codes, key=EXIT_PRECEDENCE.index),
        reason=None if reason is None else str(reason),
        totals=totals if totals is not None else snapshot.ended,
        run=snapshot.ended,
        settled=sum(snapshot.settled.values()),
        calls=snapshot.calls,
        calls_left=snapshot.calls_left,
        uncertain=uncertain,
        elapsed_s=snapshot.elapsed_s,
    )


def describe_summary(summary: Summary) -> str:
    """Return a run's end in one line."""
    ended = ", ".join(f"{number} {state}" for state, number in summary.totals.items() if number) or "no pages"
    left = "" if summary.calls_left is None else f", {summary.calls_left} left this month"
    line = f"{ended}; {summary.calls} calls{left}; {summary.elapsed_s:.1f} s"
    return line if summary.reason is None else f"{line}; stopped: {summary.reason}"
