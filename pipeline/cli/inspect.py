"""The commands that only look: status, verify, quota, config; and how anything is printed on stdout."""

import dataclasses
import logging
import os
import sys
from contextlib import closing
from pathlib import Path

import orjson

from pipeline.billing import Calendar
from pipeline.config import Config
from pipeline.errors import StorageError, UsageError
from pipeline.ledger.budget import ledger_file
from pipeline.ledger.ledger import Ledger
from pipeline.records import State
from pipeline.remote.endpoint import choose_service
from pipeline.verify.audit import audit, count_pages
from pipeline.workspace.run_file import require_workspace, watch_workspace
from pipeline.workspace.tables import RESULTS

logger = logging.getLogger("pagemill")


def show_status(workspace: Path, *, as_json: bool) -> int:
    """Print where a workspace stands."""
    run_file = require_workspace(workspace)
    totals = count_pages(workspace)
    if as_json:
        numbers = {state.value: number for state, number in totals.items()}
        ended = {"finished": run_file.finished, "exit_code": run_file.exit_code}
        print_json({"service": run_file.service, "pages": sum(totals.values()), **numbers, **ended})
        return 0
    last = "under way or killed" if run_file.finished is None else f"{run_file.finished}, exit {run_file.exit_code}"
    lines = [f"pages      {sum(totals.values()):>9,}"]
    lines += [f"{state:<10} {totals[state]:>9,}" for state in State]
    lines += [f"service    {run_file.service}", f"last run   {last}"]
    print_text("\n".join(lines) + "\n")
    return 0


def verify_workspace(workspace: Path) -> int:
    """Print a line for each fault, changing nothing; return 1 when there is one.

    Raises:
        UsageError: there is no workspace.
        WorkspaceLockedError: a run holds it.
    """
    faults = 0
    run_file = None
    with watch_workspace(workspace):
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


def show_quota(config: Config, *, already_used: int | None, prefer_key_file: bool, as_json: bool) -> int:
    """Print the ledger of the key by month."""
    service = choose_service(config, os.environ, prefer_key_file=prefer_key_file)
    path = ledger_file(config, service)
    if path is None:
        raise UsageError("no API key: the embedded engine keeps no ledger (set PAGEMILL_API_KEY)")
    if not path.exists() and already_used is None:
        logger.info("nothing was counted for this key yet")
        if as_json:
            print_json([])
        return 0
    calendar = Calendar(config.budget.timezone, config.budget.reset_day)
    with closing(Ledger(path, calendar, config.budget.limit)) as ledger:
        if already_used is not None:
            ledger.set_used(already_used)
        if (problem := ledger.clock_problem()) is not None:
            logger.warning("%s", problem)
        rows = [(ledger.usage(month), ledger.resets_at(month)) for month in ledger.months()]
    if as_json:
        print_json(
            [
                {**dataclasses.asdict(usage), "left": usage.left, "resets": f"{at:%Y-%m-%dT%H:%M:%SZ}"}
                for usage, at in rows
            ]
        )
        return 0
    print_text("month       used  pending  unknown      left  resets (UTC)\n")
    for usage, at in rows:
        left = "any" if usage.left is None else str(usage.left)
        print_text(
            f"{usage.month}  {usage.used:>7}  {usage.pending:>7}  {usage.unknown:>7}  {left:>8}  {at:%Y-%m-%d %H:%M}\n"
        )
    return 0


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


def print_json(value: object) -> None:
    """Write a value as indented JSON to stdout."""
    print_text(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode() + "\n")


def print_text(text: str) -> None:
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
