"""How a run ends early: no new calls, what is on the wire lands, the accounts settle."""

from collections.abc import Generator
from contextlib import contextmanager

import anyio

from pipeline.errors import EXIT_PRECEDENCE, StopError


class DrainedError(Exception):
    """This page was not sent, since the run is ending; it stays pending."""


class Drain:
    """The one place where reasons to end a run meet, and where work that has not been sent is called off."""

    def __init__(self) -> None:
        self._unreserved: set[anyio.CancelScope] = set()
        self._reserved: set[anyio.CancelScope] = set()
        self._reasons: list[StopError] = []
        self._at_once = False
        self.requested = anyio.Event()
        """Set by the first request."""

    def __repr__(self) -> str:
        return f"<Drain {self._reasons!r}, {len(self._unreserved)} unreserved, {len(self._reserved)} reserved>"

    @property
    def reason(self) -> StopError | None:
        """The reason that decides the exit code: the first in the order of precedence; None while the run goes on."""
        return min(self._reasons, key=lambda reason: EXIT_PRECEDENCE.index(reason.exit_code), default=None)

    def request(self, reason: StopError, *, spare_reserved: bool = False) -> None:
        """End the run; may be called several times.

        Args:
            reason: Why.
            spare_reserved: True lets pages go out that have their reservation: the budget is used up, not the run.
        """
        self._reasons.append(reason)
        self._at_once = self._at_once or not spare_reserved
        self.requested.set()
        for scope in (*self._unreserved, *(() if spare_reserved else self._reserved)):
            scope.cancel()

    def check(self) -> None:
        """Return quietly while the run goes on.

        Raises:
            DrainedError: the run is ending.
        """
        if self._reasons:
            raise DrainedError

    @contextmanager
    def unreserved(self) -> Generator[None]:
        """Run what precedes a reservation: it is called off when the run is ending.

        Raises:
            DrainedError: the run is ending.
        """
        self.check()
        with self._member(self._unreserved):
            yield

    @contextmanager
    def reserved(self) -> Generator[None]:
        """Run what lies between a reservation and its call: it is called off unless reserved pages are spared.

        Raises:
            DrainedError: the run is ending at once.
        """
        if self._at_once:
            raise DrainedError
        with self._member(self._reserved):
            yield

    @contextmanager
    def _member(self, scopes: set[anyio.CancelScope]) -> Generator[None]:
        with anyio.CancelScope() as scope:
            scopes.add(scope)
            try:
                yield
            finally:
                scopes.discard(scope)
        if scope.cancel_called:  # whether the work noticed or had just finished: no call may follow it
            raise DrainedError
