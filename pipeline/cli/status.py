"""`pagemill status`: how many pages of a workspace are in which state, and how many are in doubt."""

from pathlib import Path

import click
import msgspec

from pipeline.cli.console import print_json, print_text
from pipeline.cli.help import command as as_command
from pipeline.cli.options import config_option, json_option, load
from pipeline.inputs.kinds import describe_ignored
from pipeline.records import State
from pipeline.remote.learned import Learned, describe_refusals
from pipeline.verify.audit import count_pages
from pipeline.workspace.run_file import require_workspace


def show_status(workspace: Path, *, as_json: bool) -> int:
    """Print the number of pages by state, the service, and how the last run ended; locks nothing.

    Raises:
        UsageError: there is no workspace.
    """
    run_file = require_workspace(workspace)
    counts = count_pages(workspace)
    totals, in_doubt = counts.totals, counts.in_doubt
    at_least, ignored = run_file.pending_is_at_least, dict(run_file.ignored)
    if as_json:
        numbers = {state.value: number for state, number in totals.items()}
        counted = {"pending_is_at_least": at_least, "ignored": ignored}
        ended = {"finished": run_file.finished, "exit_code": run_file.exit_code}
        made = {name: getattr(run_file, name) for name in ("calls", "sent", "refused")}
        learned = msgspec.to_builtins(run_file.learned)
        pages = {"pages": sum(totals.values()), **numbers, "in_doubt": in_doubt, **counted}
        print_json({"service": run_file.service, **pages, **ended, **made, "learned": learned})
        return 0
    last = "under way or killed" if run_file.finished is None else f"{run_file.finished}, exit {run_file.exit_code}"
    lines = [f"pages      {sum(totals.values()):>9,}"]
    for state in State:
        number = f"{totals[state]:,}"
        lines.append(f"{state:<10} {f'at least {number}' if at_least and state is State.PENDING else number:>9}")
    lines += [f"in doubt   {in_doubt:>9,}"] if in_doubt else []
    lines += [f"ignored    {describe_ignored(ignored)}"] if ignored else []
    lines += [f"service    {run_file.service}", f"last run   {last}"]
    if run_file.refused:
        limit = run_file.learned
        learned = Learned(limit.rate_per_s, limit.in_flight, limit.windows)
        lines.append(f"limit      {describe_refusals(learned, run_file.refused, run_file.sent)}")
    print_text("\n".join(lines) + "\n")
    return 0


@as_command(
    "status",
    click.Argument(["workspace"], type=click.Path(path_type=Path)),
    config_option(),
    json_option(),
    help="Show how many pages of a workspace are in which state, also while a run fills it.",
    examples=("pagemill status out", "pagemill status out --json | jq .pending"),
    exit_codes=(0, 1, 2),
)
def command(workspace: Path, config_file: Path | None, *, as_json: bool) -> int:
    """Run `pagemill status`."""
    load(config_file, {})
    return show_status(workspace, as_json=as_json)
