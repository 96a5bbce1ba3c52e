"""`pagemill quota`: the ledger of an API key by month."""

import dataclasses
import logging
import os
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from pipeline.billing import Calendar
from pipeline.cli.console import print_json, print_text
from pipeline.cli.help import GroupedOption
from pipeline.cli.help import command as as_command
from pipeline.cli.options import config_option, json_option, load, prefers_key_file, service_options
from pipeline.config import Config
from pipeline.errors import UsageError
from pipeline.ledger.base import Ledger
from pipeline.ledger.places import find_place
from pipeline.remote.endpoint import choose_service

logger = logging.getLogger("pagemill")


def show_quota(
    config: Config, *, already_used: int | None, prefer_key_file: bool, as_json: bool, force: bool = False
) -> int:
    """Print the ledger of the key by month, after setting this month's calls to `already_used`.

    Args:
        config: All settings.
        already_used: Calls of this month; None leaves the ledger as it is.
        prefer_key_file: True when the key file was given for this run.
        as_json: True prints JSON.
        force: True lets `already_used` be lower than what the ledger has counted.

    Raises:
        UsageError: there is no key, or `already_used` is lower without `force`.
        LedgerError: the ledger cannot be trusted.
    """
    service = choose_service(config, os.environ, prefer_key_file=prefer_key_file)
    place = find_place(config, service)
    if place is None:
        raise UsageError("no API key: the embedded engine keeps no ledger (set PAGEMILL_API_KEY)")
    if not place.exists() and already_used is None:
        logger.info("nothing was counted for this key yet")
        if as_json:
            print_json([])
        return 0
    calendar = Calendar(config.budget.timezone, config.budget.reset_day)
    with closing(place.open(calendar, config.budget.limit)) as ledger:
        if already_used is not None:
            _set_used(ledger, already_used, force=force)
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


def _set_used(ledger: Ledger, already_used: int, *, force: bool) -> None:
    """Set the calls of this month; those under way count on top of them.

    Raises:
        UsageError: it is fewer than the ledger has counted, without `force`.
    """
    before = ledger.usage()
    counted = before.used - before.pending
    is_right_month = ledger.clock_problem() is None
    if already_used < counted and is_right_month and not force:
        raise UsageError(
            f"--already-used {already_used}: the ledger has counted {counted} calls in {before.month}; with a lower "
            "number pagemill may make more calls than the plan has; add --force to set it"
        )
    month = ledger.set_used(already_used).month
    if is_right_month:
        logger.info("%s: the ledger had counted %d calls; now it is %d", month, counted, already_used)


@as_command(
    "quota",
    *service_options(),
    GroupedOption(
        ["--already-used"],
        type=click.IntRange(min=0),
        metavar="N",
        help="Set the calls used this month, from the vendor's dashboard.",
    ),
    GroupedOption(["--force"], is_flag=True, help="Let --already-used lower the number that the ledger has counted."),
    config_option(),
    json_option(),
    help="Show the calls that the ledger of the API key has counted, by month.",
    examples=("pagemill quota --tier basic", "pagemill quota --tier basic --already-used 120"),
    exit_codes=(0, 1, 2),
)
def command(config_file: Path | None, *, as_json: bool, already_used: int | None, force: bool, **options: Any) -> int:
    """Run `pagemill quota`."""
    config = load(config_file, options)
    prefer_key_file = prefers_key_file(options)
    return show_quota(config, already_used=already_used, prefer_key_file=prefer_key_file, as_json=as_json, force=force)
