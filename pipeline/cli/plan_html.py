"""A plan as one page of HTML that loads nothing: figures, charts and tables."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from markupsafe import Markup

from pipeline.batch.planning.plan import Plan
from pipeline.cli.plan_text import describe_bytes, describe_duration, describe_next_run, sizes
from pipeline.inputs.kinds import describe_ignored
from pipeline.records import State
from pipeline.web.names import shown
from pipeline.web.pages import Panel, render
from pipeline.web.tables import Table, bars, render_table

_FORMATS: Final = 12
_DEFAULT_TIER: Final = "basic"
"""Whose months are drawn when no tier is set."""


def render_plan(plan: Plan, inputs: Sequence[str]) -> str:
    """Return the page.

    Args:
        plan: What is shown.
        inputs: The INPUTs, for the heading.
    """
    return render(
        "plan.html",
        title=f"Plan for {shown(', '.join(inputs))}",
        lead=[_remark(plan)],
        facts=list(_facts(plan)),
        panels=list(_panels(plan)),
        tiers=render_table(_tiers(plan)),
    )


def _remark(plan: Plan) -> str:
    kind = "The calls are those of the next run." if plan.exact else "Calls are at most these: copies count, too."
    stop = "" if plan.run_stop is None else f" The next run: {describe_next_run(plan)}."
    return f"{plan.begun[:16].replace('T', ' ')} UTC. {kind}{stop}"


def _facts(plan: Plan) -> Iterator[tuple[str, str, str]]:
    counts = plan.counts
    yield "calls", f"{counts.calls:,}", ""
    yield "pages", f"{counts.pages.total():,}", ""
    yield "files", f"{counts.files.total():,}", ""
    yield "to send", describe_bytes(counts.bytes_to_send), ""
    yield "results", "unknown" if plan.results_bytes is None else describe_bytes(plan.results_bytes), ""
    yield "time", "unknown" if plan.duration_s is None else describe_duration(plan.duration_s), ""


def _panels(plan: Plan) -> Iterator[Panel]:
    by_format = sorted(plan.counts.formats.items(), key=lambda item: (-item[1].pages, item[0]))
    formats = [(name, count.pages) for name, count in by_format[:_FORMATS]]
    if rest := by_format[_FORMATS:]:
        formats.append((f"{len(rest)} others", sum(count.pages for _, count in rest)))
    yield _panel("Pages by format", formats, "pages")
    yield _panel("Files by size", [(_size_name(bound), number) for bound, number in sizes(plan)], "files")
    tier = plan.tier or _DEFAULT_TIER
    forecast = plan.forecasts[tier]
    first = ", the first twelve" if (forecast.months or 0) > len(forecast.calls) else ""
    yield _panel(f"Calls by month, tier {tier}{first}", forecast.calls.items(), "calls")
    counts = plan.counts
    states = [("to send" if state is State.PENDING else state.value, counts.pages[state]) for state in reversed(State)]
    yield _panel("Pages by state", [row for row in states if row[1]], "pages", tuple(_notes(plan)))


def _panel(heading: str, rows: Iterable[tuple[str, int]], unit: str, notes: tuple[str, ...] = ()) -> Panel:
    listed = list(rows)
    return Panel(heading, notes if listed else ("None.", *notes), bars(listed, unit) if listed else Markup())


def _notes(plan: Plan) -> Iterator[str]:
    counts = plan.counts
    if counts.conversions:
        yield f"{counts.conversions:,} pages are converted."
    if counts.unreadable:
        yield f"Sure to fail, without a call: {describe_ignored(counts.unreadable)}."
    if counts.ignored:
        yield f"Ignored files: {describe_ignored(counts.ignored)}."


def _tiers(plan: Plan) -> Table:
    rows = [
        (
            name,
            _count(each.per_month, "any"),
            _count(each.left, "any"),
            _count(each.months, "never"),
            each.finish or ("never" if each.months is None else "in over 100 years"),
        )
        for name, each in plan.forecasts.items()
    ]
    return Table(("tier", "per month", "left now", "months", "finish"), rows)


def _count(number: int | None, none: str) -> str:
    return none if number is None else f"{number:,}"


def _size_name(bound: int | None) -> str:
    return "larger" if bound is None else f"below {describe_bytes(bound).replace('.0', '')}"
