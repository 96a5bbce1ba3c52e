"""What does an outage cost? Runs of sixty pages against a service that fails in each of many ways.

    python -m tests.benchmarks.outages [WORD ...]

The service fails from the first call on, or after twenty pages, with calls in flight. Virtual time passes the pauses.
Prints a line per way and beginning: the calls counted since the outage began, how many calls were in flight then, the
exit code, the pages done, pending and failed, and how long the run probed. With WORDs only the ways whose name contains
one of them run. Exit code 1 when an outage costs more than twelve counted calls beyond those in flight, ends otherwise
than as temporary (exit 5), or leaves a page failed, or when the next run does not finish.
"""

import asyncio
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from pipeline.records import State
from tests.faults.accounts import count_used
from tests.faults.breakage import constant
from tests.faults.raw_server import GOOD, Behaviour, Exchange, RawServer, response, send_and, serve_raw
from tests.pages import write_pages
from tests.runs import failures, run_here
from tests.virtual_time import run_virtual

PAGES: Final = 60
JOBS: Final = 8
MAX_COUNTED: Final = 12
LATENCY_S: Final = 0.2
DEADLINES: Final = {"timeout_s": 10.0, "connect_timeout_s": 2.0, "read_timeout_s": 3.0}
MAINTENANCE: Final = b"<!doctype html><html><title>Maintenance</title><body>We will be back soon.</body></html>"


def _error(status: str) -> bytes:
    return response(json.dumps({"statusText": "Processing failed"}).encode(), status)


def _page(status: str, page: bytes = b"<html><body><h1>Bad gateway</h1></body></html>") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%b" % (
        status.encode(),
        len(page),
        page,
    )


def _half(exchange: Exchange) -> bytes:
    return exchange.reply()[:-30]


WAYS: Final = {
    "500 with the API's JSON": send_and("stay", constant(_error("500 Internal Server Error"))),
    "502 with a gateway's page": send_and("stay", constant(_page("502 Bad Gateway"))),
    "503 with the API's JSON": send_and("stay", constant(_error("503 Service Unavailable"))),
    "503 with a gateway's page": send_and("stay", constant(_page("503 Service Unavailable"))),
    "504 with nothing": send_and("stay", constant(response(b"", "504 Gateway Timeout"))),
    "reset": send_and("reset", constant(b"")),
    "closed without a reply": send_and("close", constant(b"")),
    "no reply (timeout)": send_and("hang", constant(b"")),
    "200 cut off": send_and("close", _half),
    "200 with a maintenance page": send_and("stay", constant(_page("200 OK", MAINTENANCE))),
    "200 that is not JSON": send_and("stay", constant(response(b"\xff\xfe{not json"))),
    "200 with nothing": send_and("stay", constant(response(b""))),
    "200 without a text": send_and("stay", constant(response(b'{"ok":true}'))),
}
"""Ways in which a service fails altogether, by name."""


async def _answer_later(exchange: Exchange) -> None:
    await asyncio.sleep(LATENCY_S)
    await exchange.send(exchange.reply())


ANSWER: Final = Behaviour("good", _answer_later)


class Service:
    """A service that works until an outage begins, and in which the outage can end.

    Attributes:
        in_flight: Calls that were in flight when the outage began.
    """

    def __init__(self, way: Behaviour, good_calls: int) -> None:
        self._way = way
        self._good_calls = good_calls
        self.server: RawServer | None = None
        self.in_flight = 0
        self.is_over = False

    def choose(self, number: int) -> Behaviour:
        """Return how the call with this number is answered."""
        if self.is_over:
            return GOOD
        if number <= self._good_calls:
            return ANSWER
        if number == self._good_calls + 1 and number > 1:
            self.in_flight = JOBS
        return self._way


@dataclass(frozen=True, slots=True)
class Outage:
    """What an outage cost.

    Attributes:
        way: How the service failed.
        good_calls: Calls that it answered before.
        in_flight: Calls in flight when the outage began, at most.
        counted: Calls counted since then.
        exit_code: The run's exit code.
        done: Pages with a text.
        failed: Pages with a failure.
        lasted_s: Duration of the run.
        next_exit_code: Exit code of the next run, after the outage.
    """

    way: str
    good_calls: int
    in_flight: int
    counted: int
    exit_code: int
    done: int
    failed: int
    lasted_s: float
    next_exit_code: int

    @property
    def pending(self) -> int:
        """Pages that the next run recognises."""
        return PAGES - self.done - self.failed

    @property
    def fault(self) -> str:
        """Which promise is broken; "" when none is."""
        promises = {
            f"more than {MAX_COUNTED} counted calls": self.counted - self.in_flight <= MAX_COUNTED,
            "not exit 5": self.exit_code == 5,
            "pages failed": self.failed == 0,
            "the next run does not finish": self.next_exit_code == 0,
        }
        return ", ".join(promise for promise, is_kept in promises.items() if not is_kept)


async def measure(way: str, good_calls: int, place: Path) -> Outage:
    """Run during an outage, and once more after it.

    Args:
        way: A name in WAYS.
        good_calls: Calls that the service answers before.
        place: An empty directory.
    """
    pages = place / "in"
    write_pages(pages, PAGES)
    service = Service(Behaviour(way, WAYS[way]), good_calls)
    run = partial(run_here, pages, place / "out", api=DEADLINES, run={"jobs": JOBS})
    async with serve_raw(service.choose) as server:
        summary = await run(server.url)
        counted = count_used(place / "ledger") - summary.totals[State.DONE]
        service.is_over = True
        following = await run(server.url)
    return Outage(
        way,
        good_calls,
        service.in_flight,
        counted,
        summary.exit_code,
        summary.totals[State.DONE],
        len(failures(place / "out")),
        summary.elapsed_s,
        following.exit_code,
    )


def measure_all(words: list[str], report: Callable[[Outage], None]) -> bool:
    """Measure each way and beginning; return whether all promises are kept."""
    is_kept = True
    for way in WAYS:
        if words and not any(word in way for word in words):
            continue
        for good_calls in (0, 20):
            with tempfile.TemporaryDirectory() as place:
                outage = run_virtual(measure(way, good_calls, Path(place)))
            report(outage)
            is_kept = is_kept and not outage.fault
    return is_kept


def _print(outage: Outage) -> None:
    counts = f"{outage.counted:>8}{outage.in_flight:>10}{outage.exit_code:>6}"
    pages = f"{outage.done:>6}{outage.pending:>9}{outage.failed:>8}{outage.lasted_s:>8.0f} s{outage.next_exit_code:>6}"
    print(f"{outage.way:<30}{outage.good_calls:>6}{counts}{pages}  {outage.fault}")


def main() -> int:
    """Print the table; return 1 when a promise is broken."""
    print(
        f"{'way':<30}{'after':>6}{'counted':>8}{'in flight':>10}{'exit':>6}{'done':>6}{'pending':>9}{'failed':>8}"
        f"{'lasted':>10}{'next':>6}"
    )
    return 0 if measure_all(sys.argv[1:], _print) else 1


if __name__ == "__main__":
    sys.exit(main())
