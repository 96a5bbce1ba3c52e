"""`pagemill run`: recognise the pages of the inputs into a workspace."""

import logging
import os
import signal
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import anyio
import click

from pipeline.batch.job import Job
from pipeline.batch.progress import Summary, describe_summary
from pipeline.batch.runner import run
from pipeline.cli.console import print_json
from pipeline.cli.help import GroupedOption
from pipeline.cli.help import command as as_command
from pipeline.cli.options import (
    config_option,
    confirmations,
    flag,
    json_option,
    load,
    prefers_key_file,
    service_options,
    setting,
)
from pipeline.cli.signals import watch_signals
from pipeline.errors import InterruptedRunError, StopError, one_line
from pipeline.exit_codes import EXIT_CODES
from pipeline.remote.endpoint import choose_service
from pipeline.shutdown import Shutdown
from pipeline.storage.files import has_descriptors, no_descriptors

logger = logging.getLogger("pagemill")

_LEAST_DESCRIPTORS: Final = 12
"""The files of the workspace, the ledger and the event loop, and one page and one call."""

_INPUTS = "Inputs"
_LIMITS = "Pace and limits"
_SERVICE = "Service and quota"
_OUTPUT = "Output"


async def _run_until_signal(job: Job) -> Summary:
    """Run the job; a signal ends it in order.

    Raises:
        StopError: the run ended before it could begin.
    """
    shutdown = Shutdown()
    outcome: Summary | StopError

    def interrupt(number: signal.Signals) -> None:
        shutdown.request(InterruptedRunError(f"ended by {number.name}", exit_code=128 + number))

    async with anyio.create_task_group() as background:
        background.start_soon(watch_signals, interrupt, "calls")
        try:
            outcome = await run(job, shutdown)
        except StopError as exc:  # raised inside the task group, it would arrive in an exception group
            outcome = exc
        background.cancel_scope.cancel()
    if isinstance(outcome, StopError):
        raise outcome
    return outcome


@as_command(
    "run",
    click.Argument(["inputs"], nargs=-1, required=True, metavar="INPUT...", type=click.Path(allow_dash=True)),
    GroupedOption(
        ["-o", "--output"],
        required=True,
        type=click.Path(path_type=Path, file_okay=False),
        metavar="OUT",
        help="Workspace: the directory of the results.  [required]",
        heading=_OUTPUT,
    ),
    setting("input.include", heading=_INPUTS),
    setting("input.exclude", heading=_INPUTS),
    setting("input.column", heading=_INPUTS),
    setting("input.follow_symlinks", heading=_INPUTS),
    setting("input.changed_by", heading=_INPUTS),
    GroupedOption(["null_separated", "-0"], is_flag=True, help="Paths on stdin end with NUL.", heading=_INPUTS),
    setting("prepare.dedup", heading=_INPUTS),
    setting("run.jobs", heading=_LIMITS),
    setting("run.rate_per_s", heading=_LIMITS),
    setting("run.max_calls", heading=_LIMITS),
    setting("run.max_duration", heading=_LIMITS),
    setting("run.max_failures", heading=_LIMITS),
    setting("run.limit", heading=_LIMITS),
    setting("run.retries", heading=_LIMITS),
    setting("api.timeout_s", heading=_LIMITS),
    setting("run.at_most_once", heading=_LIMITS),
    *service_options(_SERVICE),
    flag("--local", "Use the embedded engine, whatever key there is.", heading=_SERVICE),
    flag("--switch-service", "Let another service than before fill the workspace.", heading=_SERVICE),
    *confirmations(_SERVICE),
    config_option(_OUTPUT),
    json_option(_OUTPUT),
    setting("log.format", heading=_OUTPUT),
    GroupedOption(["-q", "--quiet"], count=True, help="Log problems only; twice: errors only.", heading=_OUTPUT),
    GroupedOption(["-v", "--verbose"], is_flag=True, help="Log every page.", heading=_OUTPUT),
    flag("--no-progress", "Draw no progress bar.", heading=_OUTPUT),
    help="Recognise the pages of INPUT: directories, files, globs, manifests (.txt .csv .tsv .jsonl), http(s) URLs, "
    "or - for paths on stdin. Running it again resumes: pages that are done are not sent again.",
    examples=(
        "pagemill run sample_data -o out                     # the embedded engine, no key needed",
        "pagemill run scans/ -o paid --tier basic            # the service, 1,000 calls per month",
        "find scans -name '*.tif' -print0 | pagemill run - -0 -o paid --tier basic",
        "pagemill run manifest.csv -o paid --tier pro --max-calls 200 --max-duration 8h",
    ),
    exit_codes=tuple(EXIT_CODES),
)
def command(inputs: tuple[str, ...], output: Path, config_file: Path | None, **options: Any) -> int:
    """Run `pagemill run`: print the summary and return the exit code."""
    try:
        summary = _run(inputs, output, config_file, options)
    except StopError as exc:
        if options["as_json"]:
            print_json({"exit_code": exc.exit_code, "reason": one_line(str(exc))})
        raise
    logger.log(logging.WARNING if summary.is_problem else logging.INFO, "%s", describe_summary(summary))
    if options["as_json"]:
        print_json(summary)
    return summary.exit_code


def _run(inputs: tuple[str, ...], output: Path, config_file: Path | None, options: Mapping[str, Any]) -> Summary:
    level = "debug" if options["verbose"] else {0: None, 1: "warning"}.get(options["quiet"], "error")
    config = load(config_file, options, level=level)
    service = choose_service(config, os.environ, local=options["local"], prefer_key_file=prefers_key_file(options))
    job = Job(
        inputs=inputs,
        workspace=output,
        service=service,
        config=config,
        switch_service=options["switch_service"],
        accept_ledger=options["accept_ledger"],
        pay_again=options["pay_again"],
        stdin=sys.stdin.buffer,
        null_separated=options["null_separated"],
        bar=sys.stderr.isatty() and not options["no_progress"] and not options["quiet"],
    )
    if not has_descriptors(_LEAST_DESCRIPTORS):
        raise no_descriptors()
    uses_uvloop = find_spec("uvloop") is not None
    return anyio.run(_run_until_signal, job, backend_options={"use_uvloop": uses_uvloop})
