"""The negative controls: the real command with one guarantee taken out.

    python -m tests.faults.sabotage NAME[,NAME...] run INPUT... -o OUT …

A fault test that passes with the guarantee taken out proves nothing, so each is run with its sabotage too, and must
fail then.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from pipeline import cli
from pipeline.index import Index
from pipeline.ledger import Ledger, Reserve, Settle
from pipeline.records import AttemptState, OpenAttempt, Span
from pipeline.sink import JsonlFile


def _sync_nothing() -> None:
    """Lines are written and never synced."""

    def fdatasync(fd: object) -> None:
        pass

    os.fdatasync = fdatasync


def _count_before_writing() -> None:
    """Success is counted before the write: lines gather in memory, sixteen at a time."""
    append = JsonlFile.append
    gathered: dict[int, list[bytes]] = {}

    async def append_later(self: JsonlFile, line: bytes) -> Span:
        lines = gathered.setdefault(id(self), [])
        lines.append(line)
        if len(lines) == 16:
            span = await append(self, b"".join(lines))
            lines.clear()
            return span
        return Span(0, 0)

    JsonlFile.append = append_later  # type: ignore[method-assign]


def _reserve_nothing() -> None:
    """Calls go out without a reservation in the ledger."""

    def execute(
        _: Ledger, operations: Sequence[Reserve | Settle], __: str, ___: str, new_id: Callable[[], str]
    ) -> list[str | None]:
        return [new_id() if isinstance(operation, Reserve) else None for operation in operations]

    Ledger.execute = execute  # type: ignore[method-assign,assignment]


def _void_the_lost() -> None:
    """A call whose outcome a crash took is counted as never made."""
    recover = Ledger.recover

    def forgive(self: Ledger, proven: Sequence[OpenAttempt], unproven: Sequence[OpenAttempt]) -> None:
        recover(self, proven, ())
        voided = [Settle(attempt.id, AttemptState.VOID) for attempt in unproven]
        self.execute(voided, "", "", lambda: "")

    Ledger.recover = forgive  # type: ignore[method-assign]


def _forget_what_is_done() -> None:
    """A run does not know what earlier runs recorded."""
    Index.look_up_file = lambda *_, **__: None  # type: ignore[method-assign]
    Index.find_record = lambda *_: None  # type: ignore[method-assign]
    Index.has_result = lambda *_: False  # type: ignore[method-assign]


SABOTAGES: Mapping[str, Callable[[], None]] = MappingProxyType(
    {
        "count-before-writing": _count_before_writing,
        "forget-what-is-done": _forget_what_is_done,
        "reserve-nothing": _reserve_nothing,
        "sync-nothing": _sync_nothing,
        "void-the-lost": _void_the_lost,
    }
)


def main() -> None:
    """Take the named guarantees out, then be the command."""
    names = sys.argv.pop(1)
    for name in names.split(","):
        SABOTAGES[name]()
    sys.argv[0] = "pagemill"
    cli.main()


if __name__ == "__main__":
    main()
