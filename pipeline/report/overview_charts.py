"""The charts of an overview; pure."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import accumulate, pairwise
from typing import Final

from markupsafe import Markup

from pipeline.ledger.base import MonthCalls
from pipeline.records import State
from pipeline.report.day_bins import DayBins, to_midnight
from pipeline.report.overview import SCORE_BINS, Overview, Scores
from pipeline.report.tallies import EPOCH, Rate, length_bounds
from pipeline.web.axes import Tick, TimeAxis, name_day, short_number
from pipeline.web.charts import Chart, Column, Line, Mark, Series, columns, lines
from pipeline.web.tables import Table, bars

_LOOKS: Final = {
    State.DONE: 1,
    State.DUPLICATE: 2,
    State.SKIPPED: 3,
    State.FAILED: 4,
    State.UNCERTAIN: 5,
}
_MONTHS_DRAWN: Final = 6
MONTHS_LISTED: Final = 12
_LEAST_RATES: Final = 8
_LEAST_CLASSES: Final = 8
_CLASSES_LISTED: Final = 12


def draw_states(overview: Overview) -> Markup:
    """Return the pages by state; each state has the pattern that it has in the other charts."""
    shown = [(state, number) for state, number in overview.pages.items() if number]
    if not shown:
        return Markup()
    return bars(
        [(state.value, number) for state, number in shown], "pages", looks=[_LOOKS.get(state, 3) for state, _ in shown]
    )


def draw_days(overview: Overview, bins: DayBins) -> Markup:
    """Return the pages by night, or by longer times, stacked by state."""
    counts = {state: [0] * (len(bins.edges) - 1) for state in _LOOKS}
    for day, states in overview.days.items():
        for state, number in states.items():
            counts[state][bins.find(day)] += number
    names, axis = list(bins.names()), bins.axis()
    places = _columns(
        axis, [(to_midnight(a), to_midnight(b)) for a, b in zip(bins.edges, bins.edges[1:], strict=False)], names
    )
    used = [state for state in _LOOKS if any(counts[state])]
    rows = [
        (name, *(f"{counts[state][number]:,}" for state in used))
        for number, name in enumerate(names)
        if any(counts[state][number] for state in used)
    ]
    chart = Chart(
        name="days",
        title=f"Pages by {bins.unit}",
        summary=f"Columns from {names[0]} to {names[-1]}, stacked by state.",
        unit="pages",
        table=Table((bins.unit, *(state.value for state in used)), rows),
        ticks=_centred(axis, places),
    )
    return columns(chart, places, [Series(state.value, counts[state], look) for state, look in _LOOKS.items()])


def draw_throughput(rates: Sequence[Rate]) -> Markup:
    """Return the pages per minute or hour over time."""
    axis, unit_s, unit = _axis_of(rates), *_unit_of(rates)
    names = [_name_span(rate) for rate in rates]
    values = [rate.pages * unit_s / rate.active_s for rate in rates]
    places = _columns(axis, [(rate.begin, rate.end) for rate in rates], names)
    rows = zip(names, rates, values, strict=True)
    chart = Chart(
        name="throughput",
        title=f"Pages per {unit}",
        summary=f"Columns over time; the highest is {max(values):,.3g} pages per {unit}.",
        unit=f"per {unit}",
        table=Table(
            ("from", "pages", f"per {unit}"),
            [(name, f"{rate.pages:,}", f"{value:,.1f}") for name, rate, value in rows],
        ),
        ticks=_centred(axis, places),
        whole=False,
    )
    return columns(chart, places, [Series(f"pages per {unit}", values, 1)])


def draw_latency(rates: Sequence[Rate]) -> Markup:
    """Return median and 95th percentile of the pages' durations over time."""
    axis = _axis_of(rates)
    timed = [rate for rate in rates if rate.median_ms is not None and rate.p95_ms is not None]
    unit_ms, unit = (1000, "s") if max(rate.p95_ms or 0 for rate in timed) >= 1000 else (1, "ms")
    medians = [(rate.median_ms or 0) / unit_ms for rate in timed]
    tails = [(rate.p95_ms or 0) / unit_ms for rate in timed]
    chart = Chart(
        name="latency",
        title="Time per page",
        summary=f"Lines over time. The median reaches {max(medians):,.3g} {unit}, the 95th percentile "
        f"{max(tails):,.3g} {unit}.",
        unit="seconds" if unit == "s" else "milliseconds",
        table=Table(
            ("from", f"median, {unit}", f"95th percentile, {unit}"),
            [
                (_name_span(rate), f"{median:,.4g}", f"{tail:,.4g}")
                for rate, median, tail in zip(timed, medians, tails, strict=True)
            ],
        ),
        ticks=axis.ticks(),
        whole=False,
    )
    series = (
        Line("median", _pieces(axis, timed, medians), 1),
        Line("95th percentile", _pieces(axis, timed, tails), 4),
    )
    return lines(chart, series)


def draw_calls(overview: Overview) -> Markup:
    """Return the calls of the last months that have rows, day by day, below the quota."""
    drawn = [month for month in overview.months if month.days][-_MONTHS_DRAWN:]
    spans = [month_span(month, overview.calendar.reset_day) for month in drawn]
    axis = TimeAxis(spans[0][0], spans[-1][1])
    pieces, rows = [], []
    for month, (begin, end) in zip(drawn, spans, strict=True):
        points = list(_climb(month, begin, min(end, max(overview.taken, begin))))
        pieces.append([(axis.position(min(moment, end)), max(0.0, used)) for moment, used in points])
        rows += [(f"{name_day(at - timedelta(days=1))} {at.year}", f"{used:,.0f}") for at, used in points[1:-1]]
    quota = overview.quota
    chart = Chart(
        name="calls",
        title="Calls in the month",
        summary=f"Calls that count in each billing month, day by day; {drawn[-1].total:,} in {drawn[-1].month}."
        + ("" if quota is None else f" The quota is {quota:,}."),
        unit="calls",
        table=Table(("day", "calls so far"), rows),
        ticks=axis.ticks(),
    )
    return lines(chart, [Line("calls", pieces, 1)], None if quota is None else Mark(quota, f"quota {quota:,}"))


def draw_months(overview: Overview) -> Markup:
    """Return the calls of the last months as bars."""
    return bars([(month.month, max(0, month.total)) for month in overview.months[-MONTHS_LISTED:]], "calls")


def draw_failures(overview: Overview) -> Markup:
    """Return the failures that stand, by class."""
    rows = [(each.name, each.pages) for each in overview.failures[:_CLASSES_LISTED]]
    if rest := overview.failures[_CLASSES_LISTED:]:
        rows.append((f"{len(rest)} other classes", sum(each.pages for each in rest)))
    return bars(rows, "pages", looks=[4] * len(rows))


def draw_scores(scores: Scores) -> Markup:
    """Return the distribution of quality, with the threshold below which pages are in doubt."""
    edges = [number / SCORE_BINS for number in range(SCORE_BINS + 1)]
    names = [f"{low:.2f} to {high:.2f}" for low, high in pairwise(edges)]
    doubtful = round(scores.threshold * SCORE_BINS)
    is_edge = abs(scores.threshold * SCORE_BINS - doubtful) < 1e-6
    below = [number if place < doubtful and is_edge else 0 for place, number in enumerate(scores.bins)]
    above = [number - low for number, low in zip(scores.bins, below, strict=True)]
    chart = Chart(
        name="quality",
        title="Quality of the texts",
        summary=f"Columns by score from 0 to 1; {scores.in_doubt:,} texts are in doubt, below {scores.threshold:g}.",
        unit="pages",
        table=Table(
            ("score", "pages"),
            [(name, f"{number:,}") for name, number in zip(names, scores.bins, strict=True) if number],
        ),
        ticks=[Tick(value / 4, f"{value / 4:g}") for value in range(5)],
    )
    places = [Column(low, high, name) for (low, high), name in zip(pairwise(edges), names, strict=True)]
    series = (Series("in doubt", below, 4), Series("not in doubt" if is_edge else "texts", above, 1))
    return columns(chart, places, series, Mark(scores.threshold, f"threshold {scores.threshold:g}"))


def draw_lengths(overview: Overview) -> Markup:
    """Return the distribution of the texts' lengths, in classes that grow with them."""
    high = max(*overview.lengths, _LEAST_CLASSES - 1)
    low = min(*overview.lengths, high - _LEAST_CLASSES + 1)
    classes = range(low, high + 1)
    values = [overview.lengths.get(number, 0) for number in classes]
    names = [_name_length(number) for number in classes]
    width = 1 / len(classes)
    places = [Column(place * width, (place + 1) * width, f"{name} characters") for place, name in enumerate(names)]
    chart = Chart(
        name="lengths",
        title="Lengths of the texts",
        summary=f"Columns by number of characters, in classes from {names[0]} to {names[-1]}.",
        unit="texts",
        table=Table(("characters", "texts"), [(name, f"{n:,}") for name, n in zip(names, values, strict=True) if n]),
        ticks=[
            Tick((place + 0.5) * width, short_number(length_bounds(number)[0]))
            for place, number in enumerate(classes)
            if number < 2 or number % 3 == 2
        ],
    )
    return columns(chart, places, [Series("texts", values, 1)])


def month_span(month: MonthCalls, reset_day: int) -> tuple[datetime, datetime]:
    """Return the first moment of a billing month, and that of the next one, in its time zone."""
    year, number = int(month.month[:4]), int(month.month[5:])
    begin = datetime(year, number, reset_day)  # noqa: DTZ001 - local time
    following = begin.replace(day=1) + timedelta(days=31)
    return begin, following.replace(day=reset_day)


def _climb(month: MonthCalls, begin: datetime, until: datetime) -> Iterator[tuple[datetime, float]]:
    """Yield the calls so far at the month's begin, after each day with calls, and at a later moment."""
    yield begin, month.base
    days = sorted(month.days)
    totals = list(accumulate((month.days[day] for day in days), initial=month.base))
    previous = begin
    for day, before, after in zip(days, totals, totals[1:], strict=False):
        if (midnight := max(begin, to_midnight(day))) > previous:
            yield midnight, before
        previous = midnight + timedelta(days=1)
        yield previous, after
    yield max(previous, until), totals[-1]


def _axis_of(rates: Sequence[Rate]) -> TimeAxis:
    """Return the axis of a timeline; one with few bins begins earlier."""
    begin, end = rates[0].begin, rates[-1].end
    width = max(rates[0].end - rates[0].begin, timedelta(minutes=1))
    room = end - EPOCH
    return TimeAxis(min(begin, end - min(room, _LEAST_RATES * width)), end)


def _unit_of(rates: Sequence[Rate]) -> tuple[int, str]:
    return (3600, "hour") if max(rate.active_s for rate in rates) >= 3600 else (60, "minute")


def _pieces(axis: TimeAxis, rates: Sequence[Rate], values: Sequence[float]) -> list[list[tuple[float, float]]]:
    """Return the points at the middles of the bins, in pieces of consecutive bins."""
    pieces: list[list[tuple[float, float]]] = []
    end = None
    for rate, value in zip(rates, values, strict=True):
        if rate.begin != end:
            pieces.append([])
        pieces[-1].append((axis.position(rate.begin + (rate.end - rate.begin) / 2), value))
        end = rate.end
    return pieces


def _columns(axis: TimeAxis, spans: Sequence[tuple[datetime, datetime]], names: Sequence[str]) -> list[Column]:
    return [
        Column(axis.position(begin), axis.position(end), name) for (begin, end), name in zip(spans, names, strict=True)
    ]


def _centred(axis: TimeAxis, places: Sequence[Column]) -> list[Tick]:
    """Return the axis's labels: under the middle of its column where each one names a column, else at its moment."""
    width = places[0].end - places[0].begin
    ticks = axis.ticks()
    if any(abs(tick.position / width - round(tick.position / width)) > 1e-6 for tick in ticks):
        return ticks
    return [Tick(tick.position + width / 2, tick.label) for tick in ticks if tick.position < 1 - 1e-9]


def _name_span(rate: Rate) -> str:
    """Return the begin of a bin: with the time of day when it is shorter than a day, with the year."""
    clock = f" {rate.begin:%H:%M}" if rate.end - rate.begin < timedelta(days=1) else ""
    return f"{name_day(rate.begin)} {rate.begin.year}{clock}"


def _name_length(number: int) -> str:
    low, following = length_bounds(number)
    return f"{low:,}" if following == low + 1 else f"{low:,} to {following - 1:,}"
