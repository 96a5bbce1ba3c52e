"""What a call needs before it is sent: a reservation in the ledger and a turn at the gate."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

from pipeline.ledger.budget import Attempt, Budget
from pipeline.records import PageId
from pipeline.remote.gate import Gate
from pipeline.remote.pace import Token
from pipeline.shutdown import Shutdown


class Permits:
    """Obtains both; a page that must wait for long holds no reservation, so a crash meanwhile costs nothing.

    A reservation whose run others may take for dead is given back and made again.

    The reservation precedes the turn, because a disk that syncs slowly would delay calls against the pace.

    Args:
        budget: Reserves calls.
        gate: Gives turns.
        shutdown: Cancels the wait.
        is_turn_first: The turn precedes the reservation, for `--at-most-once`: a page that a crash meets with a
            reservation counts as uncertain, whether it was sent or not.
    """

    def __init__(self, budget: Budget, gate: Gate, shutdown: Shutdown, *, is_turn_first: bool) -> None:
        self._budget = budget
        self._gate = gate
        self._shutdown = shutdown
        self._is_turn_first = is_turn_first

    def __repr__(self) -> str:
        return f"<Permits {self._budget!r} {self._gate!r}>"

    @asynccontextmanager
    async def obtain(self, page: PageId, source: str) -> AsyncGenerator[tuple[Attempt, Token]]:
        """Yield a reservation and a turn, once the call may be sent.

        Args:
            page: The page's id.
            source: The page's name in messages.

        Raises:
            ShuttingDownError: the run is ending.
            StopError: as `Budget.reserve`.
        """
        turn: Token | None = None
        while True:
            async with AsyncExitStack() as stack:
                with self._shutdown.cancels_unsent():
                    entry = await stack.enter_async_context(self._gate.entry())
                    if self._is_turn_first:
                        turn = await self._gate.wait_turn(entry)
                try:
                    attempt = await stack.enter_async_context(self._budget.reserve(page, source))
                except BaseException:
                    if turn is not None:
                        self._gate.report_ended(turn, answered=False)
                    raise
                if turn is None:
                    with self._shutdown.cancels_unsent(reserved=True):
                        turn = await self._gate.wait_near_turn(entry)
                if turn is not None and attempt.may_send():  # nothing is awaited between this and the POST
                    yield attempt, turn
                    return
                if turn is not None:
                    self._gate.report_ended(turn, answered=False)
                    turn = None
            await self._budget.flush()
