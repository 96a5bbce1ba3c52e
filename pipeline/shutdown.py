"""How a run ends early: no new call goes out, calls under way finish, accounts are settled."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import anyio

from pipeline.errors import StopError
from pipeline.exit_codes import EXIT_PRECEDENCE

SERVER_SHUTDOWN_S: Final = 8.0
"""How long the server lets requests under way finish; later ones are refused. With the time to send the answers this
is the ten seconds that `docker stop` waits."""


class ShuttingDownError(Exception):
    """The run is ending, so this page was not sent; it stays pending."""


class Shutdown:
    """Collects the reasons to end a run and cancels work that has not been sent."""

    def __init__(self) -> None:
        self._unreserved: set[anyio.CancelScope] = set()
        self._reserved: set[anyio.CancelScope] = set()
        self._reasons: list[StopError] = []
        self._calls: dict[str, str] = {}
        self._cancels_reserved = False
        self.requested = anyio.Event()
        """Set by the first request."""

    def __repr__(self) -> str:
        return f"<Shutdown {self._reasons!r}, {len(self._unreserved)} unreserved, {len(self._reserved)} reserved>"

    @property
    def reason(self) -> StopError | None:
        """The reason with the highest exit-code precedence; None while the run goes on."""
        return min(self._reasons, key=lambda reason: EXIT_PRECEDENCE.index(reason.exit_code), default=None)

    def describe_calls(self) -> list[str]:
        """Return one message for each call that may be billed and whose text is not on disk yet."""
        return [f"{page}: the call may be billed and is lost (attempt {id_})" for id_, page in self._calls.items()]

    def begin_call(self, attempt: str, page: str) -> None:
        """Note that a call goes out; ended abruptly from here on, the run must name it."""
        self._calls[attempt] = page

    def end_call(self, attempt: str) -> None:
        """Note that a call's text is on disk, or that it brought none."""
        self._calls.pop(attempt, None)

    def request(self, reason: StopError, *, spare_reserved: bool = False) -> None:
        """End the run; may be called several times.

        Args:
            reason: Why.
            spare_reserved: True still sends the pages that hold a reservation: the quota is used up, but those calls
                are already counted.
        """
        self._reasons.append(reason)
        self._cancels_reserved = self._cancels_reserved or not spare_reserved
        self.requested.set()
        for scope in (*self._unreserved, *(() if spare_reserved else self._reserved)):
            scope.cancel()

    def check(self) -> None:
        """Return while the run goes on.

        Raises:
            ShuttingDownError: the run is ending.
        """
        if self._reasons:
            raise ShuttingDownError

    @contextmanager
    def cancels_unsent(self, *, reserved: bool = False) -> Generator[None]:
        """Run work that precedes a call; cancelled when the run is ending.

        Args:
            reserved: True for work on a page that holds a reservation: a request that spares those does not cancel it.

        Raises:
            ShuttingDownError: the run is ending.
        """
        if self._cancels_reserved if reserved else self._reasons:
            raise ShuttingDownError
        scopes = self._reserved if reserved else self._unreserved
        with anyio.CancelScope() as scope:
            scopes.add(scope)
            try:
                yield
            finally:
                scopes.discard(scope)
        if scope.cancel_called:  # also when the work had just finished: no call may follow it
            raise ShuttingDownError
