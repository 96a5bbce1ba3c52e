"""SIGHUP, SIGINT and SIGTERM: the first ends the work in order, the second ends the process."""

import logging
import os
import signal
from collections.abc import Callable
from typing import NoReturn

import anyio

logger = logging.getLogger("pagemill")


async def watch_signals(request_end: Callable[[signal.Signals], None], in_flight: str) -> NoReturn:
    """Call `request_end` at the first signal; exit the process at the second.

    Args:
        request_end: Called with the signal.
        in_flight: What is finished first, for the message: "calls".
    """
    with anyio.open_signal_receiver(signal.SIGHUP, signal.SIGINT, signal.SIGTERM) as signals:
        first = signal.Signals(await anext(signals))
        logger.warning("%s: finishing the %s in flight; a second signal aborts", first.name, in_flight)
        request_end(first)
        os._exit(128 + await anext(signals))  # skip all clean-up: what is on disk survives a kill
