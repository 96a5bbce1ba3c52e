"""`pagemill status`: where a workspace stands, when it will be finished, and what is in the way."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import click
import msgspec

from pipeline.batch.planning.forecast import forecast
from pipeline.billing import Calendar, reset_time
from pipeline.cli.console import print_json, print_text
from pipeline.cli.help import GroupedOption
from pipeline.cli.help import command as as_command
from pipeline.cli.options import config_option, json_option, load
from pipeline.cli.page_files import require_page_file
from pipeline.cli.status_html import render_status
from pipeline.cli.status_text import Standing, describe_status, status_fields
from pipeline.config import ApiConfig, BudgetConfig, Config, RunConfig
from pipeline.errors import LedgerError, UsageError
from pipeline.ledger.places import place_named
from pipeline.remote.endpoint import choose_service
from pipeline.report.overview import collect_overview
from pipeline.storage.files import replace_file
from pipeline.verify.audit import count_pages
from pipeline.workspace.live_progress import read_live_progress
from pipeline.workspace.run_file import RunFile, last_metered_run, require_workspace


def show_status(workspace: Path, *, as_json: bool, config: Config | None = None, html: Path | None = None) -> int:
    """Print where a workspace stands; locks nothing, and changes nothing in it.

    Args:
        workspace: The directory.
        as_json: Print JSON.
        config: All settings; limits and nights are those of the last run.
        html: A file that is replaced by the overview as a page; None for none.

    Raises:
        UsageError: there is no workspace, or a page must not replace the file.
        StorageError: the workspace cannot be read, or the page not be written.
    """
    if html is not None:
        require_page_file(html)
    now, config = datetime.now(UTC), config if config is not None else Config()
    standing = find_standing(workspace, config, now)
    if html is not None:
        replace_file(html, _draw(standing, config, now).encode())
    if as_json:
        print_json(status_fields(standing))
    else:
        print_text(describe_status(standing))
    return 0


def _draw(standing: Standing, config: Config, now: datetime) -> str:
    budget = last_settings(standing.run_file, "budget", config.budget)
    if config.budget.ledger is not None:  # the URL of a database, which run.json has without its password
        budget = msgspec.structs.replace(budget, ledger=config.budget.ledger)
    is_live = standing.live is not None
    overview = collect_overview(standing.workspace, standing.run_file, budget, now, is_live=is_live)
    return render_status(standing, overview)


def find_standing(workspace: Path, config: Config, now: datetime) -> Standing:
    """Return where a workspace stands.

    Args:
        workspace: The directory.
        config: All settings, for those that the last run did not note.
        now: Aware.

    Raises:
        UsageError: there is no workspace.
        StorageError: it cannot be read.
    """
    run_file = require_workspace(workspace)
    live = None if run_file.finished is not None else read_live_progress(workspace, now)
    standing = Standing(
        workspace,
        run_file,
        count_pages(workspace, is_live=live is not None),
        live,
        is_root_missing=run_file.root is not None and not Path(run_file.root).exists(),
        other_service=_find_other_service(run_file, config),
    )
    return _add_month(standing, config, now)


def _add_month(standing: Standing, config: Config, now: datetime) -> Standing:
    metered = last_metered_run(standing.run_file)
    if metered is None or metered.service != standing.run_file.service:
        return standing
    place = place_named(metered.ledger, config.budget.ledger)
    budget = last_settings(standing.run_file, "budget", config.budget)
    run = last_settings(standing.run_file, "run", config.run)
    calendar = Calendar(budget.timezone, budget.reset_day)
    try:
        if not place.exists():
            return standing
        usage = place.peek_usage(calendar, budget.limit, now)
    except LedgerError as exc:
        return replace(standing, problem=str(exc))
    expected = forecast(
        standing.calls_to_make,
        budget.limit,
        usage.used,
        now=now,
        calendar=calendar,
        per_night=run.max_calls,
        spread=run.spread,
    )
    return replace(standing, usage=usage, resets=reset_time(usage.month, calendar), forecast=expected)


def _find_other_service(run_file: RunFile, config: Config) -> str | None:
    """Return the service whose address settings or environment give here, when it is not the workspace's.

    Without an address there is none: a shell that only looks seldom has the flags and the key of the job.
    """
    if config.api.url is None:
        return None
    try:
        service = choose_service(Config(api=ApiConfig(url=config.api.url)), {})
    except UsageError:
        return None
    return None if service.name == run_file.service else service.name


Settings = TypeVar("Settings", BudgetConfig, RunConfig)


def last_settings(run_file: RunFile, section: str, default: Settings) -> Settings:
    """Return a section of the last run's settings; the default when another release has written them."""
    try:
        return msgspec.convert(run_file.section(section), type(default), strict=False)
    except msgspec.ValidationError:
        return default


@as_command(
    "status",
    click.Argument(["workspace"], type=click.Path(path_type=Path)),
    config_option(),
    json_option(),
    GroupedOption(
        ["--html"],
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Write the overview with charts, as one page of HTML that loads nothing; reads every record once.",
    ),
    help="Show how many pages of a workspace are in which state, the month's calls, when it will be finished and what "
    "is in the way; also while a run fills it.",
    examples=(
        "pagemill status out",
        "pagemill status out --json | jq .pending",
        "pagemill status out --html overview.html",
    ),
    exit_codes=(0, 1, 2),
)
def command(workspace: Path, config_file: Path | None, *, as_json: bool, html: Path | None) -> int:
    """Run `pagemill status`."""
    return show_status(workspace, as_json=as_json, config=load(config_file, {}), html=html)
