"""What must hold whatever happened: compares a workspace and its ledger with what the server saw and billed."""

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import orjson

from pipeline.billing import Calendar
from pipeline.ledger.budget import ledger_path
from pipeline.ledger.ledger import Ledger
from pipeline.workspace.lines import DamagedLineError, check_checksum
from tests.fakes import Call
from tests.runs import KEY, results


@dataclass(frozen=True, slots=True)
class Noted:
    """What stood on disk when a run ended or was killed.

    Attributes:
        lines: The whole lines of results.jsonl.
        calls: Requests that the server had seen.
    """

    lines: Sequence[bytes]
    calls: int

    @property
    def contents(self) -> frozenset[str]:
        """The sha256 of the files whose text stood there; of a page that was sent as it is, the image sent."""
        return frozenset(orjson.loads(line)["sha256"] for line in self.lines)


def note(workspace: Path, calls: Sequence[Call]) -> Noted:
    """Return what stands in the workspace: the lines that end and whose checksum is right."""
    return Noted(tuple(whole_lines(workspace / "results.jsonl")), len(calls))


def whole_lines(path: Path) -> Iterable[bytes]:
    """Yield the lines that are as they were written, without their newlines."""
    for line in path.read_bytes().split(b"\n")[:-1] if path.exists() else ():
        try:
            check_checksum(line)
        except DamagedLineError:
            continue
        yield line


def check_nothing_vanished(noted: Noted, workspace: Path) -> None:
    """Fail when a line that stood there is gone, or changed."""
    there = Counter(whole_lines(workspace / "results.jsonl"))
    vanished = [line for line in noted.lines if not there[line]]
    assert not vanished, f"{len(vanished)} recorded pages vanished, the first: {vanished[0][:200]!r}"


def check_nothing_paid_again(noted: Noted, calls: Sequence[Call]) -> None:
    """Fail when a page whose text stood there was sent after that."""
    again = [call.filename for call in calls[noted.calls :] if call.digest in noted.contents]
    assert not again, f"recorded pages were sent again: {again}"


def check_every_page_once(workspace: Path, pages: int) -> None:
    """Fail unless each of the pages `page-0000.png`, … has exactly one line."""
    expected = {f"page-{number:04}.png": 1 for number in range(pages)}
    assert Counter(line["source"] for line in results(workspace)) == expected


def count_used(ledgers: Path, *, key: str = KEY, host: str = "127.0.0.1") -> int:
    """Return how many calls of this month the ledger in that directory counts."""
    path = ledger_path(ledgers, key, host)
    if not path.exists():
        return 0
    with closing(Ledger(path, Calendar(), None)) as ledger:
        return ledger.usage().used


def check_ledger_covers(ledgers: Path, billed: Counter[str]) -> None:
    """Fail when the server billed more calls than the ledger counts."""
    used, total = count_used(ledgers), sum(billed.values())
    assert used >= total, f"the ledger counts {used} calls, the server billed {total}"
