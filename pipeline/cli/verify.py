"""`pagemill verify`: whether lines, index and ledger of a workspace agree."""

import logging
from pathlib import Path

import click

from pipeline.cli.console import print_json, print_text
from pipeline.cli.help import command as as_command
from pipeline.cli.options import config_option, json_option, load
from pipeline.errors import StopError, UsageError, one_line
from pipeline.verify.audit import audit
from pipeline.workspace.lock import share_workspace
from pipeline.workspace.run_file import require_workspace
from pipeline.workspace.segments import has_results

logger = logging.getLogger("pagemill")


def verify_workspace(workspace: Path, *, as_json: bool = False, ledger: str | None = None) -> int:
    """Print a line for each fault, changing nothing; return 1 when there is one.

    Args:
        workspace: The directory.
        as_json: Print one object instead, also when the workspace cannot be verified.
        ledger: `[budget] ledger`.

    Raises:
        UsageError: there is no workspace.
        WorkspaceLockedError: a run holds it.
    """
    faults: list[str] = []

    def report(fault: str) -> None:
        faults.append(fault)
        if not as_json:
            print_text(fault + "\n")

    run_file = None
    try:
        with share_workspace(workspace):
            try:
                run_file = require_workspace(workspace)
            except UsageError as exc:
                if not has_results(workspace):
                    raise
                report(str(exc))
            for fault in audit(workspace, run_file, ledger):
                report(fault)
    except StopError as exc:
        if as_json:
            print_json({"exit_code": exc.exit_code, "reason": one_line(str(exc)), "faults": faults})
        raise
    logger.info("%s: %s", workspace, "the accounts add up" if not faults else f"{len(faults)} faults")
    if as_json:
        run_id = None if run_file is None else run_file.run_id
        print_json({"exit_code": 1 if faults else 0, "run_id": run_id, "faults": faults})
    return 1 if faults else 0


@as_command(
    "verify",
    click.Argument(["workspace"], type=click.Path(path_type=Path)),
    config_option(),
    json_option(),
    help="Check each line of a workspace by itself, against the index and against the ledger; change nothing. Prints "
    "one line per fault.",
    examples=("pagemill verify out", "pagemill verify out --json | jq '.faults[]'"),
    exit_codes=(0, 1, 2, 11),
)
def command(workspace: Path, config_file: Path | None, *, as_json: bool) -> int:
    """Run `pagemill verify`."""
    config = load(config_file, {})
    return verify_workspace(workspace, as_json=as_json, ledger=config.budget.ledger)
