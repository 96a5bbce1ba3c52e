"""`pagemill export`: the texts of a workspace in another format; free, and repeatable."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn

import click
import msgspec
from tqdm import tqdm

from pipeline.batch.page_images import Images
from pipeline.cli.console import print_json, set_up_logging
from pipeline.cli.help import GroupedOption
from pipeline.cli.help import command as as_command
from pipeline.cli.options import flag, json_option
from pipeline.errors import one_line
from pipeline.export.base import Exported, ExportJob
from pipeline.export.documents import Grouping
from pipeline.export.formats import FORMATS
from pipeline.export.formats import export as export_to
from pipeline.export.selection import Split, Where
from pipeline.verify.audit import count_pages
from pipeline.workspace.run_file import require_workspace

_SELECTION, _OUTPUT = "Selection", "Output"
_LEFT_OUT: Final = 3
"""Finished, without some pages or images."""


def export(job: ExportJob, form: str, *, as_json: bool, bar: bool) -> int:
    """Export, and print what was written.

    Raises:
        UsageError: there is no workspace, or the destination cannot be used.
        StorageError: the workspace cannot be read, or the destination not be written.
    """
    run_file = require_workspace(job.workspace)
    total = _count(job) if bar else None
    progress: tqdm[NoReturn] = tqdm(total=total, unit="page", file=sys.stderr, dynamic_ncols=True, disable=not bar)
    with progress:
        exported = export_to(job, form, progress.update)
    code = _LEFT_OUT if exported.unreadable or exported.missing else 0
    if as_json:
        fields = msgspec.to_builtins(exported) | {"pending_is_at_least": run_file.pending_is_at_least}
        print_json({"exit_code": code, "format": form, **fields})
    else:
        _print_line(_describe(exported, job))
    if others := _describe_others(exported, pending_is_at_least=run_file.pending_is_at_least):
        _print_line(f"not exported: {others}; see: pagemill status {one_line(str(job.workspace))}")
    return code


def _print_line(text: str) -> None:
    print(f"pagemill: {text}", file=sys.stderr)  # noqa: T201 - a summary, as `run` prints it


def _count(job: ExportJob) -> int:
    totals = count_pages(job.workspace).totals
    return sum(totals[state] for state in job.where.states)


def _describe(exported: Exported, job: ExportJob) -> str:
    parts = [f"{exported.pages:,} pages of {exported.documents:,} documents: {exported.written:,} files written"]
    parts += [f"{exported.unchanged:,} unchanged"] if exported.unchanged else []
    parts += [f"{exported.removed:,} removed"] if exported.removed else []
    parts += [f"{exported.without_positions:,} pages without positions"] if exported.without_positions else []
    parts += [f"{exported.missing:,} images missing"] if exported.missing else []
    parts += [f"{exported.unreadable:,} lines unreadable (pagemill verify)"] if exported.unreadable else []
    return f"{job.destination}: {', '.join(parts)}"


def _describe_others(exported: Exported, *, pending_is_at_least: bool) -> str:
    """Return the number of pages without a text by state, as far as there are any."""
    least = "at least " if pending_is_at_least else ""
    parts = [f"{least}{exported.pending:,} pages pending"] if exported.pending or least else []
    parts += [f"{exported.failed:,} pages failed"] if exported.failed else []
    parts += [f"{exported.uncertain:,} pages uncertain"] if exported.uncertain else []
    return ", ".join(parts)


@as_command(
    "export",
    click.Argument(["workspace"], metavar="OUT", type=click.Path(path_type=Path)),
    click.Argument(["destination"], metavar="DEST", type=click.Path(path_type=Path)),
    GroupedOption(
        ["--to", "form"],
        type=click.Choice(list(FORMATS)),
        required=True,
        help=f"The format: {', '.join(FORMATS)}.",
        heading=_OUTPUT,
    ),
    GroupedOption(
        ["--where"],
        multiple=True,
        metavar="CONDITION",
        help="Pages to take; all conditions must hold: state=done,duplicate,skipped; source=GLOB; source!=GLOB; "
        "quality>=0.8; quality<0.8; quality=in-doubt; quality!=in-doubt; "
        "review=corrected; review!=checked  [default: state=done,duplicate]",
        heading=_SELECTION,
    ),
    GroupedOption(
        ["--document", "grouping"],
        type=click.Choice(["file", "folder"]),
        default="file",
        help="What a document is: a file, or the files of a folder in natural order  [default: file]",
        heading=_SELECTION,
    ),
    GroupedOption(
        ["--split"],
        metavar="SHARES",
        help="Share out the documents, such as train=0.9,test=0.1; equal contents stay together.",
        heading=_SELECTION,
    ),
    GroupedOption(
        ["--seed"], type=int, default=0, metavar="N", help="Other shares of --split  [default: 0]", heading=_SELECTION
    ),
    GroupedOption(
        ["--per"],
        type=click.Choice(["document", "page"]),
        help="Files of txt: one per document or per page  [default: document]",
        heading=_OUTPUT,
    ),
    GroupedOption(
        ["--images"],
        type=click.Choice(["none", "sent", "original"]),
        help="Images in parquet, hf, webdataset and pdf: as sent, or the original files where these hold one page  "
        "[default: none; pdf: original]",
        heading=_OUTPUT,
    ),
    GroupedOption(
        ["--license", "license_id"],
        metavar="ID",
        help="Licence on the card of hf, such as cc-by-4.0  [default: unknown]",
        heading=_OUTPUT,
    ),
    json_option(_OUTPUT),
    flag("--no-progress", "Draw no progress bar.", heading=_OUTPUT),
    help="Write the texts of a workspace in another format. Makes no call, takes no lock, and changes nothing in OUT; "
    "a second export into the same DEST writes what is new or changed and removes what is no longer taken.",
    examples=(
        "pagemill export out --to txt texts/",
        "pagemill export out --to csv pages.csv --where 'quality>=0.8'",
        "pagemill export out --to txt texts/ --document folder --split train=0.9,test=0.1",
    ),
    exit_codes=(0, 1, 2, 3),
)
def command(
    workspace: Path,
    destination: Path,
    *,
    form: str,
    where: Sequence[str],
    grouping: Grouping,
    split: str | None,
    seed: int,
    per: str | None,
    images: Images | None,
    license_id: str | None,
    as_json: bool,
    no_progress: bool,
) -> int:
    """Run `pagemill export`."""
    set_up_logging()
    job = ExportJob(
        workspace,
        destination,
        where=Where.parse(where),
        grouping=grouping,
        split=None if split is None else Split.parse(split, seed),
        per_page=None if per is None else per == "page",
        images=images,
        license_id=license_id,
    )
    return export(job, form, as_json=as_json, bar=sys.stderr.isatty() and not no_progress)
