"""`pagemill correct`: accept corrections of texts."""

import logging
from pathlib import Path

import click

from pipeline.cli.console import print_text
from pipeline.cli.help import GroupedOption
from pipeline.cli.help import command as as_command
from pipeline.cli.options import config_option, load
from pipeline.errors import UsageError
from pipeline.workspace.lock import lock_workspace
from pipeline.workspace.paths import FAILURES, RESULTS
from pipeline.workspace.resealing import reseal_file
from pipeline.workspace.run_file import note_resealing, require_workspace
from pipeline.workspace.segments import find_segments

logger = logging.getLogger("pagemill")


def reseal_workspace(workspace: Path) -> int:
    """Accept the lines that were edited by hand; print what is no line, and return 1 when there is any.

    Raises:
        UsageError: there is no workspace.
        WorkspaceLockedError: a run holds it.
        StorageError: a file cannot be read or written.
    """
    require_workspace(workspace)
    damaged = 0
    with lock_workspace(workspace):
        note_resealing(workspace)  # before, for a crash; and after, for an export that reads meanwhile
        for name in (*(segment.name for segment in find_segments(workspace)), RESULTS, FAILURES):
            resealed = reseal_file(workspace / name)
            kept = "" if resealed.evidence is None else f"; their former bytes are in {resealed.evidence.name}"
            if not resealed.is_cut:
                logger.info("%s: %d lines resealed%s", name, resealed.number, kept)
            for number, problem in resealed.damaged:
                print_text(f"{name}:{number}: left as it is: {problem}\n")
            damaged += len(resealed.damaged)
        note_resealing(workspace)
    return 1 if damaged else 0


@as_command(
    "correct",
    click.Argument(["workspace"], type=click.Path(path_type=Path)),
    GroupedOption(["--reseal"], is_flag=True, help="Accept lines that were edited: make their checksums right."),
    config_option(),
    help="Accept corrections. With --reseal, lines of results.jsonl and failures.jsonl whose values were edited get a "
    "right checksum; their former bytes are kept. Lines that are no records stay and are printed.",
    examples=("pagemill correct out --reseal",),
    exit_codes=(0, 1, 2, 11),
)
def command(workspace: Path, config_file: Path | None, *, reseal: bool) -> int:
    """Run `pagemill correct`."""
    load(config_file, {})
    if not reseal:
        raise UsageError("correct: say what to accept: --reseal for lines that were edited by hand")
    return reseal_workspace(workspace)
