"""SIGHUP, SIGINT and SIGTERM: the first ends the work in order, the second the process, naming what it leaves."""

import logging
import os
import signal
from collections.abc import Callable, Iterable
from typing import Final, NoReturn

import anyio

_SIGNALS: Final = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)

logger = logging.getLogger("pagemill")


async def watch_signals(
    request_end: Callable[[signal.Signals], None], in_flight: str, *, leftovers: Callable[[], Iterable[str]] = tuple
) -> NoReturn:
    """Call `request_end` at the first signal; at the second, name what is left unfinished and exit the process.

    A SIGHUP that the process was started to ignore, as `nohup` does, is not a signal to end.

    Args:
        request_end: Called with the signal.
        in_flight: What is finished first, for the message: "calls".
        leftovers: Returns one message for each thing that the second signal leaves unfinished.
    """
    is_detached = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    watched = [number for number in _SIGNALS if not (is_detached and number is signal.SIGHUP)]
    with anyio.open_signal_receiver(*watched) as signals:
        first = signal.Signals(await anext(signals))
        logger.warning("%s: finishing the %s in flight; a second signal aborts", first.name, in_flight)
        request_end(first)
        second = await anext(signals)
        for message in leftovers():
            logger.error("%s", message)
        os._exit(128 + second)  # skip all clean-up: what is on disk survives a kill
