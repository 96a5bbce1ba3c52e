"""progress.json: the counters of the run that is under way, for `status`; without a sync, and gone at the end.

A run that was killed leaves its file, which is then old.
"""

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from pipeline.records import rfc3339
from pipeline.workspace.paths import PROGRESS

EVERY_S: Final = 15.0
"""How often a run writes the file."""

_STALE: Final = timedelta(seconds=4 * EVERY_S)
"""An older file says nothing of a run that is under way: it was killed, or the machine is stuck."""


class LiveProgress(msgspec.Struct, frozen=True, kw_only=True):
    """The counters of a run.

    Attributes:
        run_id: The run's id.
        updated: When they were taken, RFC 3339.
        elapsed_s: Since the run began, in seconds.
        pages: Pages that have ended in this run, by state.
        in_flight: Files that hold a slot.
        calls: Calls of this run that count against the quota.
        calls_left: Calls left in the month; None when there is no limit.
        sent: All calls of this run.
        refused: Those that were refused for now.
        paused_s: Seconds left of the pause that a refusal caused.
    """

    run_id: str
    updated: str
    elapsed_s: float
    pages: Mapping[str, int]
    in_flight: int
    calls: int
    calls_left: int | None
    sent: int
    refused: int
    paused_s: float

    @property
    def pages_per_s(self) -> float:
        """Pages per second that ended in this run."""
        return sum(self.pages.values()) / self.elapsed_s if self.elapsed_s > 0 else 0.0

    def is_fresh(self, now: datetime) -> bool:
        """Return whether the run that wrote this is under way."""
        with suppress(ValueError):
            return abs(now - datetime.fromisoformat(self.updated)) < _STALE
        return False


def write_live_progress(workspace: Path, progress: LiveProgress) -> None:
    """Replace the file; a disk that does not take it changes nothing."""
    temporary = workspace / f".{PROGRESS}.new"
    with suppress(OSError):
        temporary.write_bytes(msgspec.json.encode(progress) + b"\n")
        temporary.replace(workspace / PROGRESS)


def remove_live_progress(workspace: Path) -> None:
    """Remove the file."""
    for name in (PROGRESS, f".{PROGRESS}.new"):
        with suppress(OSError):
            (workspace / name).unlink(missing_ok=True)


def read_live_progress(workspace: Path, now: datetime | None = None) -> LiveProgress | None:
    """Return the counters of the run that is under way; None when none is, or when it is about to write its first."""
    try:
        found = msgspec.json.decode((workspace / PROGRESS).read_bytes(), type=LiveProgress)
    except (OSError, msgspec.DecodeError):
        return None
    return found if found.is_fresh(now if now is not None else datetime.now(UTC)) else None


def utc_now() -> str:
    """Return the time for `updated`."""
    return rfc3339(datetime.now(UTC))
