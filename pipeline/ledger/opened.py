"""A ledger that is open, with a run as the owner of its reservations."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass

import anyio.to_thread

from pipeline.billing import Calendar
from pipeline.config import Config
from pipeline.ledger.base import Ledger, LedgerPlace
from pipeline.ledger.operations import Owner, Terms
from pipeline.shutdown import Shutdown


@dataclass(frozen=True, slots=True)
class OpenLedger:
    """An open ledger.

    Attributes:
        place: Where it is.
        ledger: The ledger.
        owner: The run, alive to all others while the ledger is open.
    """

    place: LedgerPlace
    ledger: Ledger
    owner: Owner


@asynccontextmanager
async def open_ledger(place: LedgerPlace, config: Config, shutdown: Shutdown) -> AsyncGenerator[OpenLedger]:
    """Open a ledger, made when it is missing, with a new owner.

    Args:
        place: Where it is.
        config: The plan's month and quota, the account's rate, the run's patience.
        shutdown: A run that is ending waits for a ledger that is away no longer than for its settlements.

    Raises:
        UsageError: the address, the user or the password is wrong.
        TemporaryError: it is away for longer than the run's patience.
        LedgerError: it cannot be trusted.
    """
    calendar = Calendar(config.budget.timezone, config.budget.reset_day)
    terms = Terms(config.run.rate_per_s, config.run.patience_s, lambda: shutdown.reason is not None)
    opened = await anyio.to_thread.run_sync(place.open, calendar, config.budget.limit, terms)
    with closing(opened) as ledger, ledger.own() as owner:
        yield OpenLedger(place, ledger, owner)
