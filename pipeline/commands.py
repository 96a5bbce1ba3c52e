"""What the commands do, once the command line is understood."""

import logging
import os
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, closing, nullcontext
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import anyio
import msgspec
import orjson

from pipeline.client import check_base_url
from pipeline.config import Config
from pipeline.credentials import read_key
from pipeline.drain import Drain, DrainedError
from pipeline.errors import InterruptedRunError, StopError, StorageError, UsageError
from pipeline.index import INDEX, Index
from pipeline.records import VENDOR_URL, Service, State
from pipeline.rules.quota import Calendar, Usage
from pipeline.run import Job, Summary, ledger_file, resolve_job_inputs, run
from pipeline.source import walk
from pipeline.workspace import require_workspace

_ENGINE_TIMEOUT_S: Final = 300.0
"""Above the server's own deadlines for a page, in its queue and in a worker."""

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

    async def recognise(drain: Drain) -> Summary:
        async with _open_service(service, inputs, workspace, config, drain) as opened:
            job = Job(
                inputs=inputs,
                workspace=workspace,
                service=opened,
                config=config,
                switch_service=switch_service,
                stdin=sys.stdin.buffer,
                null_separated=null_separated,
                bar=bar,
            )
            return await run(job, drain)

    summary = anyio.run(_with_signals, recognise, backend_options={"use_uvloop": _has_uvloop()})
    if not summary.run and not summary.settled and summary.reason is None:
        logger.warning("no pages found in %s", ", ".join(inputs))
    logger.info("%s", describe_summary(summary))
    if as_json:
        _print_json(summary)
    return summary.exit_code


async def _with_signals(work: Callable[[Drain], Awaitable[Summary]]) -> Summary:
    """Return what the work returns; a signal drains it.

    Raises:
        StopError: what stopped the work before it could begin.
    """
    drain = Drain()
    outcome: Summary | StopError | None = None
    async with anyio.create_task_group() as background:
        background.start_soon(_watch_signals, drain)
        try:
            outcome = await work(drain)
        except DrainedError:
            outcome = drain.reason
        except StopError as exc:
            outcome = exc
        background.cancel_scope.cancel()
    if isinstance(outcome, Summary):
        return outcome
    assert outcome is not None
    raise outcome


def choose_service(
    config: Config, environ: Mapping[str, str], *, local: bool = False, prefer_key_file: bool = False
) -> Service:
    """Return which service a run calls: the embedded engine when there is neither a key nor a URL.

    Raises:
        UsageError: the URL is no base URL, or `--local` and a URL contradict each other.
    """
    if local and config.api.url is not None:
        raise UsageError("--local and an API URL contradict each other")
    key = None if local else read_key(config.api, environ, prefer_file=prefer_key_file)
    if local or (key is None and config.api.url is None):
        return Service("", None, "embedded")
    base_url = check_base_url(config.api.url or VENDOR_URL)
    parts = urlsplit(base_url)
    is_vendor = parts.hostname == urlsplit(VENDOR_URL).hostname
    if key is not None and parts.scheme == "http" and parts.hostname not in {"localhost", "127.0.0.1", "::1"}:
        logger.warning("the API key will cross the network in clear text: %s is not https", parts.hostname)
    return Service(base_url, key, "vendor" if is_vendor else parts.hostname or "")


def suit_engine(config: Config) -> Config:
    """Return settings for the embedded engine, which reads a page a core at a time, and a dense one for many seconds.

    More pages under way would only wait in its queue until their calls time out.
    """
    jobs = min(config.run.jobs, (os.cpu_count() or 1) + 1)
    timeout_s = max(config.api.timeout_s, _ENGINE_TIMEOUT_S)
    api = msgspec.structs.replace(config.api, timeout_s=timeout_s, read_timeout_s=timeout_s)
    return msgspec.structs.replace(config, run=msgspec.structs.replace(config.run, jobs=jobs), api=api)


@asynccontextmanager
async def _open_service(
    service: Service, inputs: Sequence[str], workspace: Path, config: Config, drain: Drain
) -> AsyncGenerator[Service]:
    """Yield the service to call; the embedded one is started, unless no page needs it."""
    if service.metered:
        yield service
        return
    if not await _needs_calls(inputs, workspace, config):
        yield service
        return
    from pipeline.server.embedded import embedded_service  # noqa: PLC0415 - only when it is used

    logger.info("no API key and no --api-url: recognising with the embedded engine on this machine")
    async with embedded_service(config) as started:
        if drain.reason is not None:
            raise DrainedError
        yield started


async def _needs_calls(inputs: Sequence[str], workspace: Path, config: Config) -> bool:
    """Return whether there may be a page to recognise, by a quick look that opens no page: an engine takes seconds."""
    if "-" in inputs:
        return True
    index = Index.peek(workspace) if (workspace / INDEX).exists() else None
    with closing(index) if index is not None else nullcontext():
        files = walk(resolve_job_inputs(inputs, workspace), config.input, stdin=None, null_separated=False)
        async with aclosing(files):
            async for file in files:
                if index is None or config.input.changed_by == "sha256" or index.look_up_file(file) is None:
                    return True
    return False


async def _watch_signals(drain: Drain) -> None:
    """Drain at the first SIGINT or SIGTERM, abort at the second."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for number in signals:
            code = 128 + number
            if drain.reason is not None and isinstance(drain.reason, InterruptedRunError):
                os._exit(code)  # as asked: at once; the workspace is built to survive a kill
            logger.warning("%s: finishing the calls under way; once more aborts", signal.Signals(number).name)
            drain.request(InterruptedRunError(f"ended by {signal.Signals(number).name}", exit_code=code))


def describe_summary(summary: Summary) -> str:
    """Return a run's end in one line."""
    ended = ", ".join(f"{number} {state}" for state, number in summary.totals.items() if number) or "no pages"
    left = "" if summary.calls_left is None else f", {summary.calls_left} left this month"
    line = f"{ended}; {summary.calls} calls{left}; {summary.elapsed_s:.1f} s"
    return line if summary.reason is None else f"{line}; stopped: {summary.reason}"


def show_status(workspace: Path, *, as_json: bool) -> int:
    """Print where a workspace stands."""
    from pipeline.audit import count_pages  # noqa: PLC0415 - only for this command

    run_file = require_workspace(workspace)
    totals = count_pages(workspace)
    if as_json:
        numbers = {state.value: number for state, number in totals.items()}
        ended = {"finished": run_file.finished, "exit_code": run_file.exit_code}
        _print_json({"service": run_file.service, "pages": sum(totals.values()), **numbers, **ended})
        return 0
    last = "under way or killed" if run_file.finished is None else f"{run_file.finished}, exit {run_file.exit_code}"
    lines = [f"pages      {sum(totals.values()):>9,}"]
    lines += [f"{state:<10} {totals[state]:>9,}" for state in State]
    lines += [f"service    {run_file.service}", f"last run   {last}"]
    _print("\n".join(lines) + "\n")
    return 0


def verify_workspace(workspace: Path) -> int:
    """Print a line for each fault; return 1 when there is one."""
    from pipeline.audit import audit  # noqa: PLC0415 - only for this command
    from pipeline.workspace import hold_workspace  # noqa: PLC0415 - only for this command

    run_file = require_workspace(workspace)
    faults = 0
    with hold_workspace(workspace):
        for fault in audit(workspace, run_file):
            faults += 1
            _print(fault + "\n")
    logger.info("%s: %s", workspace, "the accounts add up" if not faults else f"{faults} faults")
    return 1 if faults else 0


def show_quota(config: Config, *, already_used: int | None, prefer_key_file: bool, as_json: bool) -> int:
    """Print the ledger of the key by month."""
    from pipeline.ledger import Ledger  # noqa: PLC0415 - only for this command

    service = choose_service(config, os.environ, prefer_key_file=prefer_key_file)
    path = ledger_file(config, service)
    if path is None:
        raise UsageError("no API key: the embedded engine keeps no ledger (set PAGEMILL_API_KEY)")
    if not path.exists() and already_used is None:
        logger.info("nothing was counted for this key yet")
        return 0
    ledger = Ledger(path, Calendar(config.budget.timezone, config.budget.reset_day), config.budget.limit)
    try:
        if already_used is not None:
            ledger.set_used(already_used)
        usages = [ledger.usage(month) for month in ledger.months() or [ledger.usage().month]]
        rows = [(usage, ledger.resets_at(usage.month)) for usage in usages]
    finally:
        ledger.close()
    if as_json:
        _print_json(
            [{**_as_dict(usage), "left": usage.left, "resets": f"{at:%Y-%m-%dT%H:%M:%SZ}"} for usage, at in rows]
        )
        return 0
    _print("month       used  pending  unknown      left  resets (UTC)\n")
    for usage, at in rows:
        left = "any" if usage.left is None else str(usage.left)
        _print(
            f"{usage.month}  {usage.used:>7}  {usage.pending:>7}  {usage.unknown:>7}  {left:>8}  {at:%Y-%m-%d %H:%M}\n"
        )
    return 0


def run_server(config: Config, *, exit_with_parent: bool) -> int:
    """Serve until a signal, or the parent's end."""
    from pipeline.server.serve import read_serve_key, serve, stop_at_end_of_stdin  # noqa: PLC0415 - only here

    key = read_serve_key(os.environ)
    failure: StopError | None = None

    async def main() -> None:
        nonlocal failure
        stop = anyio.Event()
        async with anyio.create_task_group() as background:
            background.start_soon(_stop_on_signal, stop)
            unwatch = stop_at_end_of_stdin(stop) if exit_with_parent else None
            try:
                await serve(config.serve, key=key, stop=stop, ready=_announce)
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
    _print(base_url + "\n")


async def _stop_on_signal(stop: anyio.Event) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            stop.set()


def format_config(config: Config) -> str:
    """Return the configuration as TOML; what is not set stands as a comment."""
    lines: list[str] = []
    for section, table in config.without_secrets().items():
        lines.append(f"[{section}]")
        for key, value in table.items():
            encoded = orjson.dumps(value).decode()  # JSON's strings, numbers and arrays are TOML's
            lines.append(f"# {key} is not set" if value is None else f"{key} = {encoded}")
        lines.append("")
    return "\n".join(lines)


def _has_uvloop() -> bool:
    from importlib.util import find_spec  # noqa: PLC0415 - only for this question

    return find_spec("uvloop") is not None


def _as_dict(usage: Usage) -> dict[str, Any]:
    return {name: getattr(usage, name) for name in usage.__slots__}


def _print_json(value: object) -> None:
    _print(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode() + "\n")


def _print(text: str) -> None:
    """Write to stdout at once; what was asked for and cannot be written is an error.

    Raises:
        StorageError: stdout takes nothing.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as exc:
        raise StorageError(f"stdout: {exc.strerror or exc}") from exc
