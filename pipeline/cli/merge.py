"""`pagemill merge`: join workspaces, such as those of shards, into one."""

import logging
from collections.abc import Sequence
from pathlib import Path

import click

from pipeline.batch.summary import describe_pending
from pipeline.cli.console import print_json
from pipeline.cli.help import GroupedOption
from pipeline.cli.help import command as as_command
from pipeline.cli.options import config_option, json_option, load
from pipeline.cluster.merge import Merged, merge
from pipeline.errors import StopError, one_line
from pipeline.records import State

logger = logging.getLogger("pagemill")

_NAMED_SHARDS = 10


def merge_and_report(workspaces: Sequence[Path], output: Path, config_file: Path | None, *, as_json: bool) -> int:
    """Merge workspaces, log what became of them, print it as JSON if asked to, and return 0.

    Raises:
        StopError: they cannot be merged.
    """
    config = load(config_file, {})
    try:
        merged = merge(workspaces, output, config.output)
    except StopError as exc:
        if as_json:
            print_json({"exit_code": exc.exit_code, "reason": one_line(str(exc))})
        raise
    logger.info("%s: %s", output, describe(merged))
    if as_json:
        print_json({"exit_code": 0, **_fields(merged)})
    return 0


def describe(merged: Merged) -> str:
    """Return what was merged in one line."""
    totals = [f"{number:,} {state}" for state, number in merged.totals.items() if number and state != State.PENDING]
    pending = merged.totals.get(State.PENDING, 0)
    if pending or merged.pending_is_at_least:
        totals.append(describe_pending(pending, is_at_least=merged.pending_is_at_least))
    parts = [f"{merged.workspaces:,} workspaces merged", ", ".join(totals) or "no pages"]
    if merged.left:
        parts.append(f"{merged.left:,} left to shards that have not recognised them yet")
    if merged.missing_shards:
        named = ", ".join(merged.missing_shards[:_NAMED_SHARDS])
        more = len(merged.missing_shards) - _NAMED_SHARDS
        parts.append(f"shards that are missing: {named}{f' and {more} more' if more > 0 else ''}")
    return "; ".join(parts)


def _fields(merged: Merged) -> dict[str, object]:
    return {
        "workspaces": merged.workspaces,
        "totals": {state.value: number for state, number in merged.totals.items()},
        "left_to_shards": merged.left,
        "pending_is_at_least": merged.pending_is_at_least,
        "conflicts": merged.conflicts,
        "missing_shards": list(merged.missing_shards),
        "damaged_lines": merged.damaged_lines,
    }


@as_command(
    "merge",
    click.Argument(
        ["workspaces"],
        nargs=-1,
        required=True,
        metavar="WORKSPACE...",
        type=click.Path(path_type=Path, file_okay=False),
    ),
    GroupedOption(
        ["-o", "--output"],
        required=True,
        type=click.Path(path_type=Path, file_okay=False),
        metavar="OUT",
        help="Workspace of the joined results.  [required]",
    ),
    config_option(),
    json_option(),
    help="Join the WORKSPACEs of shards, or any others of one service and one input root, into OUT; they are only "
    "read. Records are in the order of their sources. Pages that a shard has left to another one get its text. Merging "
    "again adds what is new, also after a crash.",
    examples=(
        "pagemill merge parts/* -o whole",
        "pagemill merge parts/* -o whole --json | jq .totals",
    ),
    exit_codes=(0, 1, 2, 11),
)
def command(workspaces: Sequence[Path], output: Path, config_file: Path | None, *, as_json: bool) -> int:
    """Run `pagemill merge`."""
    return merge_and_report(workspaces, output, config_file, as_json=as_json)
