"""An event loop whose timers are on time.

The timeouts of epoll are whole milliseconds, which asyncio rounds up: behind a limiter that admits one call in 20 ms,
that costs 3 % of the calls. `select` counts in microseconds, and can wait for an epoll.
"""

import asyncio
import select
import selectors
import sys
from typing import Final

_FIRST_NOT_SELECTED: Final = 1024
"""`select` takes descriptors below this one."""


def punctual_loop() -> asyncio.AbstractEventLoop:
    """Return a new event loop; where the system has no epoll, it is asyncio's own."""
    if sys.platform != "linux":
        return asyncio.new_event_loop()
    return asyncio.SelectorEventLoop(PunctualSelector())


if sys.platform == "linux":

    class PunctualSelector(selectors.EpollSelector):
        """Waits for at most as long as it is told to."""

        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            """Return what is ready; see `selectors.BaseSelector.select`."""
            if timeout is not None and timeout > 0 and self.fileno() < _FIRST_NOT_SELECTED:
                select.select([self.fileno()], [], [], timeout)
                timeout = 0
            return super().select(timeout)
