"""Durations as people write them: "90m", "8h"."""

from datetime import datetime, timedelta
from typing import Final

_UNIT_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_duration(value: float | str) -> float:
    """Return seconds: a number, or a number followed by s, m, h or d ("90m").

    Raises:
        ValueError: anything else, or not above zero.
    """
    text = str(value).strip().lower()
    unit = _UNIT_S.get(text[-1:], None)
    seconds = float(text[:-1]) * unit if unit else float(text)
    if not 0 < seconds < float("inf"):
        raise ValueError(f"{value!r} is no duration")
    return seconds


def parse_moment(text: str, now: datetime) -> datetime:
    """Return an aware moment: an ISO date or time, local where it names no zone, or a duration before now ("2d").

    Args:
        text: As people write it.
        now: Aware.

    Raises:
        ValueError: it is neither.
    """
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        return now - timedelta(seconds=parse_duration(text))
    return found.astimezone()
