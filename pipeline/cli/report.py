"""`pagemill report`: a folder for a browser, with the run in numbers, and each page beside its text."""

import logging
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NoReturn

import anyio
import click
from tqdm import tqdm

from pipeline.cli.console import print_json, print_text
from pipeline.cli.help import GroupedOption
from pipeline.cli.help import command as as_command
from pipeline.cli.options import config_option, flag, json_option, load
from pipeline.cli.signals import watch_signals
from pipeline.cli.status import last_settings
from pipeline.config import Config
from pipeline.errors import StopError, WorkspaceLockedError
from pipeline.records import State
from pipeline.report.build import Built, ReportJob, build_report
from pipeline.report.folder import is_report_of
from pipeline.report.overview import collect_overview
from pipeline.report.pictures import PictureChoice
from pipeline.report.serving import WAITING, Inbox, serving_report
from pipeline.workspace.live_progress import read_live_progress
from pipeline.workspace.run_file import require_workspace

_DEFAULT: Final = "report"
"""Name of the report's folder within the workspace, which no run walks."""
_PORT: Final = 8417
"""One port, so that a browser finds what it has kept for the report."""

logger = logging.getLogger("pagemill")


def make_job(
    workspace: Path, folder: Path, config: Config, choice: PictureChoice, *, thumbnails: bool, is_served: bool
) -> ReportJob:
    """Return what to build.

    Args:
        workspace: The directory.
        folder: The report's.
        config: All settings, for those that the last run did not note.
        choice: Which pictures it has.
        thumbnails: Whether its list has thumbnails.
        is_served: True for a report that is served afterwards.

    Raises:
        UsageError: there is no workspace.
        StorageError: it cannot be read.
    """
    run_file, now = require_workspace(workspace), datetime.now(UTC)
    is_live = run_file.finished is None and read_live_progress(workspace, now) is not None
    budget = last_settings(run_file, "budget", config.budget)
    overview = collect_overview(workspace, run_file, budget, now, is_live=is_live)
    return ReportJob(workspace, folder, run_file, overview, choice, thumbnails=thumbnails, keeps_pages=is_served)


def build(job: ReportJob, *, bar: bool) -> Built:
    """Build a report.

    Args:
        job: What to build.
        bar: Draw a progress bar.

    Raises:
        UsageError: the folder holds something else.
        StorageError: the workspace cannot be read, or the report not be written.
    """
    passes = 1 + (job.choice in {"convert", "copy"}) + job.thumbnails
    ended = sum(job.overview.pages.values()) - job.overview.pages[State.PENDING]
    progress: tqdm[NoReturn] = tqdm(
        total=ended * passes, unit="page", file=sys.stderr, dynamic_ncols=True, disable=not bar
    )
    with progress:
        return build_report(job, progress.update)


def serve(job: ReportJob, built: Built, port: int) -> int:
    """Serve a report until a signal; a second signal ends the process at once.

    Raises:
        UsageError: the port cannot be bound.
    """
    failure: StopError | None = None

    async def serve_until_end() -> None:
        nonlocal failure
        stop = anyio.Event()
        async with anyio.create_task_group() as background:
            background.start_soon(watch_signals, lambda _: stop.set(), "corrections")
            try:
                async with serving_report(job.workspace, job.destination, built, port) as url:
                    print_text(f"{url}\n")
                    await stop.wait()
            except StopError as exc:  # raised here, it would arrive in an exception group
                failure = exc
            background.cancel_scope.cancel()

    anyio.run(serve_until_end)
    if failure is not None:
        raise failure
    if not Inbox(job.workspace, job.destination).is_empty:
        waiting = job.destination / WAITING
        logger.warning(
            "corrections wait in %s; when the run ends: pagemill correct %s %s", waiting, job.workspace, waiting
        )
    return 0


def _fold_waiting(workspace: Path, folder: Path) -> None:
    """Fold in what an earlier server has left, so that the report has it."""
    if not is_report_of(folder, require_workspace(workspace).workspace_id):  # nor are its corrections
        return
    try:
        Inbox(workspace, folder).fold()
    except WorkspaceLockedError:
        logger.info("corrections in %s wait for the end of a run", folder / WAITING)


def _without_links(folder: Path) -> Path:
    """Return a report's folder by a path on which its pictures are found: they are linked from where it really is."""
    real = Path(os.path.realpath(folder))
    return folder if os.path.abspath(folder) == str(real) else real  # noqa: PTH100 - keeps symbolic links


def _print_summary(built: Built, folder: Path, *, as_json: bool) -> None:
    if as_json:
        counts = {"linked": built.linked, "made": built.made, "unshown": built.unshown, "missing": built.missing}
        pages = {"pages": built.pages, "changed": built.changed, "pictures": counts}
        print_json({"exit_code": 0, "report": str(folder / "index.html"), **pages})
    else:
        print(f"pagemill: {_describe(built, folder)}", file=sys.stderr)  # noqa: T201 - a summary, as `run` prints it


def _describe(built: Built, folder: Path) -> str:
    parts = [f"{built.linked:,} pictures linked" if built.linked else "", f"{built.made:,} made" if built.made else ""]
    parts += [f"{built.missing:,} missing" if built.missing else ""]
    parts += [f"{built.unshown:,} only with --serve or --images convert" if built.unshown else ""]
    pictures = ", ".join(filter(None, parts))
    changed = f"{built.changed:,} whose file has changed since it was read" if built.changed else ""
    return f"{folder / 'index.html'}: " + "; ".join(filter(None, [f"{built.pages:,} pages", pictures, changed]))


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
    GroupedOption(
        ["--serve", "is_served"],
        is_flag=True,
        help="Then serve it on this machine alone, at the URL that is printed: with all pictures, and corrections are "
        "saved in OUT at once.",
    ),
    GroupedOption(
        ["--port"],
        type=click.IntRange(0, 65535),
        default=_PORT,
        metavar="N",
        help=f"Port of --serve; 0 takes a free one  [default: {_PORT}]",
    ),
    GroupedOption(
        ["--thumbnails"],
        is_flag=True,
        help="Small pictures in the list; each page is decoded once, in a worker process.",
    ),
    flag("--no-progress", "Draw no progress bar."),
    help="Write a report of a workspace for a browser: how the runs went, and each page beside its text, worst first, "
    "to search, to check and to correct. DEST is a folder, OUT/report by default; open its index.html. Makes no call, "
    "takes no lock; a second report replaces the first at once.",
    examples=(
        "pagemill report out",
        "pagemill report out /srv/www/review --images copy",
        "pagemill report out --serve",
    ),
    exit_codes=(0, 1, 2),
)
def command(
    workspace: Path,
    destination: Path | None,
    config_file: Path | None,
    *,
    as_json: bool,
    choice: PictureChoice,
    is_served: bool,
    port: int,
    thumbnails: bool,
    no_progress: bool,
) -> int:
    """Run `pagemill report`."""
    config = load(config_file, {})
    folder = workspace / _DEFAULT if destination is None else destination
    _fold_waiting(workspace, folder)
    job = make_job(workspace, folder, config, choice, thumbnails=thumbnails, is_served=is_served)
    built = build(job, bar=sys.stderr.isatty() and not no_progress)
    _print_summary(built, _without_links(folder), as_json=as_json)
    return serve(job, built, port) if is_served else 0
