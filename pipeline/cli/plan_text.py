"""A plan as a table of at most 80 columns, and as values for JSON."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pipeline.batch.planning.plan import Plan
from pipeline.batch.planning.survey import SIZES_BYTES
from pipeline.inputs.kinds import describe_ignored
from pipeline.records import State
from pipeline.workspace.inventory import FileState

_UNITS: Final = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_FORMATS: Final = 12


def plan_fields(plan: Plan) -> dict[str, Any]:
    """Return a plan as JSON values; `calls` are exact when `exact` is true, else at most these."""
    counts = plan.counts
    files = {state.value: counts.files[state] for state in FileState} | {FileState.GONE.value: plan.gone}
    return {
        "exact": plan.exact,
        "calls": counts.calls,
        "files": {"total": counts.files.total(), **files},
        "pages": {"total": counts.pages.total(), **{state.value: counts.pages[state] for state in State}},
        "pages_by_name": counts.by_name,
        "skipped": dict(counts.skipped),
        "conversions": counts.conversions,
        "unreadable": dict(counts.unreadable),
        "ignored": dict(counts.ignored),
        "formats": {name: dataclasses.asdict(count) for name, count in sorted(counts.formats.items())},
        "sizes": [{"below_bytes": bound, "files": number} for bound, number in sizes(plan)],
        "used": None if plan.usage is None else plan.usage.used,
        "month": None if plan.usage is None else plan.usage.month,
        "tier": plan.tier,
        "months": {name: dataclasses.asdict(forecast) for name, forecast in plan.forecasts.items()},
        "run": {"calls": plan.run_calls, "stop": plan.run_stop},
        "bytes_to_send": counts.bytes_to_send,
        "results_bytes": plan.results_bytes,
        "calls_per_s": plan.calls_per_s,
        "duration_s": plan.duration_s,
        "begun": plan.begun,
    }


def sizes(plan: Plan) -> list[tuple[int | None, int]]:
    """Return the upper bound of each class of file sizes, None for none, and its number of files."""
    return [(bound, plan.counts.sizes[number]) for number, bound in enumerate((*SIZES_BYTES, None))]


def describe_plan(plan: Plan) -> str:
    """Return a plan as lines of at most 80 columns."""
    blocks = (_describe_formats(plan), _describe_pages(plan), _describe_months(plan), _describe_run(plan))
    return "\n".join("\n".join(lines) + "\n" for lines in map(list, blocks))


def describe_next_run(plan: Plan) -> str:
    """Return the calls of the next run, and why it ends early or does not begin."""
    if plan.run_stop is None:
        return f"{plan.run_calls:,} calls"
    return f"{plan.run_calls:,} calls, then {plan.run_stop}" if plan.run_calls else f"no call: {plan.run_stop}"


def describe_bytes(number: float) -> str:
    """Return a number of bytes to two digits or three: "1.4 GB"."""
    for unit, name in _UNITS:
        if number >= unit:
            return f"{number / unit:.1f} {name}" if number < 10 * unit else f"{number / unit:.0f} {name}"
    return f"{number:.0f} B"


def describe_duration(duration_s: float) -> str:
    """Return a duration in its largest unit: "3.2 h"."""
    for unit, name in ((86400, "days"), (3600, "h"), (60, "min")):
        if duration_s >= unit:
            return f"{duration_s / unit:.1f} {name}"
    return f"{duration_s:.0f} s"


def _describe_formats(plan: Plan) -> Iterator[str]:
    yield f"{'format':<12}{'files':>12}{'pages':>12}{'size':>12}{'calls':>12}"
    ordered = sorted(plan.counts.formats.items(), key=lambda item: (-item[1].pages, item[0]))
    for name, count in ordered[:_FORMATS]:
        size = describe_bytes(count.bytes)
        yield f"{name[:11]:<12}{count.files:>12,}{count.pages:>12,}{size:>12}{count.calls:>12,}"
    for name, rest in (("others", ordered[_FORMATS:]), ("all", ordered)):
        if name == "all" or rest:
            found = [count for _, count in rest]
            files, pages, calls = (sum(getattr(c, key) for c in found) for key in ("files", "pages", "calls"))
            size = describe_bytes(sum(count.bytes for count in found))
            yield f"{name:<12}{files:>12,}{pages:>12,}{size:>12}{calls:>12,}"


def _describe_pages(plan: Plan) -> Iterator[str]:
    counts = plan.counts
    files = {**counts.files, FileState.GONE: plan.gone}
    yield f"files       {_join({state.value: files.get(state, 0) for state in FileState})}"
    yield f"pages       {_join({_name(state): counts.pages[state] for state in reversed(State)})}"
    if counts.by_name:
        yield f"            {counts.by_name:,} of them known by name and time: read again, not sent"
    if counts.skipped:
        yield f"skipped     {describe_ignored(counts.skipped)}"
    if counts.conversions:
        yield f"converted   {counts.conversions:,} pages are decoded and encoded again"
    if counts.unreadable:
        yield from _wrap("fail        ", f"{describe_ignored(counts.unreadable)}, without a call")
    if counts.ignored:
        yield from _wrap("ignored     ", describe_ignored(counts.ignored))
    yield f"calls       {counts.calls:,}{'' if plan.exact or not counts.calls else ' at most; --exact reads the files'}"
    most = "" if plan.exact else "at most "
    yield f"to send     {most}{describe_bytes(counts.bytes_to_send)}"
    results = "unknown before a run" if plan.results_bytes is None else f"about {describe_bytes(plan.results_bytes)}"
    yield f"results     {results}"
    if plan.duration_s is None or plan.calls_per_s is None:
        yield "time        unknown before a run"
    else:
        yield f"time        {describe_duration(plan.duration_s)} at the last run's {plan.calls_per_s:.2g} calls/s"


def _describe_months(plan: Plan) -> Iterator[str]:
    has_nights = any(forecast.nights is not None for forecast in plan.forecasts.values())
    nights = f"{'nights':>9}" if has_nights else ""
    yield f"{'tier':<12}{'per month':>11}{'left now':>11}{'months':>9}{nights}  finish, at the earliest"
    for name, plan_ in plan.forecasts.items():
        left, months = _count(plan_.left, "any"), _count(plan_.months, "never")
        nights = f"{_count(plan_.nights, 'never'):>9}" if has_nights else ""
        finish = plan_.finish or ("never" if plan_.months is None else "in over 100 years")
        chosen = " *" if name == plan.tier else ""
        yield f"{name + chosen:<12}{_count(plan_.per_month, 'any'):>11}{left:>11}{months:>9}{nights}  {finish}"
    used = (
        "no ledger: nothing was counted yet"
        if plan.usage is None
        else f"{plan.usage.used:,} used in {plan.usage.month}"
    )
    yield f"            {used}"


def _describe_run(plan: Plan) -> Iterator[str]:
    yield from _wrap("next run    ", describe_next_run(plan))


def _name(state: State) -> str:
    return "to send" if state is State.PENDING else state.value


def _count(number: int | None, none: str) -> str:
    return none if number is None else f"{number:,}"


def _join(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in numbers.items() if number) or "none"


def _wrap(head: str, text: str) -> Iterator[str]:
    line = head
    for word in text.split(" "):
        if len(line) + len(word) > 79 and line.strip():
            yield line.rstrip()
            line = " " * len(head)
        line += f"{word} "
    yield line.rstrip()
