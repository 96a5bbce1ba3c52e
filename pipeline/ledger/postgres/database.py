"""The connections to the database: in an event loop of their own thread, asked by blocking calls, tried again.

asyncpg closes each transaction with the statement that it sends, so one call is one round trip. Every statement that
the ledger sends may be carried out twice (`sql/functions.sql`), so that one whose answer was lost is sent again.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Final, TypeVar

from anyio.from_thread import start_blocking_portal

from pipeline.config.database_url import without_password
from pipeline.errors import LedgerError, TemporaryError, UsageError, WorkspaceLockedError
from pipeline.ledger.operations import Terms

if TYPE_CHECKING:
    from asyncpg import Connection, Pool, Record

T = TypeVar("T")

_CONNECT_S: Final = 10.0
_ANSWER_S: Final = 10.0
"""A statement takes milliseconds; after this time without an answer the connection counts as dead."""
_ENDING_S: Final = 5.0
"""For how long a run that is ending still tries to settle its calls; the next run settles the others."""
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 2.0
_SILENT_S: Final = 2.0
"""A shorter wait is not reported."""
_TAKEN_OVER: Final = "PM001"
"""The error of `renew_lease` for a run that was replaced."""
_CONNECTIONS: Final = 3
"""One for the groups of calls, one for the heartbeat, one for a check meanwhile."""

logger = logging.getLogger("pagemill")


@dataclass(frozen=True, slots=True)
class Address:
    """A database and a key in it.

    Attributes:
        url: As configured, with the password if it holds one.
        key: The hash of the API key.
    """

    url: str
    key: str

    @property
    def name(self) -> str:
        """The ledger in messages and run.json: the URL without a password, and the hash of the key."""
        return f"{without_password(self.url)}#{self.key}"

    def __repr__(self) -> str:
        return f"<Address {self.name}>"


def load_asyncpg() -> ModuleType:
    """Return asyncpg.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import asyncpg  # noqa: PLC0415 - an optional package, and slow to load
    except ImportError as exc:
        raise UsageError("a ledger in PostgreSQL needs asyncpg: pip install 'pagemill[postgres]'") from exc
    module: ModuleType = asyncpg
    return module


class Database:
    """The connections of one process to the database; any thread may ask.

    Args:
        address: Where it is.
        terms: How long to try, and when to give up.

    Raises:
        UsageError: the URL is wrong, or asyncpg is not installed.
    """

    def __init__(self, address: Address, terms: Terms) -> None:
        self._address = address
        self._terms = terms
        self._asyncpg = load_asyncpg()
        self._pool: Pool | None = None
        self._opening = asyncio.Lock()
        self._portal_context = start_blocking_portal("asyncio")
        self._portal = self._portal_context.__enter__()

    def __repr__(self) -> str:
        return f"<Database {self._address.name}>"

    def close(self) -> None:
        """Close all connections and stop the thread."""
        self._portal.call(self._close)
        self._portal.call(self._portal.stop, True)  # noqa: FBT003 - the portal passes no keywords
        self._portal_context.__exit__(None, None, None)

    def start(self, task: Callable[[], Awaitable[None]]) -> None:
        """Run a task in the connections' event loop until it ends or is told to."""
        self._portal.start_task_soon(task)

    def stop(self, event: asyncio.Event) -> None:
        """Set an event of that loop."""
        self._portal.call(event.set)

    def fetch(self, statement: str, *values: object) -> "list[Record]":
        """Return the rows of a statement.

        Raises:
            TemporaryError: the database is away for longer than the run's patience.
            LedgerError: it refuses the statement.
        """
        return self.call(lambda db: db.fetch(statement, *values))

    def call(self, use: "Callable[[Connection], Awaitable[T]]", *, is_patient: bool = True) -> T:
        """Return what `use` returns, tried again as long as the database is away; errors as for `fetch`."""
        result: T = self._portal.call(self.try_again, use, is_patient)
        return result

    async def try_again(self, use: "Callable[[Connection], Awaitable[T]]", is_patient: bool = True) -> T:  # noqa: FBT001, FBT002 - the portal passes no keywords
        """Do as `call`, from the connections' event loop."""
        begun_s, pause_s, is_reported = time.monotonic(), _FIRST_PAUSE_S, False
        while True:
            try:
                with self._translated():
                    pool = await self._open()
                    async with pool.acquire(timeout=_CONNECT_S) as db:
                        return await use(db)
            except _AwayError as exc:
                waited_s = time.monotonic() - begun_s
                if not is_patient or waited_s >= self._patience_s():
                    raise TemporaryError(
                        f"ledger {self._address.name}: the database is away ({exc}); no call goes out without it; "
                        "run again later"
                    ) from exc.__cause__
                if waited_s >= _SILENT_S and not is_reported:
                    is_reported = True
                    logger.warning("ledger %s: the database is away (%s); calls wait", self._address.name, exc)
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - spreads the tries of many runs
            pause_s = min(_LONGEST_PAUSE_S, 2 * pause_s)

    def _patience_s(self) -> float:
        return min(_ENDING_S, self._terms.patience_s) if self._terms.is_ending() else self._terms.patience_s

    async def _open(self) -> "Pool":
        async with self._opening:
            if self._pool is None:
                self._pool = await self._asyncpg.create_pool(
                    self._address.url,
                    min_size=0,
                    max_size=_CONNECTIONS,
                    reset=_leave_as_it_is,
                    timeout=_CONNECT_S,
                    command_timeout=_ANSWER_S,
                    max_inactive_connection_lifetime=0,
                    # A commit that is answered is on the server's disk, whatever its default is.
                    server_settings={"application_name": "pagemill", "synchronous_commit": "on"},
                )
            return self._pool

    async def _close(self) -> None:
        if self._pool is not None:
            self._pool.terminate()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        pg = self._asyncpg
        refused = (pg.ClientConfigurationError, pg.InvalidAuthorizationSpecificationError, pg.InvalidCatalogNameError)
        try:
            yield
        except refused as exc:
            raise UsageError(f"ledger {self._address.name}: {_reason(exc)}") from exc
        except (
            pg.PostgresConnectionError,
            pg.SerializationError,
            pg.DeadlockDetectedError,
            pg.OperatorInterventionError,  # a shutdown, a crash, a start that is not over
            pg.TooManyConnectionsError,
            pg.ReadOnlySQLTransactionError,  # a standby that is about to be promoted
            pg.InterfaceError,
            OSError,
            TimeoutError,
        ) as exc:
            raise _AwayError(_reason(exc)) from exc
        except (pg.PostgresError, LedgerError) as exc:
            if getattr(exc, "sqlstate", None) == _TAKEN_OVER:
                raise WorkspaceLockedError(
                    "this attempt was taken for dead, and another one does its work; it makes no further call"
                ) from exc
            raise LedgerError(f"ledger {self._address.name}: {_reason(exc)}; no call goes out without it") from exc


class _AwayError(Exception):
    """The database may answer later; the message is why it does not."""


def _reason(exc: BaseException) -> str:
    return " ".join(str(exc).split()) or type(exc).__name__


async def _leave_as_it_is(_: "Connection") -> None:
    """Reset nothing when a connection goes back to the pool: no statement of the ledger changes a session.

    asyncpg would send `RESET ALL` and three more statements: a second round trip after each grant.
    """


def texts(values: Sequence[str]) -> list[str]:
    """Return texts as PostgreSQL takes them: without the character NUL."""
    return [value.replace("\0", "") for value in values]
