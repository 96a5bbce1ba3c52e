"""Tokens and logs of calls for the tests of the pace's parts."""

from collections.abc import Iterable

from pipeline.remote.pace.calls import CallLog, Token


def token(serial: int, sent_s: float, *, others: int = 0, rate_per_s: float = 50.0) -> Token:
    """Return the token of a call."""
    return Token(sent_s, serial, others, rate_per_s)


def log_of(times_s: Iterable[float]) -> CallLog:
    """Return the log of calls sent at these times, of which none was refused."""
    log = CallLog()
    for serial, sent_s in enumerate(times_s):
        log.add(token(serial, sent_s))
    return log
