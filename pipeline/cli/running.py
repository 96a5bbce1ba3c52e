"""What the commands that make calls share: the signals that end a run, its last line, and its options."""

import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NoReturn

import anyio
import click

from pipeline.batch.job import Job
from pipeline.batch.observers import Observer, Start, Watch, new_run_id, observe
from pipeline.batch.runner import run
from pipeline.batch.summary import Summary, describe_summary
from pipeline.cli.console import print_json
from pipeline.cli.help import GroupedOption
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
from pipeline.cli.punctual import punctual_loop
from pipeline.cli.signals import watch_signals
from pipeline.errors import InterruptedRunError, StopError, one_line
from pipeline.observers import choose_observers
from pipeline.remote.endpoint import choose_service
from pipeline.shutdown import Shutdown
from pipeline.storage.files import has_descriptors, no_descriptors

logger = logging.getLogger("pagemill")

_LEAST_DESCRIPTORS: Final = 13
"""The files of the workspace, the ledger and the event loop, and one page and one call."""

LIMITS: Final = "Pace and limits"
SERVICE: Final = "Service and quota"
OUTPUT: Final = "Output"
OPERATION: Final = "Operation"
"""Headings of the options in the help."""

Runner = Callable[[Job, Shutdown], Awaitable[Summary]]
"""What runs a job."""


def limit_options() -> list[click.Option]:
    """Return the options that bound a run."""
    names = (
        "run.jobs",
        "run.rate_per_s",
        "run.max_calls",
        "run.max_duration",
        "run.max_failures",
        "run.spread",
        "run.limit",
        "run.retries",
        "api.timeout_s",
    )
    return [setting(name, heading=LIMITS) for name in names]


def call_options() -> list[click.Option]:
    """Return the options that say which service is called, and through which proxy."""
    return [
        *service_options(SERVICE),
        setting("api.proxy", heading=SERVICE),
        setting("run.positions", heading=SERVICE),
        flag("--local", "Use the embedded engine, whatever key there is.", heading=SERVICE),
        flag("--switch-service", "Let another service than before fill the workspace.", heading=SERVICE),
        *confirmations(SERVICE),
    ]


def output_options() -> list[click.Option]:
    """Return the options for the configuration and for what is printed."""
    return [
        config_option(OUTPUT),
        json_option(OUTPUT),
        setting("log.format", heading=OUTPUT),
        setting("log.file", heading=OUTPUT),
        GroupedOption(["-q", "--quiet"], count=True, help="Log problems only; twice: errors only.", heading=OUTPUT),
        GroupedOption(["-v", "--verbose"], is_flag=True, help="Log every page.", heading=OUTPUT),
        flag("--no-progress", "Draw no progress bar.", heading=OUTPUT),
    ]


def operation_options() -> list[click.Option]:
    """Return the options that say who is told of a run."""
    names = (
        "operate.metrics_file",
        "operate.metrics_port",
        "operate.ping_url",
        "operate.notify_command",
        "operate.stats",
    )
    return [setting(name, heading=OPERATION) for name in names]


def make_job(workspace: Path, config_file: Path | None, options: Mapping[str, Any]) -> Job:
    """Return a job without inputs from the options that these commands share.

    Raises:
        UsageError: a setting, the service's URL or the key is wrong.
    """
    quiet = None if options["verbose"] else {0: None, 1: "warning"}.get(options["quiet"], "error")
    run_id, level = new_run_id(), "debug" if options["verbose"] else None
    config = load(config_file, options, level=level, stderr_level=quiet, run_id=run_id)
    observers = choose_observers(config)
    try:
        service = choose_service(config, os.environ, local=options["local"], prefer_key_file=prefers_key_file(options))
    except StopError as exc:  # a night without a key: whoever watches is to know
        anyio.run(_report_failure, observers, Start(run_id, workspace, datetime.now(UTC)), exc)
        raise
    return Job(
        inputs=(),
        workspace=workspace,
        service=service,
        config=config,
        switch_service=options["switch_service"],
        accept_ledger=options["accept_ledger"],
        pay_again=options["pay_again"],
        bar=sys.stderr.isatty() and not options["no_progress"] and not options["quiet"],
        observers=observers,
        run_id=run_id,
    )


async def _report_failure(observers: Sequence[Observer], start: Start, error: StopError) -> None:
    """Tell observers of a run that ended before it could begin."""

    async def fail(_: Watch) -> NoReturn:
        raise error

    with suppress(StopError):
        await observe(observers, start, fail)


def run_and_report(
    prepare: Callable[[], Job],
    *,
    as_json: bool,
    when_nothing: str | None = None,
    choose: Callable[[Job], Runner] | None = None,
) -> int:
    """Run a job; log how the run ended, print it as JSON if asked to, and return the exit code.

    Args:
        prepare: Returns the job.
        as_json: Print the summary on stdout, or the error.
        when_nothing: Logged when no page was to be recognised.
        choose: Returns what runs the job; None for this machine.

    Raises:
        StopError: the run ended before it could begin.
    """
    job: Job | None = None
    try:
        job = prepare()
        summary = _run(job, run if choose is None else choose(job))
    except StopError as exc:
        if as_json:
            named = {} if job is None else {"run_id": job.run_id}
            print_json({**named, "exit_code": exc.exit_code, "reason": one_line(str(exc))})
        raise
    if when_nothing is not None and not summary.run and summary.reason is None:
        logger.info("%s", when_nothing)
    logger.log(logging.WARNING if summary.is_problem else logging.INFO, "%s", describe_summary(summary))
    if as_json:
        print_json(summary)
    return summary.exit_code


def _run(job: Job, runner: Runner) -> Summary:
    """Run the job on the fastest event loop that is installed."""
    if not has_descriptors(_LEAST_DESCRIPTORS):
        raise no_descriptors()
    uses_uvloop = find_spec("uvloop") is not None
    options = {"use_uvloop": True} if uses_uvloop else {"loop_factory": punctual_loop}
    return anyio.run(_run_until_signal, job, runner, backend_options=options)


async def _run_until_signal(job: Job, runner: Runner) -> Summary:
    """Run the job; a signal ends it in order.

    Raises:
        StopError: the run ended before it could begin.
    """
    shutdown = Shutdown()
    outcome: Summary | StopError

    def interrupt(number: signal.Signals) -> None:
        shutdown.request(InterruptedRunError(f"ended by {number.name}", exit_code=128 + number))

    async with anyio.create_task_group() as background:
        background.start_soon(partial(watch_signals, interrupt, "calls", leftovers=shutdown.describe_calls))
        try:
            outcome = await runner(job, shutdown)
        except StopError as exc:  # raised inside the task group, it would arrive in an exception group
            outcome = exc
        background.cancel_scope.cancel()
    if isinstance(outcome, StopError):
        raise outcome
    return outcome
