"""A plan as one page of HTML that loads nothing: numbers, tables, and charts as inline SVG."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from pipeline.batch.planning.plan import Plan
from pipeline.cli.plan_text import describe_bytes, describe_duration, describe_next_run, sizes
from pipeline.inputs.kinds import describe_ignored
from pipeline.records import State
from pipeline.wire import replace_surrogates

_FORMATS: Final = 12
_DEFAULT_TIER: Final = "basic"
"""Whose months are drawn when no tier is set."""

_STYLE: Final = """
:root { color-scheme: light dark; --page: #fbfbfa; --ink: #1d2125; --soft: #5a6169; --line: #dcdfe3; --bar: #2a6fb0; }
@media (prefers-color-scheme: dark) {
  :root { --page: #16191d; --ink: #e8eaed; --soft: #a3abb5; --line: #33393f; --bar: #6aa9e6; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 24px 16px 48px; max-width: 1080px; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; margin: 0 0 8px; }
p { margin: 0 0 8px; color: var(--soft); overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 20px 0 0;
  grid-column: 1 / -1; }
dl div { border-top: 2px solid var(--line); padding-top: 6px; }
dt { color: var(--soft); font-size: 0.875rem; }
dd { margin: 0; font-size: 1.5rem; font-variant-numeric: tabular-nums; }
main { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); gap: 32px; }
section { min-width: 0; }
section.wide { grid-column: 1 / -1; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 8px 4px 0; border-bottom: 1px solid var(--line); text-align: right; font-weight: 400; }
th:first-child { text-align: left; overflow-wrap: anywhere; }
thead th, thead td { border-bottom: 0; }
thead th { color: var(--soft); font-size: 0.875rem; vertical-align: bottom; }
td.chart { width: 55%; padding-right: 12px; }
table + p { margin-top: 8px; }
td:last-child { white-space: nowrap; }
td:last-child, th:last-child { padding-right: 0; }
svg { display: block; width: 100%; height: 14px; }
rect { fill: var(--bar); }
"""


def render_plan(plan: Plan, inputs: Sequence[str]) -> str:
    """Return the page.

    Args:
        plan: What is shown.
        inputs: The INPUTs, for the heading.
    """
    title = f"Plan for {replace_surrogates(', '.join(inputs))}"
    tier = plan.tier or _DEFAULT_TIER
    by_format = sorted(plan.counts.formats.items(), key=lambda item: (-item[1].pages, item[0]))
    formats = [(name, count.pages) for name, count in by_format[:_FORMATS]]
    if rest := by_format[_FORMATS:]:
        formats.append((f"{len(rest)} others", sum(count.pages for _, count in rest)))
    forecast = plan.forecasts[tier]
    first = ", the first twelve" if (forecast.months or 0) > len(forecast.calls) else ""
    sections = (
        _chart("Pages by format", "pages", formats),
        _chart("Files by size", "files", [(_size_name(bound), number) for bound, number in sizes(plan)]),
        _chart(f"Calls by month, tier {tier}{first}", "calls", forecast.calls.items()),
        _pages(plan),
        _tiers(plan),
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<header>\n"
        f"<h1>{escape(title)}</h1>\n<p>{escape(_remark(plan))}</p>\n</header>\n"
        f"<main>\n{_figures(plan)}\n{''.join(sections)}</main>\n</body>\n</html>\n"
    )


def _remark(plan: Plan) -> str:
    kind = "The calls are those of the next run." if plan.exact else "Calls are at most these: copies count, too."
    stop = "" if plan.run_stop is None else f" The next run: {describe_next_run(plan)}."
    return f"{plan.begun[:16].replace('T', ' ')} UTC. {kind}{stop}"


def _figures(plan: Plan) -> str:
    counts = plan.counts
    shown = [
        ("calls", f"{counts.calls:,}"),
        ("pages", f"{counts.pages.total():,}"),
        ("files", f"{counts.files.total():,}"),
        ("to send", describe_bytes(counts.bytes_to_send)),
        ("results", "unknown" if plan.results_bytes is None else describe_bytes(plan.results_bytes)),
        ("time", "unknown" if plan.duration_s is None else describe_duration(plan.duration_s)),
    ]
    cells = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in shown)
    return f"<dl>{cells}</dl>"


def _chart(title: str, unit: str, values: Iterable[tuple[str, int]]) -> str:
    rows = list(values)
    most = max((number for _, number in rows), default=0) or 1
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td class="chart">{_bar(number / most)}</td><td>{number:,}</td></tr>\n'
        for name, number in rows
    )
    head = f'<thead><tr><td></td><td></td><th scope="col">{escape(unit)}</th></tr></thead>'
    table = f"<table>{head}<tbody>\n{body}</tbody></table>" if rows else "<p>none</p>"
    return f"<section><h2>{escape(title)}</h2>{table}</section>\n"


def _bar(share: float) -> str:
    """Return a bar of this share of the width, stretched by the column; the number beside it says the same."""
    return (
        '<svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect width="{100 * share:.2f}" height="10"/></svg>'
    )


def _pages(plan: Plan) -> str:
    counts = plan.counts
    rows = [("to send" if state is State.PENDING else state.value, counts.pages[state]) for state in reversed(State)]
    notes = []
    if counts.conversions:
        notes.append(f"{counts.conversions:,} pages are converted.")
    if counts.unreadable:
        notes.append(f"Sure to fail, without a call: {describe_ignored(counts.unreadable)}.")
    if counts.ignored:
        notes.append(f"Ignored files: {describe_ignored(counts.ignored)}.")
    text = "".join(f"<p>{escape(note)}</p>" for note in notes)
    return _chart("Pages by state", "pages", [row for row in rows if row[1]]).replace("</section>", f"{text}</section>")


def _tiers(plan: Plan) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in (_count(each.per_month, "any"), _count(each.left, "any")))
        + f"<td>{_count(each.months, 'never')}</td><td>{escape(each.finish or 'never')}</td></tr>\n"
        for name, each in plan.forecasts.items()
    )
    names = ("tier", "per month", "left now", "months", "finish")
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    return (
        f'<section class="wide"><h2>Months by tier</h2><table><thead><tr>{head}</tr></thead>'
        f"<tbody>\n{rows}</tbody></table></section>\n"
    )


def _count(number: int | None, none: str) -> str:
    return none if number is None else f"{number:,}"


def _size_name(bound: int | None) -> str:
    return "larger" if bound is None else f"below {describe_bytes(bound).replace('.0', '')}"
