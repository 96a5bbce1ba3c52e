"""`pagemill correct`: fold corrections of texts into a workspace, and accept lines that were edited by hand."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from pipeline.cli.console import print_json, print_text
from pipeline.cli.help import GroupedOption
from pipeline.cli.help import command as as_command
from pipeline.cli.options import config_option, json_option, load
from pipeline.correct.decisions import Effect
from pipeline.correct.folding import Folded, Refusal, fold
from pipeline.errors import UsageError, one_line
from pipeline.wire import replace_surrogates
from pipeline.workspace.lock import lock_workspace
from pipeline.workspace.paths import FAILURES, RESULTS
from pipeline.workspace.resealing import reseal_file
from pipeline.workspace.run_file import note_resealing, require_workspace
from pipeline.workspace.segments import find_segments

logger = logging.getLogger("pagemill")

_SHOWN: Final = 1000
"""Refused lines that `--json` lists; all are counted."""
_REFUSED: Final = 3


def fold_corrections(workspace: Path, files: Sequence[Path], *, force: bool = False, as_json: bool = False) -> int:
    """Fold corrections files into a workspace; print the lines that were not applied, and return 3 when there are any.

    Args:
        workspace: The directory.
        files: The files; "-" is stdin.
        force: Apply corrections of pages that have got another record since.
        as_json: Print one object instead.

    Raises:
        UsageError: there is no workspace, or a file cannot be read.
        WorkspaceLockedError: a run holds the workspace.
        StorageError: a file of the workspace cannot be read or written.
    """
    refused: list[Refusal] = []

    def report(refusal: Refusal) -> None:
        if not as_json:
            print_text(_describe_refusal(refusal))
        elif len(refused) < _SHOWN:
            refused.append(refusal)

    folded = fold(workspace, files, sys.stdin.buffer, report, force=force)
    logger.info("%s: %s", workspace, _describe(folded))
    exit_code = _REFUSED if folded.refused else 0
    if as_json:
        counts = {effect.value: folded.effects[effect] for effect in Effect}
        lines = [_refusal_fields(refusal) for refusal in refused]
        print_json(
            {"exit_code": exit_code, **counts, "copies": folded.copies, "refused": folded.refused, "refusals": lines}
        )
    return exit_code


def _describe(folded: Folded) -> str:
    parts = [f"{folded.effects[effect]:,} {effect.value}" for effect in Effect if folded.effects[effect]]
    parts += [f"{folded.copies:,} copies likewise"] if folded.copies else []
    parts += [f"{folded.refused:,} refused"] if folded.refused else []
    return ", ".join(parts) or "no correction in the files"


def _describe_refusal(refusal: Refusal) -> str:
    page = "" if refusal.source is None else f"{one_line(refusal.source)} page {refusal.page}: "
    return f"{one_line(str(refusal.file))}:{refusal.line}: {page}not applied: {one_line(refusal.reason)}\n"


def _refusal_fields(refusal: Refusal) -> dict[str, Any]:
    source = None if refusal.source is None else replace_surrogates(refusal.source)
    return {
        "file": replace_surrogates(str(refusal.file)),
        "line": refusal.line,
        "source": source,
        "page": refusal.page,
        "reason": refusal.reason,
    }


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
    click.Argument(["workspace"], metavar="OUT", type=click.Path(path_type=Path)),
    click.Argument(["files"], nargs=-1, metavar="[FILE...]", type=click.Path(path_type=Path, allow_dash=True)),
    GroupedOption(
        ["--force"],
        is_flag=True,
        help="Also correct pages that have got another record, or another person's correction, since.",
    ),
    GroupedOption(["--reseal"], is_flag=True, help="Accept lines that were edited: make their checksums right."),
    config_option(),
    json_option(),
    help="Fold corrections into OUT. Each FILE, or - for stdin, holds JSON lines with source, page, text and checked, "
    "as the review report saves them. A corrected page gets a record that keeps its original; copies of its content "
    "follow; no call is made. Lines that cannot be applied are printed with the reason (exit 3). With --reseal, lines "
    "of results.jsonl and failures.jsonl whose values were edited get a right checksum; their former bytes are kept.",
    examples=("pagemill correct out corrections.jsonl", "pagemill correct out --reseal"),
    exit_codes=(0, 1, 2, 3, 11),
)
def command(
    workspace: Path, files: Sequence[Path], config_file: Path | None, *, force: bool, reseal: bool, as_json: bool
) -> int:
    """Run `pagemill correct`."""
    load(config_file, {})
    if reseal == bool(files):
        raise UsageError("correct: name a file of corrections, or --reseal for lines that were edited by hand")
    if reseal:
        return reseal_workspace(workspace)
    return fold_corrections(workspace, files, force=force, as_json=as_json)
