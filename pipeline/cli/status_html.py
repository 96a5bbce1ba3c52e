"""Where a workspace stands, as one page of HTML that loads nothing."""

from collections.abc import Iterator

from pipeline.cli.status_text import Standing, find_obstacles
from pipeline.report.overview import Overview
from pipeline.report.overview_html import render_overview
from pipeline.web.names import shown
from pipeline.web.pages import render


def render_status(standing: Standing, overview: Overview) -> str:
    """Return the page.

    Args:
        standing: Where the workspace stands.
        overview: Its numbers.
    """
    return render(
        "status.html",
        title=shown(standing.workspace.absolute().name or str(standing.workspace)),
        lead=list(_lead(standing, overview)),
        obstacles=find_obstacles(standing),
        overview=render_overview(overview),
    )


def _lead(standing: Standing, overview: Overview) -> Iterator[str]:
    run, live = standing.run_file, standing.live
    yield f"{overview.taken:%Y-%m-%d %H:%M} {overview.calendar.timezone}. Service: {shown(run.service)}."
    if live is not None:
        yield f"A run is under way since {_minute(run.started)}: {live.pages_per_s:.2g} pages/s, {live.calls:,} calls."
    elif run.finished is not None:
        yield f"The last run ended {_minute(run.finished)} UTC with exit {run.exit_code}."
    forecast = standing.forecast
    if forecast is not None and standing.calls_to_make and forecast.finish is not None:
        yield f"{standing.calls_to_make:,} calls are left; they can be made by {forecast.finish} at the earliest."


def _minute(moment: str | None) -> str:
    return "an unknown time" if moment is None else moment[:16].replace("T", " ")
