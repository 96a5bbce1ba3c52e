"""The commands that do something: run and serve, with their signals."""

import logging
import os
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from pathlib import Path

import anyio

from pipeline.batch.progress import Summary
from pipeline.batch.runner import Job, run
from pipeline.cli.inspect import print_json, print_text
from pipeline.config import Config
from pipeline.errors import InterruptedRunError, StopError
from pipeline.records import Service
from pipeline.remote.endpoint import choose_service, suit_engine
from pipeline.shutdown import Shutdown

logger = logging.getLogger("pagemill")


def run_job(
    inputs: Sequence[str],
    workspace: Path,
    config: Config,
    *,
    local: bool,
    prefer_key_file: bool,
    switch_service: bool,
    null_separated: bool,
    bar: bool,
    as_json: bool,
) -> int:
    """Run a job to its end, print how it ended, and return the exit code."""
    service = choose_service(config, os.environ, local=local, prefer_key_file=prefer_key_file)
    config = config if service.metered else suit_engine(config)
    job = Job(
        inputs=inputs,
        workspace=workspace,
        service=service,
        config=config,
        start_service=None if service.metered else partial(_start_engine, config),
        switch_service=switch_service,
        stdin=sys.stdin.buffer,
        null_separated=null_separated,
        bar=bar,
    )
    summary = anyio.run(_with_signals, partial(run, job), backend_options={"use_uvloop": _has_uvloop()})
    if not summary.run and not summary.settled and summary.reason is None:
        logger.warning("no pages found in %s", ", ".join(inputs))
    logger.info("%s", describe_summary(summary))
    if as_json:
        print_json(summary)
    return summary.exit_code


async def _with_signals(work: Callable[[Shutdown], Awaitable[Summary]]) -> Summary:
    """Return what the work returns; a signal drains it.

    Raises:
        StopError: what stopped the work before it could begin.
    """
    shutdown = Shutdown()
    outcome: Summary | StopError | None = None

    def interrupt(number: signal.Signals) -> None:
        shutdown.request(InterruptedRunError(f"ended by {number.name}", exit_code=128 + number))

    async with anyio.create_task_group() as background:
        background.start_soon(_watch_signals, interrupt, "calls")
        try:
            outcome = await work(shutdown)
        except StopError as exc:
            outcome = exc
        background.cancel_scope.cancel()
    if isinstance(outcome, Summary):
        return outcome
    assert outcome is not None
    raise outcome


@asynccontextmanager
async def _start_engine(config: Config) -> AsyncGenerator[Service]:
    from pipeline.remote.embedded import embedded_service  # noqa: PLC0415 - only when it is used

    logger.info("no API key and no --api-url: recognising with the embedded engine on this machine")
    async with embedded_service(config) as started:
        yield started


async def _watch_signals(ask_for_end: Callable[[signal.Signals], None], under_way: str) -> None:
    """Ask for the end at the first SIGINT or SIGTERM, exit at the second."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        first = signal.Signals(await anext(signals))
        logger.warning("%s: finishing the %s under way; once more aborts", first.name, under_way)
        ask_for_end(first)
        os._exit(128 + await anext(signals))  # as asked: at once; what lies on disk survives a kill


def describe_summary(summary: Summary) -> str:
    """Return a run's end in one line."""
    ended = ", ".join(f"{number} {state}" for state, number in summary.totals.items() if number) or "no pages"
    left = "" if summary.calls_left is None else f", {summary.calls_left} left this month"
    line = f"{ended}; {summary.calls} calls{left}; {summary.elapsed_s:.1f} s"
    return line if summary.reason is None else f"{line}; stopped: {summary.reason}"


def run_server(config: Config, *, exit_with_parent: bool) -> int:
    """Serve until a signal, or the parent's end; a second signal does not wait for the requests under way."""
    from pipeline.server.access.keyring import Keyring  # noqa: PLC0415 - only here
    from pipeline.server.access.keys import keys_file  # noqa: PLC0415 - only here
    from pipeline.server.serve import read_serve_key, serve, stop_at_end_of_stdin  # noqa: PLC0415 - only here

    key = read_serve_key(os.environ)
    failure: StopError | None = None

    async def main() -> None:
        nonlocal failure
        stop = anyio.Event()
        async with anyio.create_task_group() as background:
            background.start_soon(_watch_signals, lambda _: stop.set(), "requests")
            unwatch = stop_at_end_of_stdin(stop) if exit_with_parent else None
            try:
                # Whoever started it as a part of itself shows the key in its environment, and no other counts.
                async with nullcontext() if exit_with_parent else Keyring(keys_file(config.serve)) as keyring:
                    await serve(config.serve, key=key, stop=stop, ready=_announce, keyring=keyring)
            except StopError as exc:
                failure = exc
            finally:
                if unwatch is not None:
                    unwatch()
            background.cancel_scope.cancel()

    anyio.run(main)
    if failure is not None:
        raise failure
    return 0


def _announce(base_url: str) -> None:
    print_text(base_url + "\n")


def _has_uvloop() -> bool:
    from importlib.util import find_spec  # noqa: PLC0415 - only for this question

    return find_spec("uvloop") is not None
