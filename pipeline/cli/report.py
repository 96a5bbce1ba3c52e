"""`pagemill report`: a folder for a browser, with the run in numbers, and each page beside its text."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NoReturn

import click
from tqdm import tqdm

from pipeline.cli.console import print_json
from pipeline.cli.help import GroupedOption
from pipeline.cli.help import command as as_command
from pipeline.cli.options import config_option, flag, json_option, load
from pipeline.cli.status import last_settings
from pipeline.config import Config
from pipeline.report.build import Built, ReportJob, build_report
from pipeline.report.overview import collect_overview
from pipeline.report.pictures import PictureChoice
from pipeline.workspace.live_progress import read_live_progress
from pipeline.workspace.run_file import require_workspace

_DEFAULT: Final = "report"
"""Name of the report's folder within the workspace, which no run walks."""


def write_report(
    workspace: Path, destination: Path | None, config: Config, *, choice: PictureChoice, as_json: bool, bar: bool
) -> int:
    """Build the report of a workspace, and print what it has.

    Args:
        workspace: The directory.
        destination: The report's folder; None for the default one.
        config: All settings, for those that the last run did not note.
        choice: Which pictures it has.
        as_json: Print JSON.
        bar: Draw a progress bar.

    Raises:
        UsageError: there is no workspace, or the folder holds something else.
        StorageError: the workspace cannot be read, or the report not be written.
    """
    run_file, now = require_workspace(workspace), datetime.now(UTC)
    is_live = run_file.finished is None and read_live_progress(workspace, now) is not None
    budget = last_settings(run_file, "budget", config.budget)
    overview = collect_overview(workspace, run_file, budget, now, is_live=is_live)
    folder = workspace / _DEFAULT if destination is None else destination
    job = ReportJob(workspace, folder, run_file, overview, choice)
    total = sum(overview.pages.values()) * (2 if choice in {"convert", "copy"} else 1)
    progress: tqdm[NoReturn] = tqdm(total=total, unit="page", file=sys.stderr, dynamic_ncols=True, disable=not bar)
    with progress:
        built = build_report(job, progress.update)
    if as_json:
        counts = {"linked": built.linked, "made": built.made, "unshown": built.unshown, "missing": built.missing}
        print_json({"exit_code": 0, "report": str(folder / "index.html"), "pages": built.pages, "pictures": counts})
    else:
        print(f"pagemill: {_describe(built, folder)}", file=sys.stderr)  # noqa: T201 - a summary, as `run` prints it
    return 0


def _describe(built: Built, folder: Path) -> str:
    parts = [f"{built.linked:,} pictures linked" if built.linked else "", f"{built.made:,} made" if built.made else ""]
    parts += [f"{built.missing:,} missing" if built.missing else ""]
    parts += [f"{built.unshown:,} only with --serve or --images convert" if built.unshown else ""]
    pictures = ", ".join(filter(None, parts))
    return f"{folder / 'index.html'}: {built.pages:,} pages" + (f"; {pictures}" if pictures else "")


@as_command(
    "report",
    click.Argument(["workspace"], metavar="OUT", type=click.Path(path_type=Path)),
    click.Argument(["destination"], metavar="[DEST]", required=False, type=click.Path(path_type=Path)),
    config_option(),
    json_option(),
    GroupedOption(
        ["--images", "choice"],
        type=click.Choice(["link", "convert", "copy", "none"]),
        default="link",
        help="Pictures: link the files that browsers show where they are; convert the others, too; copy all, so that "
        "the report can be moved; or none  [default: link]",
    ),
    flag("--no-progress", "Draw no progress bar."),
    help="Write a report of a workspace for a browser: how the runs went, and each page beside its text, worst first, "
    "to search, to check and to correct. DEST is a folder, OUT/report by default; open its index.html. Makes no call, "
    "takes no lock; a second report replaces the first at once.",
    examples=("pagemill report out", "pagemill report out /srv/www/review --images copy"),
    exit_codes=(0, 1, 2),
)
def command(
    workspace: Path,
    destination: Path | None,
    config_file: Path | None,
    *,
    as_json: bool,
    choice: PictureChoice,
    no_progress: bool,
) -> int:
    """Run `pagemill report`."""
    config = load(config_file, {})
    bar = sys.stderr.isatty() and not no_progress
    return write_report(workspace, destination, config, choice=choice, as_json=as_json, bar=bar)
