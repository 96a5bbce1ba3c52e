"""Charts as inline SVG, without a script; pure.

Positions and sizes are percentages, so a chart fills its column while its text keeps its size, from phone to print;
only lines are in a stretched coordinate system. The colours are variables of the style (`charts.css`). A series is
known by its pattern, dash or marker as well as by its colour, and each chart has a table of its numbers.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from pipeline.web.axes import Tick, nice_ticks, short_number
from pipeline.web.tables import Table, percent, render_table

_GAP: Final = 0.16
"""Share of a column's place that stays empty; none does where columns are many, and gaps would be a grey veil."""

_MOST_GAPS: Final = 64

_MOST_MARKERS: Final = 40
"""With more points, only those that no line leads to have a marker."""

_LINE_UNITS: Final = 1000
"""Width and height of the stretched coordinate system of lines."""


@dataclass(frozen=True, slots=True)
class Chart:
    """What a chart says about itself.

    Attributes:
        name: Distinguishes its elements from those of other charts of the page: letters, digits and hyphens.
        title: Its name for readers who do not see it.
        summary: What it shows, in a sentence.
        unit: Of the vertical axis.
        table: Its numbers.
        ticks: Labels of the horizontal axis.
        whole: True when the values are counts.
    """

    name: str
    title: str
    summary: str
    unit: str
    table: Table
    ticks: Sequence[Tick] = ()
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Series:
    """Values of one kind.

    Attributes:
        name: In the legend.
        values: One per column, >= 0.
        look: 1 to 5: its pattern and colour.
    """

    name: str
    values: Sequence[float]
    look: int


@dataclass(frozen=True, slots=True)
class Line:
    """A line.

    Attributes:
        name: In the legend.
        pieces: Its parts, each of points (position, value); positions are 0 to 1, values >= 0.
        look: 1 to 5: its colour, dash and marker.
    """

    name: str
    pieces: Sequence[Sequence[tuple[float, float]]]
    look: int


@dataclass(frozen=True, slots=True)
class Mark:
    """A value that a chart points out: a position (0 to 1) in columns, a height in lines."""

    value: float
    label: str


@dataclass(frozen=True, slots=True)
class Column:
    """The place of a column.

    Attributes:
        begin: Position of its left edge, 0 to 1.
        end: Position of its right edge.
        label: What it stands for, shown when a pointer rests on it.
    """

    begin: float
    end: float
    label: str


def columns(chart: Chart, places: Sequence[Column], series: Sequence[Series], mark: Mark | None = None) -> Markup:
    """Return columns, with several series stacked from the first one up.

    Args:
        chart: What it says about itself.
        places: Of the columns.
        series: With a value per column; those without any value above 0 are left out.
        mark: A position to point out with a vertical line.
    """
    series = [each for each in series if any(each.values)]
    totals = [sum(values) for values in zip(*(each.values for each in series), strict=True)]
    scale = nice_ticks(max(totals, default=0), whole=chart.whole)
    gap = _GAP / 2 if len(places) <= _MOST_GAPS else 0.0
    drawn = Markup().join(
        _column(chart.name, place, [(each, each.values[number]) for each in series], scale[-1], gap)
        for number, place in enumerate(places)
    )
    if mark is not None:
        at = percent(mark.value)
        is_right = mark.value > 0.5
        drawn += Markup(
            '<line class="mark" x1="{0}%" x2="{0}%" y1="0%" y2="100%"/>'
            '<text class="mark-label {1}" x="{0}%" y="0%" dx="{2}" dy="12">{3}</text>'
        ).format(at, "end" if is_right else "start", -6 if is_right else 6, mark.label)
    legend = _legend([(each.name, _swatch(chart, each.look)) for each in series]) if len(series) > 1 else Markup()
    return legend + _frame(chart, scale, drawn, [each.look for each in series]) + _folded(chart.table)


def lines(chart: Chart, series: Sequence[Line], level: Mark | None = None) -> Markup:
    """Return lines over a common axis.

    Args:
        chart: What it says about itself.
        series: The lines.
        level: A height to point out with a horizontal line, such as a limit.
    """
    values = [value for each in series for piece in each.pieces for _, value in piece]
    scale = nice_ticks(max([*values, *([level.value] if level else [])], default=0), whole=chart.whole)
    drawn = Markup().join(_line(each, scale[-1]) for each in reversed(series))  # the first one on top
    if level is not None:
        at = percent(1 - level.value / scale[-1])
        drawn += Markup(
            '<line class="mark" x1="0%" x2="100%" y1="{0}%" y2="{0}%"/>'
            '<text class="mark-label end" x="100%" y="{0}%" dy="-5">{1}</text>'
        ).format(at, level.label)
    legend = _legend([(each.name, _line_swatch(each.look)) for each in series]) if len(series) > 1 else Markup()
    return legend + _frame(chart, scale, drawn, []) + _folded(chart.table)


def _folded(table: Table) -> Markup:
    rows = "1 row" if len(table.rows) == 1 else f"{len(table.rows):,} rows"
    return Markup("<details><summary>Numbers, {}</summary>\n{}</details>").format(rows, render_table(table))


def _column(name: str, place: Column, values: Iterable[tuple[Series, float]], top: float, gap: float) -> Markup:
    """Return one column, and over its whole height a target for the pointer that says the numbers."""
    full = place.end - place.begin
    x, width = percent(place.begin + gap * full), percent(full - 2 * gap * full)
    parts, said, base = [], [], 0.0
    for series, value in values:
        if value:
            base += value
            parts.append(
                Markup(
                    '<rect class="part-{0}" fill="url(#{1}-{0})" x="{2}%" y="{3}%" width="{4}%" height="{5}%"/>'
                ).format(series.look, name, x, percent(1 - base / top), width, percent(value / top))
            )
            said.append(f"{_number(value)} {series.name}")
    if not said:
        return Markup()
    target = Markup('<rect class="target" x="{}%" y="0%" width="{}%" height="100%"><title>{}: {}</title></rect>\n')
    return Markup().join(parts) + target.format(percent(place.begin), percent(full), place.label, ", ".join(said))


def _line(line: Line, top: float) -> Markup:
    total = sum(map(len, line.pieces))
    paths, markers = [], []
    for piece in line.pieces:
        if len(piece) > 1:
            points = " ".join(f"{_LINE_UNITS * x:.1f},{_LINE_UNITS * (1 - y / top):.1f}" for x, y in piece)
            paths.append(Markup('<polyline class="line-{}" points="{}"/>').format(line.look, points))
        if len(piece) == 1 or total <= _MOST_MARKERS:
            markers += [_marker(line.look, x, y / top) for x, y in piece]
    plot = Markup(
        '<svg viewBox="0 0 {0} {0}" preserveAspectRatio="none" width="100%" height="100%" overflow="visible">{1}</svg>'
    ).format(_LINE_UNITS, Markup().join(paths))
    return plot + Markup().join(markers)


def _marker(look: int, x: float, height: float) -> Markup:
    """Return a dot for odd looks, a square for even ones."""
    if look % 2:
        return Markup('<circle class="marker-{}" cx="{}%" cy="{}%" r="3"/>').format(
            look, percent(x), percent(1 - height)
        )
    return Markup('<rect class="marker-{}" x="{}%" y="{}%" width="8" height="8" transform="translate(-4 -4)"/>').format(
        look, percent(x), percent(1 - height)
    )


def _frame(chart: Chart, scale: Sequence[float], drawn: Markup, looks: Sequence[int]) -> Markup:
    """Return the picture: grid and labels, then what is drawn."""
    grid = Markup().join(
        Markup(
            '<line class="grid" x1="0%" x2="100%" y1="{0}%" y2="{0}%"/>'
            '<text class="value" x="0%" y="{0}%" dx="-8" dy="4">{1}</text>'
        ).format(percent(1 - value / scale[-1]), short_number(value))
        for value in scale
    )
    labels = Markup().join(
        Markup('<text class="middle" x="{}%" y="100%" dy="20">{}</text>').format(percent(tick.position), tick.label)
        for tick in chart.ticks
    )
    return Markup(
        '<svg class="chart" role="img" aria-labelledby="{0}-title {0}-summary">'
        '<title id="{0}-title">{1}</title><desc id="{0}-summary">{2}</desc>{3}\n{4}'
        '<text class="unit" x="0%" y="0%" dx="-8" dy="-12">{5}</text>\n{6}\n{7}</svg>\n'
    ).format(chart.name, chart.title, chart.summary, _patterns(chart.name, looks), grid, chart.unit, drawn, labels)


_PATTERNS: Final = {
    1: "",
    2: '<path d="M-1 1 l2 -2 M0 6 l6 -6 M5 7 l2 -2"/>',
    3: '<path d="M0 3 h6"/>',
    4: '<path d="M0 0 l6 6 M6 0 l-6 6"/>',
    5: '<path d="M3 0 v6"/>',
}
"""By look: the strokes on a tile of 6 px, in the colour of the paper."""


def _patterns(name: str, looks: Iterable[int]) -> Markup:
    tiles = Markup().join(
        Markup(
            '<pattern id="{0}-{1}" class="pattern-{1}" width="6" height="6" patternUnits="userSpaceOnUse">'
            '<rect width="6" height="6"/>{2}</pattern>'
        ).format(name, look, Markup(_PATTERNS[look]))  # noqa: S704 - a constant
        for look in looks
    )
    return Markup("<defs>{}</defs>").format(tiles) if tiles else tiles


def _swatch(chart: Chart, look: int) -> Markup:
    return Markup(
        '<svg class="swatch" aria-hidden="true" focusable="false"><rect class="part-{0}" fill="url(#{1}-{0})" '
        'width="100%" height="100%"/></svg>'
    ).format(look, chart.name)


def _line_swatch(look: int) -> Markup:
    return Markup(
        '<svg class="swatch line" aria-hidden="true" focusable="false"><line class="line-{}" x1="0" x2="100%" y1="50%" '
        'y2="50%"/>{}</svg>'
    ).format(look, _marker(look, 0.5, 0.5))


def _legend(entries: Iterable[tuple[str, Markup]]) -> Markup:
    items = Markup().join(Markup("<li>{}{}</li>").format(swatch, name) for name, swatch in entries)
    return Markup('<ul class="legend">{}</ul>\n').format(items)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:,.3g}"
