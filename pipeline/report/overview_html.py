"""An overview as a fragment of HTML: figures, then a panel per chart."""

from collections.abc import Iterator

from markupsafe import Markup

from pipeline.errors import one_line
from pipeline.records import State
from pipeline.report import overview_charts as charts
from pipeline.report.day_bins import DayBins
from pipeline.report.overview import Overview
from pipeline.web.pages import Panel, render


def render_overview(overview: Overview) -> Markup:
    """Return the overview as a fragment of HTML without a main heading, for a page with `pipeline.web.pages.style`."""
    panels = [
        Panel("Pages by state", tuple(_notes_on_states(overview)), charts.draw_states(overview)),
        _days(overview),
        *_calls(overview),
        *_rates(overview),
        _failures(overview),
        _quality(overview),
        _lengths(overview),
    ]
    panels.sort(key=lambda panel: not panel.picture)  # those that have nothing to show come last
    return render("overview.html", facts=list(_facts(overview)), panels=panels)


def _facts(overview: Overview) -> Iterator[tuple[str, str, str]]:
    pages = overview.pages
    least = "at least " if overview.pending_is_at_least else ""
    yield "pages", f"{sum(pages.values()):,}", ""
    copies = pages[State.DUPLICATE]
    yield "done", f"{pages[State.DONE]:,}", f"and {_count(copies, 'duplicate')}" if copies else ""
    yield "failed", f"{pages[State.FAILED] + pages[State.UNCERTAIN]:,}", ""
    yield "pending", f"{least}{pages[State.PENDING]:,}", ""
    if overview.scores is not None:
        yield "in doubt", f"{overview.scores.in_doubt:,}", ""
    if overview.months:
        latest = overview.months[-1]
        of = "" if overview.quota is None else f"of {overview.quota:,} "
        yield "calls", f"{latest.total:,}", f"{of}in {latest.month}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _notes_on_states(overview: Overview) -> Iterator[str]:
    if not sum(overview.pages.values()):
        yield "No page yet."
    if overview.unreadable:
        yield f"{_count(overview.unreadable, 'line')} cannot be read: pagemill verify."


def _days(overview: Overview) -> Panel:
    if not overview.days:
        return Panel("New by night", ("No page has ended yet.",), Markup())
    bins = DayBins.covering(min(overview.days), max(overview.days))
    note = f"Each page by its last record, in the time zone {overview.calendar.timezone}."
    undated = (f"Without a time: {_count(overview.undated, 'page')}.",) if overview.undated else ()
    return Panel(f"New by {bins.unit}", (note, *undated), charts.draw_days(overview, bins))


def _calls(overview: Overview) -> Iterator[Panel]:
    if overview.ledger_problem is not None:
        yield Panel("Calls", (one_line(overview.ledger_problem),), Markup())
        return
    if not overview.months:
        yield Panel("Calls", ("No ledger: no call was counted.",), Markup())
        return
    if any(month.days for month in overview.months):
        latest = overview.months[-1]
        here = f"Of this key, whatever the workspace; in {latest.month}, {_count(latest.here, 'call')} of this one."
        yield Panel("Calls against the quota", (here,), charts.draw_calls(overview))
    if len(overview.months) > 1 or not overview.months[0].days:
        older = len(overview.months) - charts.MONTHS_LISTED
        notes = (f"Without {_count(older, 'earlier month')}.",) if older > 0 else ()
        yield Panel("Calls by month", notes, charts.draw_months(overview))


def _rates(overview: Overview) -> Iterator[Panel]:
    if not overview.rates:
        return
    yield Panel("Throughput", ("Pages that ended, per time in which any did.",), charts.draw_throughput(overview.rates))
    if any(rate.median_ms is not None for rate in overview.rates):
        note = "From the start of a page's preparation to its reply."
        yield Panel("Time per page", (note,), charts.draw_latency(overview.rates))


def _failures(overview: Overview) -> Panel:
    if not overview.failures:
        return Panel("Failures by class", ("No failure stands.",), Markup())
    left = sum(each.left for each in overview.failures)
    notes = (f"Left to pagemill retry: {_count(left, 'page')}.",) if left else ()
    return Panel(
        "Failures by class", ("What stands now, without what was retried well.", *notes), charts.draw_failures(overview)
    )


def _quality(overview: Overview) -> Panel:
    scores = overview.scores
    if scores is None:
        return Panel("Quality", ("The service does not judge its texts.",), Markup())
    note = f"In doubt, so worth a look: {scores.in_doubt:,} of {_count(sum(scores.bins), 'text')}."
    return Panel("Quality", (note,), charts.draw_scores(scores))


def _lengths(overview: Overview) -> Panel:
    if not overview.lengths:
        return Panel("Text lengths", ("No text yet.",), Markup())
    empty = overview.lengths.get(0, 0)
    note = "In characters." if not empty else f"In characters. Empty: {_count(empty, 'text')}."
    return Panel("Text lengths", (note,), charts.draw_lengths(overview))
