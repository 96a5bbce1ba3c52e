"""`pagemill retry`: recognise the pages of a workspace that failed, whether or not the next run would try them."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from pipeline.batch.job import Job
from pipeline.batch.retry import RetrySelection
from pipeline.cli.help import GroupedOption
from pipeline.cli.help import command as as_command
from pipeline.cli.running import (
    call_options,
    limit_options,
    make_job,
    operation_options,
    output_options,
    run_and_report,
)
from pipeline.config.duration import parse_duration
from pipeline.errors import BadManifestEntryError, UsageError, page_errors
from pipeline.records import rfc3339
from pipeline.workspace.run_file import require_workspace

_PAGES = "Pages"


def choose_pages(errors: Iterable[str], older_than: str | None, now: datetime) -> RetrySelection:
    """Return which failed pages are retried.

    Args:
        errors: Classes of failures; none stands for all but uncertain pages.
        older_than: Least age of a failure: seconds, or a number with s, m, h or d.
        now: The moment from which the age counts.

    Raises:
        UsageError: a class is unknown, or the age is no duration.
    """
    known = sorted({error.name for error in page_errors()} - {BadManifestEntryError.name})
    for error in errors:
        if error not in known:
            raise UsageError(f"--error {error}: no class of failures; there are {', '.join(known)}")
    if older_than is None:
        return RetrySelection(frozenset(errors))
    try:
        age = timedelta(seconds=parse_duration(older_than))
        return RetrySelection(frozenset(errors), rfc3339(now - age))
    except (ValueError, OverflowError) as exc:
        raise UsageError(f"--older-than {older_than}: no duration such as 3600, 12h or 30d") from exc


@as_command(
    "retry",
    click.Argument(["workspace"], type=click.Path(path_type=Path, file_okay=False), metavar="OUT"),
    GroupedOption(
        ["errors", "--error"],
        multiple=True,
        metavar="CLASS",
        help="Only failures of this class, such as rejected; may be repeated.  [default: all but uncertain]",
        heading=_PAGES,
    ),
    GroupedOption(
        ["--older-than"],
        metavar="TIME",
        help="Only failures of at least this age: seconds, or a number with s, m, h or d.",
        heading=_PAGES,
    ),
    *limit_options(),
    *call_options(),
    *output_options(),
    *operation_options(),
    help="Recognise the pages of OUT that failed, and no other: also those that a run leaves alone because the service "
    "rejected them or they failed in three runs. The files are looked for below the first run's input root.",
    examples=(
        "pagemill retry out --tier basic",
        "pagemill retry out --error rejected --tier basic     # after a proxy's size limit was raised",
        "pagemill retry out --error attempts-exhausted --older-than 2d --tier basic",
    ),
    exit_codes=(0, 1, 2, 3, 5, 7, 8, 10, 11, 12, 129, 130, 143),
)
def command(
    workspace: Path, errors: tuple[str, ...], older_than: str | None, config_file: Path | None, **options: Any
) -> int:
    """Run `pagemill retry`: print the summary and return the exit code."""

    def prepare() -> Job:
        require_workspace(workspace)
        selection = choose_pages(errors, older_than, datetime.now(UTC))
        return replace(make_job(workspace, config_file, options), retry=selection)

    return run_and_report(prepare, as_json=options["as_json"], when_nothing="no failed page to retry")
