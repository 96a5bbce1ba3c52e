"""The overview of a workspace: how its runs went, in numbers that charts show.

Everything is counted in one pass over the last record of each page and the failures that stand now. Memory grows with
the time that the workspace spans, up to a bound, not with its pages.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from pipeline.billing import Calendar
from pipeline.config import BudgetConfig
from pipeline.errors import LedgerError
from pipeline.ledger.base import MonthCalls
from pipeline.ledger.places import place_named
from pipeline.records import State
from pipeline.report.tallies import Clock, Rate, Timeline, length_class
from pipeline.workspace.file_order import sort_by_line
from pipeline.workspace.finished_pages import FinishedPage, ResultLines
from pipeline.workspace.index import Index
from pipeline.workspace.result_lines import ResultLine
from pipeline.workspace.run_file import RunFile, last_metered_run
from pipeline.workspace.snapshot import open_snapshot

_DAY_S: Final = 86_400
SCORE_BINS: Final = 20
"""Of the distribution of quality, each 0.05 wide."""

_MOST_CLASSES: Final = 100
"""Classes of failures that are told apart; pagemill has some twenty."""

OTHER_CLASSES: Final = "others"
UNREADABLE: Final = "line unreadable"
"""Failed pages whose line of failures.jsonl is damaged."""

_FINISHED: Final = (State.DONE, State.DUPLICATE, State.SKIPPED)


@dataclass(frozen=True, slots=True)
class FailureClass:
    """The pages that failed in one way and are not done since.

    Attributes:
        name: The error's class.
        pages: Their number.
        left: Those that no run sends again, only `retry`.
    """

    name: str
    pages: int
    left: int


@dataclass(frozen=True, slots=True)
class Scores:
    """The quality of the texts that the service judged.

    Attributes:
        bins: Number of pages by score, in `SCORE_BINS` equal parts of 0 to 1.
        threshold: The most frequent one; below it a page is in doubt.
        in_doubt: Pages in doubt, each by its own threshold.
    """

    bins: tuple[int, ...]
    threshold: float
    in_doubt: int


@dataclass(frozen=True, slots=True)
class Overview:
    """A workspace at a glance.

    Attributes:
        taken: When it was taken, in the time zone of the calendar, without a time zone.
        calendar: When the plan's month begins; its time zone is that of all days and times.
        pages: By state.
        pending_is_at_least: True when more pages may be pending.
        corrected: Pages whose text a person wrote.
        checked: Pages whose text a person marked as checked.
        days: Pages by local day, as a number of days since 0001-01-01, and by state: a page counts on the day of its
            last record or failure; one that a person has reviewed, on that of the record before.
        undated: Pages whose last line has no readable time.
        rates: Pages and durations over time.
        failures: What stands now, the most frequent class first.
        scores: None when the service judged no text.
        lengths: Number of texts by class of lengths (`length_class`).
        months: Calls of the key, of all its workspaces; none without a ledger.
        ledger_problem: Why the ledger cannot be read; None when it can, or there is none.
        quota: Calls that the plan allows per month; None for no limit.
        unreadable: Pages whose line another program has changed, or damaged.
    """

    taken: datetime
    calendar: Calendar
    pages: Mapping[State, int]
    pending_is_at_least: bool
    corrected: int
    checked: int
    days: Mapping[int, Mapping[State, int]]
    undated: int
    rates: tuple[Rate, ...]
    failures: tuple[FailureClass, ...]
    scores: Scores | None
    lengths: Mapping[int, int]
    months: tuple[MonthCalls, ...]
    ledger_problem: str | None
    quota: int | None
    unreadable: int


def collect_overview(
    workspace: Path, run_file: RunFile, budget: BudgetConfig, now: datetime, *, is_live: bool = False
) -> Overview:
    """Read a workspace once; change and lock nothing.

    Args:
        workspace: The directory.
        run_file: Its run.json.
        budget: The plan of its last run.
        now: Aware.
        is_live: True while a run goes on: of many pages, those of the index's last commit are enough.

    Raises:
        StorageError: the workspace cannot be read.
    """
    clock = Clock(budget.timezone)
    with open_snapshot(workspace, copies_large=not is_live) as index:
        counts = index.count_pages()
        totals = counts.totals
        tally = _Tally(clock)
        if any(totals[state] for state in _FINISHED):  # else there may be no file
            tally.read(workspace, index)
        failures = _count_failures(index, tally, None if is_live else totals[State.FAILED] + totals[State.UNCERTAIN])
    months, problem = _read_months(run_file, clock, budget.ledger)
    return Overview(
        taken=clock.local(now),
        calendar=Calendar(budget.timezone, budget.reset_day),
        pages=totals,
        pending_is_at_least=run_file.pending_is_at_least,
        corrected=counts.corrected,
        checked=counts.checked,
        days=tally.days,
        undated=tally.undated,
        rates=tuple(tally.timeline.rates()),
        failures=failures,
        scores=tally.scores(counts.in_doubt),
        lengths=tally.lengths,
        months=months,
        ledger_problem=problem,
        quota=budget.limit,
        unreadable=tally.unreadable,
    )


class _Tally:
    """Counts the records of a workspace."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.timeline = Timeline()
        self.days: dict[int, Counter[State]] = {}
        self.lengths = Counter[int]()
        self.undated = self.unreadable = 0
        self._scores = [0] * SCORE_BINS
        self._thresholds = Counter[float]()

    def __repr__(self) -> str:
        return f"<_Tally of {len(self.days)} days>"

    def read(self, workspace: Path, index: Index) -> None:
        """Count all pages that have a record."""
        with ResultLines(workspace) as lines:
            for page in sort_by_line(index.finished_pages(_FINISHED)):
                if (line := lines.read(page)) is None:
                    self.unreadable += 1
                else:
                    self._add(page, line)

    def add_day(self, added: str, state: State) -> int | None:
        """Count a page on the day of its last line; return the moment in local seconds, None when there is none."""
        local_s = self._clock.read(added)
        if local_s is None:
            self.undated += 1
        else:
            self.days.setdefault(local_s // _DAY_S, Counter())[state] += 1
        return local_s

    def scores(self, in_doubt: int) -> Scores | None:
        """Return the distribution of the scores."""
        if not self._thresholds:
            return None
        return Scores(tuple(self._scores), self._thresholds.most_common(1)[0][0], in_doubt)

    def _add(self, page: FinishedPage, line: ResultLine) -> None:
        original = None if line.review is None else line.review.original
        local_s = self.add_day(page.added if original is None else original.added, page.state)
        if local_s is not None:
            is_timed = bool(line.attempts) and line.duplicate_of is None  # a copy has the milliseconds of the original
            self.timeline.add(local_s, line.elapsed_ms if is_timed else None)
        if line.skipped is None:
            self.lengths[length_class(len(line.text))] += 1
        if line.quality is not None:
            self._scores[min(SCORE_BINS - 1, int(line.quality.score * SCORE_BINS + 1e-9))] += 1
            self._thresholds[line.quality.threshold] += 1


def _count_failures(index: Index, tally: _Tally, expected: int | None) -> tuple[FailureClass, ...]:
    """Return the failures that stand now by class, and count them on their days.

    Args:
        index: Of the workspace.
        tally: Of its pages.
        expected: Their number by the index; None while it changes.
    """
    pages, left = Counter[str](), Counter[str]()
    for failed in index.worklist():
        failure = failed.failure
        tally.add_day(failure.added, failure.state)
        name = failure.error if failure.error in pages or len(pages) < _MOST_CLASSES else OTHER_CLASSES
        pages[name] += 1
        left[name] += not failed.retryable
    if expected is not None:
        pages[UNREADABLE] = expected - pages.total()
    return tuple(FailureClass(name, number, left[name]) for name, number in pages.most_common() if number > 0)


def _read_months(run_file: RunFile, clock: Clock, ledger: str | None) -> tuple[tuple[MonthCalls, ...], str | None]:
    metered = last_metered_run(run_file)
    if metered is None or metered.service != run_file.service:
        return (), None
    place = place_named(metered.ledger, ledger)

    def day_of(added: str) -> int | None:
        local_s = clock.read(added)
        return None if local_s is None else local_s // _DAY_S

    try:
        return tuple(place.calls_by_day(run_file.workspace_id, day_of)) if place.exists() else (), None
    except LedgerError as exc:
        return (), str(exc)
