"""Reports a run while it lasts: a bar on a terminal, and regular log lines."""

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NoReturn

import anyio
from tqdm import tqdm

from pipeline.records import State
from pipeline.remote.learned import Learned

_BAR_EVERY_S: Final = 0.25
_LOG_EVERY_S: Final = 60.0
_LEARNED_EVERY_S: Final = 20.0

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
        refused: Calls that were refused for now, such as with 429; part of `sent`.
        sent: All calls of this run.
        learned: The limit that they have met.
        paused_s: Seconds left of the pause that a refusal caused.
        elapsed_s: Seconds since the run began.
        known: Pages of the input that had a text before this run, while it has not met them all; else 0.
    """

    ended: dict[State, int]
    settled: dict[State, int]
    in_flight: int
    calls: int
    calls_left: int | None
    refused: int
    sent: int
    learned: Learned
    paused_s: float
    elapsed_s: float
    known: int = 0

    @property
    def finished(self) -> int:
        """Pages of the input that have ended, in this run or before."""
        return sum(self.ended.values()) + self.before

    @property
    def before(self) -> int:
        """Pages of the input that had ended before this run."""
        return max(self.known, sum(self.settled.values()))

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


async def report(
    take: Callable[[], Snapshot], total: Callable[[], int | None], *, bar: bool, log_every_s: float | None = None
) -> None:
    """Report until cancelled.

    Args:
        take: Returns the current snapshot.
        total: Returns the number of pages of the input, for the bar; None while it is not known.
        bar: True draws a bar on stderr.
        log_every_s: Log the counters this often, in seconds; None for once per minute where no bar is drawn.
    """
    async with anyio.create_task_group() as tasks:
        if bar:
            tasks.start_soon(_draw_regularly, take, total)
        if log_every_s is not None or not bar:
            tasks.start_soon(_log_regularly, take, log_every_s or _LOG_EVERY_S)


async def _log_regularly(take: Callable[[], Snapshot], every_s: float) -> None:
    while True:
        await anyio.sleep(every_s)
        logger.info("%s", describe(take()))


async def _draw_regularly(take: Callable[[], Snapshot], total: Callable[[], int | None]) -> None:
    bar: tqdm[NoReturn] = tqdm(total=None, unit="page", file=sys.stderr, dynamic_ncols=True, smoothing=0.1, leave=True)
    with bar as line:
        try:
            while True:
                _draw(line, take(), total())
                await anyio.sleep(_BAR_EVERY_S)
        finally:
            _draw(line, take(), total())


async def report_learned(take: Callable[[], Snapshot]) -> None:
    """Log the limit that the calls have met whenever it has changed by a fifth, until cancelled."""
    told = Learned()
    while True:
        await anyio.sleep(_LEARNED_EVERY_S)
        learned = take().learned
        if learned.is_known and learned.differs_from(told):
            logger.debug("the service allows %s", learned.describe())
            told = learned


def _draw(line: "tqdm[NoReturn]", snapshot: Snapshot, total: int | None) -> None:
    if total is not None:
        line.total = max(total, snapshot.finished)  # a file may have several pages
    left = "" if snapshot.calls_left is None else f"{snapshot.calls_left} calls left, "
    paused = f", paused {snapshot.paused_s:.0f} s" if snapshot.paused_s > 0 else ""
    line.set_postfix_str(f"{left}{snapshot.failed} failed{paused}", refresh=False)
    line.n = snapshot.finished
    line.initial = snapshot.before  # pages of earlier runs do not count for the speed
    line.refresh()
