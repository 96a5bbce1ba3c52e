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
        self._scopes: set[anyio.CancelScope] = set()
        self._reasons: list[StopError] = []

    def __repr__(self) -> str:
        return f"<Drain {self._reasons!r}, {len(self._scopes)} unsent>"

    @property
    def reason(self) -> StopError | None:
        """The reason that decides the exit code: the first in the order of precedence; None while the run goes on."""
        return min(self._reasons, key=lambda reason: EXIT_PRECEDENCE.index(reason.exit_code), default=None)

    def request(self, reason: StopError) -> None:
        """End the run; may be called several times."""
        self._reasons.append(reason)
        for scope in tuple(self._scopes):
            scope.cancel()

    @contextmanager
    def unsent(self) -> Generator[None]:
        """Run what precedes a call: it is called off when the run is ending.

        Raises:
            DrainedError: the run is ending.
        """
        if self._reasons:
            raise DrainedError
        with anyio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                yield
            finally:
                self._scopes.discard(scope)
        if scope.cancel_called:  # whether the work noticed or had just finished: no call may follow it
            raise DrainedError
