"""The ledger's calls beside the lines that they brought: is each text on disk counted, and counted once?"""

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from pipeline.billing import Calendar, may_be_folded
from pipeline.errors import LedgerError
from pipeline.ledger.schema import read_attempts, read_folded
from pipeline.verify.line_checks import show_name
from pipeline.workspace.cache_database import CacheDatabase
from pipeline.workspace.paths import RESULTS
from pipeline.workspace.run_file import RunFile

logger = logging.getLogger("pagemill")

_CALLS: Final = "CREATE TABLE call (id TEXT PRIMARY KEY, page TEXT, source TEXT, state TEXT) WITHOUT ROWID"
_TEXTS: Final = """
SELECT result.number, result.source, result.attempt, call.state, result.id = call.page, call.source
FROM result JOIN call ON call.id = result.attempt
WHERE result.original IS NULL AND (call.state <> 'posted' OR result.id <> call.page)
"""
_UNCOUNTED: Final = """
SELECT number, source, attempt, added, elapsed_ms FROM result
WHERE original IS NULL AND metered AND NOT EXISTS (SELECT 1 FROM call WHERE call.id = result.attempt)
"""
_WITHOUT_LINE: Final = """
SELECT id, page, source FROM call WHERE state = 'posted'
AND NOT EXISTS (SELECT 1 FROM result WHERE result.id = call.page)
AND NOT EXISTS (SELECT 1 FROM failure WHERE failure.id = call.page)
"""


class LedgerCopy:
    """The calls of a workspace, from all of its ledgers.

    Args:
        run_file: Names the ledgers, which are only read.
        database: That of the evidence; the calls are added to it.
    """

    def __init__(self, run_file: RunFile, database: CacheDatabase) -> None:
        self._run_file = run_file
        self._db = database
        self._folded: dict[str, int] = {}
        self._is_complete = bool(run_file.ledgers)

    def __repr__(self) -> str:
        return f"<LedgerCopy {len(self._run_file.ledgers)} ledgers>"

    def compare(self) -> Iterator[str]:
        """Yield what is wrong with the ledgers, and where they contradict the lines."""
        paths = dict.fromkeys((*self._run_file.ledgers, self._run_file.ledger))
        self._db.rows(_CALLS)
        for path in paths:
            if path is not None:
                yield from self._read(path)
        yield from self._compare_texts()
        if self._is_complete:
            yield from self._find_uncounted()
            self._tell_without_line()

    def _read(self, path: str) -> Iterator[str]:
        if not Path(path).exists():
            self._is_complete = False
            if path == self._run_file.ledger:
                yield f"ledger {path}: it is gone; the calls that it counted can no longer be"
            else:
                logger.info("ledger %s: the ledger of an earlier run is gone", path)
            return
        try:
            calls = read_attempts(Path(path), self._run_file.workspace_id)
            rows = ((call.id, call.page, call.source, call.state.value) for call in calls)
            self._db.change_many("INSERT OR REPLACE INTO call VALUES (?, ?, ?, ?)", rows)
            for month, number in read_folded(Path(path)).items():
                self._folded[month] = self._folded.get(month, 0) + number
        except LedgerError as exc:
            self._is_complete = False
            yield " ".join(str(exc).split())

    def _compare_texts(self) -> Iterator[str]:
        # a run that was killed, or ended by an error such as a full disk, could not settle all of its calls
        was_cut_off, open_calls = self._run_file.finished is None or self._run_file.exit_code == 1, 0
        for number, source, attempt, state, is_its_own, other in self._db.stream(_TEXTS):
            place = f"{RESULTS}:{number}: {show_name(source)}"
            if not is_its_own:
                yield f"{place}: the ledger knows its call {attempt} as one for another content ({other})"
            elif state == "void":
                yield f"{place}: the ledger counts its call {attempt} as never made"
            elif state == "unknown":
                yield f"{place}: the ledger counts its call {attempt} as lost"
            elif was_cut_off:
                open_calls += 1
            else:
                yield f"{place}: the ledger counts its call {attempt} as under way"
        if open_calls:
            logger.info("the ledger has %d calls of the last run as under way; the next run settles them", open_calls)

    def _find_uncounted(self) -> Iterator[str]:
        """Name each text whose call must have a row in a ledger and has none.

        A record says how long its page took, so that it tells the time before the reservation, too: about the end of
        a month either may be the one in which the call was folded.
        """
        calendar = _calendar(self._run_file)
        for number, source, attempt, added, elapsed_ms in self._db.stream(_UNCOUNTED):
            try:
                ended = datetime.fromisoformat(added)
                moments = (ended - timedelta(milliseconds=elapsed_ms), ended)
                if any(may_be_folded(moment, calendar, self._folded) for moment in moments):
                    continue
            except (ValueError, OverflowError, TypeError, KeyError):
                continue  # without a time, or a calendar, nothing is certain
            yield f"{RESULTS}:{number}: {show_name(source)}: no ledger counts its call {attempt}"

    def _tell_without_line(self) -> None:
        """Tell of calls that count and left no line: none was owed if they failed and the run ended before the page."""
        for attempt, page_id, source in self._db.stream(_WITHOUT_LINE):
            message = "%s: the call %s counts, and no line tells of its page (%s): it failed, or the line is lost"
            logger.warning(message, source or "?", attempt, page_id)


def _calendar(run_file: RunFile) -> Calendar:
    budget = run_file.section("budget")
    return Calendar(budget.get("timezone", "UTC"), budget.get("reset_day", 1))
