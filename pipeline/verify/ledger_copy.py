"""Compares the attempts of a workspace's ledgers with its lines: each text on disk must have one that counts."""

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from pipeline.billing import Calendar, may_be_folded
from pipeline.errors import StopError, one_line
from pipeline.ledger.places import place_named
from pipeline.verify.evidence import Evidence
from pipeline.verify.line_checks import show_name
from pipeline.workspace.paths import PARTS, RESULTS
from pipeline.workspace.run_file import RunFile

logger = logging.getLogger("pagemill")

_ATTEMPTS: Final = """
CREATE TABLE attempt (id TEXT PRIMARY KEY, page TEXT, source TEXT, state TEXT, is_own INTEGER) WITHOUT ROWID
"""
_CONTRADICTIONS: Final = """
SELECT {call}.number, {call}.source, {call}.attempt, attempt.state, {is_own}, attempt.source
FROM {call} JOIN attempt ON attempt.id = {call}.attempt
WHERE attempt.state NOT IN ('accepted', 'posted') OR NOT {is_own}
"""
_LINES: Final = (
    # A text of several calls has those of its tiles, whose ids in the ledger begin with that of the page.
    (
        RESULTS,
        {"call": "text_call", "is_own": "text_call.id = substr(attempt.page, 1, instr(attempt.page || '@', '@') - 1)"},
    ),
    (PARTS, {"call": "part_call", "is_own": "part_call.tile = attempt.page"}),
)
_UNCOUNTED: Final = """
SELECT number, source, attempt, added, elapsed_ms FROM {call}
WHERE metered AND NOT EXISTS (SELECT 1 FROM attempt WHERE attempt.id = {call}.attempt)
"""
_ACCEPTED_WITHOUT_LINE: Final = """
SELECT id, page, source FROM attempt WHERE state = 'accepted' AND is_own
AND NOT EXISTS (SELECT 1 FROM text_attempt WHERE text_attempt.id = attempt.id)
"""
_WITHOUT_LINE: Final = """
SELECT id, page, source FROM attempt WHERE state = 'posted' AND is_own
AND NOT EXISTS (SELECT 1 FROM result WHERE result.id = attempt.page)
AND NOT EXISTS (SELECT 1 FROM failure WHERE failure.id = attempt.page)
"""


class LedgerCopy:
    """The attempts of a workspace, from all of its ledgers.

    Args:
        run_file: Names the ledgers, which are only read.
        evidence: The lines; a table of the attempts is added to their database.
        configured: `[budget] ledger`.
    """

    def __init__(self, run_file: RunFile, evidence: Evidence, configured: str | None) -> None:
        self._configured = configured
        self._run_file = run_file
        self._evidence = evidence
        self._db = evidence.database
        self._folded: dict[str, int] = {}
        self._is_complete = bool(run_file.ledgers)

    def __repr__(self) -> str:
        return f"<LedgerCopy {len(self._run_file.ledgers)} ledgers>"

    def compare(self) -> Iterator[str]:
        """Yield one line for each fault of a ledger and for each contradiction between a ledger and a line."""
        paths = dict.fromkeys((*self._run_file.ledgers, self._run_file.ledger))
        self._db.rows(_ATTEMPTS)
        for path in paths:
            if path is not None:
                yield from self._read(path)
        yield from self._compare_texts()
        for attempt, page_id, source in self._db.stream(_ACCEPTED_WITHOUT_LINE):
            name = one_line(source) or "?"
            yield f"{name}: the call {attempt} was accepted, and no readable line has its text ({page_id})"
        if self._is_complete:
            yield from self._find_uncounted()
            self._report_without_line()

    def _read(self, path: str) -> Iterator[str]:
        place = place_named(path, self._configured)
        try:
            if not place.exists():
                self._is_complete = False
                if path == self._run_file.ledger:
                    yield f"ledger {path}: it is gone; the calls that it counted cannot be checked"
                else:
                    logger.info("ledger %s: the ledger of an earlier run is gone", path)
                return
            own = (
                (self._run_file.workspace_id, None),
                *((part.workspace_id, part.until) for part in self._run_file.merged),
            )
            for workspace_id, until in (*((former, None) for former in self._run_file.copied_from), *own):
                is_own = workspace_id not in self._run_file.copied_from
                attempts = place.attempts(workspace_id, until=until)
                rows = ((each.id, each.page, each.source, each.state.value, is_own) for each in attempts)
                self._db.change_many("INSERT OR REPLACE INTO attempt VALUES (?, ?, ?, ?, ?)", rows)
            for name, kept, number in place.miscounts():
                yield f"ledger {path}: it counts {kept} settled calls of {name}, its rows are {number}"
            for month, number in place.folded().items():
                self._folded[month] = self._folded.get(month, 0) + number
        except StopError as exc:
            self._is_complete = False
            yield " ".join(str(exc).split())

    def _compare_texts(self) -> Iterator[str]:
        # A run that was killed, or that an error such as a full disk ended, could not settle all of its calls.
        was_cut_off = self._run_file.finished is None or self._run_file.exit_code == 1
        was_cut_off |= any(part.was_cut_off for part in self._run_file.merged)
        open_calls = 0
        rows = ((file, row) for file, names in _LINES for row in self._db.stream(_CONTRADICTIONS.format(**names)))
        for file, (number, source, attempt, state, is_its_own, other) in rows:
            place = self._name(file, number, source)
            if not is_its_own:
                yield f"{place}: the ledger knows its call {attempt} as one for another content ({other})"
            elif state == "void":
                yield f"{place}: the ledger counts its call {attempt} as never made"
            elif state == "charged":
                yield f"{place}: the ledger counts its call {attempt} as one without a text"
            elif state == "unknown":
                yield f"{place}: the ledger counts its call {attempt} as lost"
            elif was_cut_off:
                open_calls += 1
            else:
                yield f"{place}: the ledger counts its call {attempt} as under way"
        if open_calls:
            logger.info("the ledger has %d calls of the last run as under way; the next run settles them", open_calls)

    def _name(self, file: str, number: int, source: bytes) -> str:
        line = self._evidence.name_line(number) if file == RESULTS else f"{file}:{number}"
        return f"{line}: {show_name(source)}"

    def _find_uncounted(self) -> Iterator[str]:
        """Yield one line for each text whose attempt must have a row in a ledger and has none.

        The month of a folded call may be that of its end or, in a ledger of format 1, that of its reservation:
        `elapsed_ms` leads from the record's time to a time before the reservation.
        """
        calendar = _calendar(self._run_file)
        rows = ((file, row) for file, names in _LINES for row in self._db.stream(_UNCOUNTED.format(**names)))
        for file, (number, source, attempt, added, elapsed_ms) in rows:
            try:
                ended = datetime.fromisoformat(added)
                moments = (ended - timedelta(milliseconds=elapsed_ms), ended)
                if any(may_be_folded(moment, calendar, self._folded) for moment in moments):
                    continue
            except (ValueError, OverflowError, TypeError, KeyError):
                continue  # without a readable time or calendar, the row may have been folded
            yield f"{self._name(file, number, source)}: no ledger counts its call {attempt}"

    def _report_without_line(self) -> None:
        """Warn of an earlier release's calls without a line: a failed one has none if the run ended before the page."""
        for attempt, page_id, source in self._db.stream(_WITHOUT_LINE):
            message = "%s: the call %s counts, and its page has no line (%s): the call failed, or the line is lost"
            logger.warning(message, source or "?", attempt, page_id)


def _calendar(run_file: RunFile) -> Calendar:
    budget = run_file.section("budget")
    return Calendar(budget.get("timezone", "UTC"), budget.get("reset_day", 1))
