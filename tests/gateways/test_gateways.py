"""Short runs of the real command against real limiters: no page is lost, and only calls let through are counted."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.accounts import check_every_page_once, count_used
from tests.gateways import haproxy, nginx
from tests.gateways.application import limit_by_library
from tests.gateways.gateway import Gateway, Limiter, LoggedCall, count_inside_retry_after
from tests.pages import write_pages
from tests.runs import COMMAND, SABOTAGE, run_arguments, run_command

LATENCY_S = 0.05
PLAIN_503 = nginx.limit_requests("20r/s", "burst=5 nodelay")


@dataclass(frozen=True, slots=True)
class Run:
    """How a run ended, and what the limiter saw.

    Attributes:
        exit_code: The command's.
        log: What the command wrote to stderr.
        calls: The limiter's access log.
        let_through: Calls that the service answered.
        counted: Calls that the ledger counts.
    """

    exit_code: int
    log: str
    calls: Sequence[LoggedCall]
    let_through: int
    counted: int

    @property
    def refused_share(self) -> float:
        """Share of the calls that the limiter refused, 0 to 1."""
        return sum(not call.is_accepted for call in self.calls) / len(self.calls)


async def run_behind(
    limiter: Limiter, scans: Path, pages: int, *, command: Sequence[str] = COMMAND, latency_s: float = LATENCY_S
) -> Run:
    """Run the real command, with default settings, on so many pages behind a limiter."""
    write_pages(scans, pages)
    directory = scans.parent
    async with limiter.serve(directory, latency_s) as gateway:
        ended = await run_command(*run_arguments(scans, directory, gateway.url), command=command)
    return Run(ended.returncode, ended.stderr.decode(), *account(gateway, directory))


def account(gateway: Gateway, directory: Path) -> tuple[Sequence[LoggedCall], int, int]:
    """Return the limiter's log, the calls let through, and the calls counted."""
    return gateway.calls(), gateway.let_through, count_used(directory / "ledger")


@pytest.mark.parametrize(
    ("limiter", "pages", "most_refused"),
    [
        pytest.param(PLAIN_503, 60, 0.3, id="nginx-limit_req-503"),
        pytest.param(nginx.limit_requests("20r/s", "burst=5 nodelay", status=429), 60, 0.3, id="nginx-limit_req-429"),
        pytest.param(nginx.limit_connections(2), 60, 0.3, id="nginx-limit_conn-503"),
        pytest.param(
            nginx.limit_requests_and_name_wait("20r/s", "burst=5 nodelay", status=529, retry_after_s=1),
            40,
            0.3,
            id="nginx-529-Retry-After",
        ),
        pytest.param(haproxy.limit_rate(20, "2s"), 50, 0.4, id="haproxy-window-429"),
        pytest.param(haproxy.limit_rate(20, "1s", "deny"), 60, 0.4, id="haproxy-window-403-page"),
        pytest.param(limit_by_library("fixed", "20/2 seconds"), 50, 0.4, id="limits-fixed-window"),
        pytest.param(
            limit_by_library("fixed", "20/second", "Retry-After rounded down"), 50, 0.4, id="limits-Retry-After-of-0"
        ),
        pytest.param(
            limit_by_library("fixed", "20/2 seconds", "Retry-After"), 50, 0.3, id="limits-fixed-window-Retry-After"
        ),
    ],
)
async def test_behind_a_limiter_each_page_is_done_once_and_only_calls_let_through_are_counted(
    scans: Path, limiter: Limiter, pages: int, most_refused: float
) -> None:
    run = await run_behind(limiter, scans, pages)
    check_finished(run, scans.parent / "out", pages)
    assert count_inside_retry_after(run.calls) == 0
    assert 0 < run.refused_share <= most_refused


async def test_behind_haproxy_that_rejects_connections_each_page_is_done_once(scans: Path) -> None:
    """Its log has no line for a rejected connection.

    One that ends within a tenth of a reply's time was rejected; the service is slow, so that a busy machine sees the
    end in that time. Until several replies have told how long they take, a connection that is lost counts.
    """
    run = await run_behind(haproxy.reject_connections(3), scans, 36, latency_s=0.5)
    assert run.exit_code == 0, run.log
    check_every_page_once(scans.parent / "out", 36)
    assert run.let_through == 36
    assert run.counted == run.let_through + run.log.count("the call may have been billed")
    assert run.counted <= run.let_through + 3, run.log


def check_finished(run: Run, workspace: Path, pages: int) -> None:
    """Fail unless the run ended well, each page has one line, and the ledger counts what was let through."""
    assert run.exit_code == 0, run.log
    check_every_page_once(workspace, pages)
    assert run.counted == run.let_through == pages


async def test_a_client_that_takes_a_limiter_s_503_for_a_failure_counts_calls_that_were_not_let_through(
    scans: Path,
) -> None:
    """Negative control."""
    run = await run_behind(PLAIN_503, scans, 30, command=(*SABOTAGE, "fail-on-bare-503"))
    assert run.counted > run.let_through
