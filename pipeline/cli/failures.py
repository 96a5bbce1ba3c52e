"""`pagemill failures`: the pages whose last state is failed or uncertain, as a worklist."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import orjson

from pipeline.cli.console import print_text, set_up_logging
from pipeline.cli.help import command as as_command
from pipeline.cli.options import json_option
from pipeline.errors import one_line
from pipeline.records import State
from pipeline.wire import replace_surrogates
from pipeline.workspace.run_file import require_workspace
from pipeline.workspace.snapshot import open_snapshot
from pipeline.workspace.worklist import FailedPage


def list_failures(workspace: Path, *, as_json: bool) -> int:
    """Print the worklist page by page; lock and change nothing, so that a run may go on.

    Raises:
        UsageError: there is no workspace.
        StorageError: it cannot be read.
    """
    require_workspace(workspace)
    with open_snapshot(workspace) as index:
        lines = _json_lines(index.worklist()) if as_json else map(_describe, index.worklist())
        for line in lines:
            print_text(line + "\n")
    return 0


def _describe(page: FailedPage) -> str:
    """Return a failure in two lines: what failed and what comes next, and why."""
    failure = page.failure
    attempts = f"{failure.attempts} attempts" if failure.attempts else "no call"
    runs = f" in each of {failure.runs} runs" if failure.runs > 1 else ""
    place = f"{one_line(failure.source)} page {failure.page}"
    head = f"{place}: {failure.error}; {attempts}{runs}; {failure.added[:16]}Z; {_next(page)}"
    return f"{head}\n    {one_line(failure.message)}"


def _next(page: FailedPage) -> str:
    if page.failure.state is State.UNCERTAIN:
        return "sent again by: pagemill retry --error uncertain, and by a run without --at-most-once"
    return "the next run tries again" if page.retryable else "left to: pagemill retry"


def _json_lines(pages: Iterator[FailedPage]) -> Iterator[str]:
    """Yield the lines of one JSON array with an object per line."""
    before = "["
    for page in pages:
        yield before + orjson.dumps(_fields(page)).decode()
        before = ","
    yield "[]" if before == "[" else "]"


def _fields(page: FailedPage) -> dict[str, Any]:
    failure = page.failure
    fields: dict[str, Any] = {
        "source": replace_surrogates(failure.source),
        "page": failure.page,
        "id": failure.id,
        "state": failure.state.value,
        "class": failure.error,
        "message": failure.message,
        "attempts": failure.attempts,
        "runs": failure.runs,
        "next_run": page.retryable,
        "added": failure.added,
    }
    return fields if failure.meta is None else fields | {"meta": failure.meta}


@as_command(
    "failures",
    click.Argument(["workspace"], type=click.Path(path_type=Path)),
    json_option(),
    help="List the pages whose last state is failed or uncertain, with class, calls, time and reason, and whether the "
    "next run tries them or `pagemill retry` must. Works while a run goes on.",
    examples=(
        "pagemill failures out",
        "pagemill failures out --json | jq -r '.[] | select(.next_run | not) | .source'",
    ),
    exit_codes=(0, 1, 2),
)
def command(workspace: Path, *, as_json: bool) -> int:
    """Run `pagemill failures`."""
    set_up_logging()
    return list_failures(workspace, as_json=as_json)
