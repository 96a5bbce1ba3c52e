"""`pagemill plan`: what a run would send, and how long the quota lasts for it; nothing is sent."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import click

from pipeline.batch.planning.count import PlanJob
from pipeline.batch.planning.plan import make_plan
from pipeline.cli.console import print_json, print_text
from pipeline.cli.help import GroupedOption
from pipeline.cli.help import command as as_command
from pipeline.cli.options import (
    config_option,
    flag,
    input_options,
    json_option,
    load,
    prefers_key_file,
    service_options,
    setting,
)
from pipeline.cli.page_files import require_page_file
from pipeline.cli.plan_html import render_plan
from pipeline.cli.plan_text import describe_plan, plan_fields
from pipeline.errors import NoPagesError, StopError, one_line
from pipeline.remote.endpoint import choose_service
from pipeline.storage.files import replace_file

_INPUTS = "Inputs"
_LIMITS = "Limits"
_OUTPUT = "Output"


def plan_and_report(job: PlanJob, *, as_json: bool, html: Path | None = None) -> int:
    """Plan, print the plan, and return the exit code.

    Args:
        job: What is planned.
        as_json: Print JSON, also on errors.
        html: A file that is replaced by the plan as a page; None for none.

    Raises:
        UsageError: a page must not replace the file.
        StopError: the plan cannot be made, or the INPUTs hold no page.
    """
    if html is not None:
        require_page_file(html)
    try:
        plan = anyio.run(make_plan, job)
    except StopError as exc:
        if as_json:
            print_json({"exit_code": exc.exit_code, "reason": one_line(str(exc))})
        raise
    code = 0 if plan.has_pages else NoPagesError.exit_code
    if html is not None:
        replace_file(html, render_plan(plan, job.inputs).encode())
    if as_json:
        print_json({"exit_code": code, **plan_fields(plan)})
    else:
        print_text(describe_plan(plan))
    if code:
        raise NoPagesError(f"no page in {', '.join(job.inputs)}; is a disk not mounted?")
    return code


def make_job(
    inputs: tuple[str, ...], workspace: Path | None, config_file: Path | None, options: Mapping[str, Any]
) -> PlanJob:
    """Return what is planned from the options that `plan` and `run --dry-run` share.

    Raises:
        UsageError: a setting, the service's URL or the key is wrong.
    """
    config = load(config_file, options, level="warning" if options.get("quiet") else None)
    service = choose_service(config, os.environ, local=options["local"], prefer_key_file=prefers_key_file(options))
    return PlanJob(
        inputs=inputs,
        workspace=workspace,
        service=service,
        config=config,
        exact=options.get("exact", False),
        stdin=sys.stdin.buffer,
        null_separated=options["null_separated"],
        again=options.get("again"),
        again_reviewed=options.get("again_reviewed", False),
        bar=sys.stderr.isatty() and not options["no_progress"],
        any_service=options.get("switch_service", False) or (not service.metered and not options["local"]),
        pay_again=options.get("pay_again", False),
        accept_ledger=options.get("accept_ledger", False),
    )


@as_command(
    "plan",
    click.Argument(["inputs"], nargs=-1, required=True, metavar="INPUT...", type=click.Path(allow_dash=True)),
    GroupedOption(
        ["-o", "--output"],
        type=click.Path(path_type=Path, file_okay=False),
        metavar="OUT",
        help="Workspace whose done pages need no call; it is only read, also while a run fills it.",
        heading=_OUTPUT,
    ),
    *input_options(_INPUTS),
    GroupedOption(
        ["--exact"],
        is_flag=True,
        help="Read, hash and, where needed, decode every page that is not done: the calls are then those of the next "
        "run, unless the service fails. Takes the CPU time of that run.",
        heading=_INPUTS,
    ),
    setting("run.max_calls", heading=_LIMITS),
    setting("run.spread", heading=_LIMITS),
    setting("run.at_most_once", heading=_LIMITS),
    setting("run.positions", heading=_LIMITS),
    *service_options(_LIMITS),
    flag("--local", "Plan for the embedded engine, whatever key there is.", heading=_LIMITS),
    config_option(_OUTPUT),
    json_option(_OUTPUT),
    GroupedOption(
        ["--html"],
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Write the plan with charts, as one page of HTML that loads nothing.",
        heading=_OUTPUT,
    ),
    flag("--no-progress", "Draw no progress bar.", heading=_OUTPUT),
    help="Count the pages of INPUT and the calls that they need, and forecast months and finish date for each tier. "
    "Reads listings and headers, sends nothing, needs no key, and changes nothing in OUT.",
    examples=(
        "pagemill plan scans/                                 # before the first call",
        "pagemill plan scans/ -o paid --tier basic --max-calls 200",
        "pagemill plan scans/ -o paid --exact --json | jq .calls",
    ),
    exit_codes=(0, 1, 2, 9),
)
def command(
    inputs: tuple[str, ...],
    output: Path | None,
    config_file: Path | None,
    *,
    as_json: bool,
    html: Path | None,
    **options: Any,
) -> int:
    """Run `pagemill plan`."""
    return plan_and_report(make_job(inputs, output, config_file, options), as_json=as_json, html=html)
