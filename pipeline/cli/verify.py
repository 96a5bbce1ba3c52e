"""`pagemill verify`: whether lines, index and ledger of a workspace agree."""

import logging
from pathlib import Path

import click

from pipeline.cli.console import print_text
from pipeline.cli.help import command as as_command
from pipeline.cli.options import config_option, load
from pipeline.errors import UsageError
from pipeline.verify.audit import audit
from pipeline.workspace.lock import share_workspace
from pipeline.workspace.paths import RESULTS
from pipeline.workspace.run_file import require_workspace

logger = logging.getLogger("pagemill")


def verify_workspace(workspace: Path) -> int:
    """Print a line for each fault, changing nothing; return 1 when there is one.

    Raises:
        UsageError: there is no workspace.
        WorkspaceLockedError: a run holds it.
    """
    faults = 0
    run_file = None
    with share_workspace(workspace):
        try:
            run_file = require_workspace(workspace)
        except UsageError as exc:
            if not (workspace / RESULTS).exists():
                raise
            faults += 1
            print_text(f"{exc}\n")
        for fault in audit(workspace, run_file):
            faults += 1
            print_text(fault + "\n")
    logger.info("%s: %s", workspace, "the accounts add up" if not faults else f"{faults} faults")
    return 1 if faults else 0


@as_command(
    "verify",
    click.Argument(["workspace"], type=click.Path(path_type=Path)),
    config_option(),
    help="Check each line of a workspace by itself, against the index and against the ledger; change nothing. Prints "
    "one line per fault.",
    examples=("pagemill verify out",),
    exit_codes=(0, 1, 2, 11),
)
def command(workspace: Path, config_file: Path | None) -> int:
    """Run `pagemill verify`."""
    load(config_file, {})
    return verify_workspace(workspace)
