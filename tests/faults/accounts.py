"""Invariants after any fault: a workspace and its ledger against the calls that the server received and billed."""

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import orjson

from pipeline.billing import Calendar, Usage
from pipeline.ledger.places import ledger_path
from pipeline.ledger.sqlite.ledger import SqliteLedger
from pipeline.verify.audit import audit
from pipeline.workspace.checksums import DamagedLineError, check_checksum
from pipeline.workspace.run_file import require_workspace
from tests.fakes import Call
from tests.runs import KEY, result_lines, results


@dataclass(frozen=True, slots=True)
class Noted:
    """A workspace's records when a run ended or was killed.

    Attributes:
        lines: Their intact lines; a line that a kill left in two files is there once.
        calls: Number of requests that the server had received by then.
    """

    lines: Sequence[bytes]
    calls: int

    @property
    def contents(self) -> frozenset[str]:
        """The sha256 of each recorded file; of a file sent unchanged this is also the digest of the image sent."""
        return frozenset(orjson.loads(line)["sha256"] for line in self.lines)


def note(workspace: Path, calls: Sequence[Call]) -> Noted:
    """Return the workspace's records as they are now."""
    return Noted(tuple(dict.fromkeys(intact_lines(workspace))), len(calls))


def intact_lines(workspace: Path) -> Iterable[bytes]:
    """Yield the lines of records that have a newline and a correct checksum, without their newlines."""
    for line in result_lines(workspace):
        try:
            check_checksum(line)
        except DamagedLineError:
            continue
        yield line


def check_nothing_vanished(noted: Noted, workspace: Path) -> None:
    """Fail when a noted line is no longer there."""
    lines = Counter(intact_lines(workspace))
    vanished = [line for line in noted.lines if not lines[line]]
    assert not vanished, f"{len(vanished)} recorded pages vanished, the first: {vanished[0][:200]!r}"


def check_nothing_paid_again(noted: Noted, calls: Sequence[Call]) -> None:
    """Fail when a noted page was sent again afterwards."""
    again = [call.filename for call in calls[noted.calls :] if call.digest in noted.contents]
    assert not again, f"recorded pages were sent again: {again}"


def check_every_page_once(workspace: Path, pages: int) -> None:
    """Fail unless each of the pages `page-0000.png`, … has exactly one line."""
    expected = {f"page-{number:04}.png": 1 for number in range(pages)}
    assert Counter(line["source"] for line in results(workspace)) == expected


def list_faults(workspace: Path) -> list[str]:
    """Return the faults that `verify` finds."""
    return list(audit(workspace, require_workspace(workspace)))


def read_usage(ledgers: Path, *, key: str = KEY, host: str = "127.0.0.1") -> Usage:
    """Return this month's usage by the key's ledger in that directory, which must exist."""
    with closing(SqliteLedger(ledger_path(ledgers, key, host), Calendar(), None)) as ledger:
        return ledger.usage()


def count_used(ledgers: Path, *, key: str = KEY, host: str = "127.0.0.1") -> int:
    """Return the number of calls that the key's ledger counts this month; 0 when there is no ledger."""
    return read_usage(ledgers, key=key, host=host).used if ledger_path(ledgers, key, host).exists() else 0


def check_ledger_covers(ledgers: Path, billed: Counter[str]) -> None:
    """Fail when the server billed more calls than the ledger counts."""
    used, total = count_used(ledgers), sum(billed.values())
    assert used >= total, f"the ledger counts {used} calls, the server billed {total}"
