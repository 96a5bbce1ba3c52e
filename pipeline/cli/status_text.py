"""Where a workspace stands, as lines for people and as values for JSON, and what keeps it from being finished; pure."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from pipeline.batch.planning.forecast import Forecast
from pipeline.billing import Usage
from pipeline.errors import one_line
from pipeline.exit_codes import EXIT_CODES
from pipeline.inputs.kinds import describe_ignored
from pipeline.records import State
from pipeline.remote.learned import Learned, describe_refusals
from pipeline.workspace.inventory import FileState
from pipeline.workspace.live_progress import LiveProgress
from pipeline.workspace.page_counts import PageCounts
from pipeline.workspace.run_file import RunFile

_EXPLAINED: Final = frozenset({0, 3, 8, 10})
"""Exit codes whose reason is shown otherwise, or is none."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a workspace stands.

    Attributes:
        workspace: The directory.
        run_file: run.json.
        counts: Its pages.
        live: The counters of the run that is under way; None when none is.
        usage: The month of the ledger; None without a ledger.
        resets: When the next month begins; None without a ledger.
        forecast: When the calls that are left are made; None without a ledger.
        problem: Why the ledger cannot be read; None when it can.
        is_root_missing: True when the folder of the INPUTs is not there.
        other_service: The service that a run started here would call, when that is another one; else None.
    """

    workspace: Path
    run_file: RunFile
    counts: PageCounts
    live: LiveProgress | None = None
    usage: Usage | None = None
    resets: datetime | None = None
    forecast: Forecast | None = None
    problem: str | None = None
    is_root_missing: bool = False
    other_service: str | None = None

    @property
    def calls_to_make(self) -> int:
        """Calls that are left: pending pages, each file that was never opened as one, and failed ones that are sent."""
        totals = self.counts.totals
        return totals[State.PENDING] - self.counts.left_to_shards + totals[State.FAILED] - self.counts.left


def find_obstacles(standing: Standing) -> list[str]:
    """Return what stands in the way of finishing the workspace, one sentence each."""
    return [*_find_ends(standing), *_find_circumstances(standing), *_find_left(standing)]


def _find_ends(standing: Standing) -> Iterator[str]:
    """Yield how the last run ended, and what the month has left."""
    run, usage = standing.run_file, standing.usage
    if run.finished is None and standing.live is None:
        yield "the last run was killed, or is just beginning; another run recovers what it left"
    if run.finished is not None and run.exit_code is not None and run.exit_code not in _EXPLAINED:
        reason = run.reason if run.reason is not None else EXIT_CODES.get(run.exit_code, "unknown")
        yield f"the last run stopped: {one_line(reason)} (exit {run.exit_code})"
    if usage is not None and usage.left == 0 and standing.calls_to_make and standing.resets is not None:
        yield f"the month's calls are used up until {standing.resets:%Y-%m-%d %H:%M} UTC"
    elif run.finished is not None and run.exit_code == 8 and run.reason is not None:
        yield f"the last run stopped: {one_line(run.reason)}"


def _find_circumstances(standing: Standing) -> Iterator[str]:
    run = standing.run_file
    if standing.problem is not None:
        yield one_line(standing.problem)
    if standing.is_root_missing:
        yield f"{one_line(run.root or '')}: not there; is a disk not mounted?"
    if standing.other_service is not None:
        yield (
            f"a run started here would call '{standing.other_service}', not '{run.service}'; check the address and the "
            "key, or use --switch-service"
        )


def _find_left(standing: Standing) -> Iterator[str]:
    """Yield what a run leaves alone unless it is asked to."""
    run, counts = standing.run_file, standing.counts
    if counts.unreadable:
        lines = "1 line" if counts.unreadable == 1 else f"{counts.unreadable:,} lines"
        yield f"{lines} of the records cannot be read: pagemill verify {one_line(str(standing.workspace))}"
    if counts.left:
        yield f"{_pages(counts.left)} failed and left to: pagemill retry {one_line(str(standing.workspace))}"
    if uncertain := counts.totals[State.UNCERTAIN]:
        yield f"{_pages(uncertain)} uncertain: a call may have been billed; a run without --at-most-once sends again"
    if run.again is not None and run.finished is not None:
        yield f"--again {one_line(run.again.glob)} is not finished; a run with it goes on"


def _pages(number: int) -> str:
    return "1 page is" if number == 1 else f"{number:,} pages are"


def status_fields(standing: Standing) -> dict[str, Any]:
    """Return where a workspace stands as JSON values; `calls`, `sent` and `refused` are the last run's."""
    run, counts, usage = standing.run_file, standing.counts, standing.usage
    pages = {state.value: number for state, number in counts.totals.items()}
    month: dict[str, Any] | None = None
    if usage is not None and standing.resets is not None:
        month = {**dataclasses.asdict(usage), "left": usage.left, "resets": f"{standing.resets:%Y-%m-%dT%H:%M:%SZ}"}
    return {
        "service": run.service,
        "pages": sum(pages.values()),
        **pages,
        "in_doubt": counts.in_doubt,
        "corrected": counts.corrected,
        "checked": counts.checked,
        "left_to_retry": counts.left,
        "left_to_shards": counts.left_to_shards,
        "pending_is_at_least": run.pending_is_at_least,
        "files": {state.value: run.files.get(state.value, 0) for state in FileState},
        "ignored": dict(run.ignored),
        "run_id": run.run_id,
        "started": run.started,
        "finished": run.finished,
        "exit_code": run.exit_code,
        "reason": run.reason,
        "calls": run.calls,
        "sent": run.sent,
        "refused": run.refused,
        "learned": msgspec.to_builtins(run.learned),
        "under_way": None if standing.live is None else msgspec.to_builtins(standing.live),
        "month": month,
        "calls_to_make": standing.calls_to_make,
        "forecast": None if standing.forecast is None else dataclasses.asdict(standing.forecast),
        "obstacles": find_obstacles(standing),
    }


def describe_status(standing: Standing) -> str:
    """Return where a workspace stands, as lines."""
    lines = (*_describe_pages(standing), *_describe_run(standing), *_describe_month(standing))
    obstacles = [f"in the way  {text}" for text in find_obstacles(standing)]
    return "\n".join((*lines, *obstacles)) + "\n"


def _describe_pages(standing: Standing) -> Iterator[str]:
    run, counts = standing.run_file, standing.counts
    yield f"pages      {sum(counts.totals.values()):>9,}"
    for state in State:
        number = f"{counts.totals[state]:,}"
        is_least = run.pending_is_at_least and state is State.PENDING
        yield f"{state:<10} {f'at least {number}' if is_least else number:>9}"
    if counts.left_to_shards:
        yield f"left to another shard {counts.left_to_shards:,}, as their content is also in that one"
    if counts.in_doubt:
        yield f"in doubt   {counts.in_doubt:>9,}"
    if counts.corrected:
        yield f"corrected  {counts.corrected:>9,}"
    if counts.checked:
        yield f"checked    {counts.checked:>9,}"
    if any(run.files.values()):
        found = ((state.value, run.files.get(state.value, 0)) for state in FileState)
        yield f"files      {', '.join(f'{number:,} {name}' for name, number in found if number)}"
    if run.ignored:
        yield f"ignored    {describe_ignored(run.ignored)}"


def _describe_run(standing: Standing) -> Iterator[str]:
    run, live = standing.run_file, standing.live
    yield f"service    {run.service}"
    if live is not None:
        ended = ", ".join(f"{number:,} {state}" for state, number in live.pages.items() if number) or "no page yet"
        paused = f", paused for {live.paused_s:.0f} s" if live.paused_s > 0 else ""
        pace = f"{live.pages_per_s:.2g} pages/s, {live.calls:,} calls{paused}"
        yield f"run        under way since {run.started}: {ended}, {pace}"
    elif run.finished is None:
        yield f"last run   began {run.started}, has not ended"
    else:
        yield f"last run   {run.finished}, exit {run.exit_code}"
    if run.refused:
        limit = run.learned
        learned = Learned(limit.rate_per_s, limit.in_flight, limit.windows)
        yield f"limit      {describe_refusals(learned, run.refused, run.sent)}"


def _describe_month(standing: Standing) -> Iterator[str]:
    usage, forecast = standing.usage, standing.forecast
    if usage is not None:
        left = "" if usage.left is None else f", {usage.left:,} left until {standing.resets:%Y-%m-%d}"
        yield f"calls      {usage.used:,} in {usage.month}{left}"
    if forecast is None or not standing.calls_to_make or forecast.per_month is None:
        return
    least = "at least " if standing.run_file.pending_is_at_least else ""
    when = "never" if forecast.months is None else forecast.finish or "in over 100 years"
    months = "" if forecast.months is None else f", in {forecast.months:,} month{'s' if forecast.months != 1 else ''}"
    nights = "" if forecast.nights is None else f" and {forecast.nights:,} nights"
    yield f"finish     {when} at the earliest: {least}{standing.calls_to_make:,} calls{months}{nights}"
