"""A month of nights by the real command, on a clock of its own: shares, exit codes, pings, metrics and logs."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Self

import orjson
import pytest
from anyio.from_thread import start_blocking_portal

from pipeline.batch import accounts, runner
from pipeline.cli import running, status
from pipeline.cli.main import cli
from pipeline.ledger.sqlite import ledger
from pipeline.observers import metrics
from tests.fakes import FakeOcr, accept, answer_error, serve_fake
from tests.monitor import Monitor, run_monitor
from tests.observers.test_metrics import read_series
from tests.pages import write_pages
from tests.runs import KEY, read_lines, run_arguments, run_command

PAGES, QUOTA = 1_020, 1_000
OFF, DOWN = 10, 20
"""The night in which the machine is off, and the one in which the key is rejected."""
SECOND_RUNS = 4
"""Nights in which the job runs twice."""


class Clock(datetime):
    """The time of day that the command believes in."""

    moment = datetime(2026, 11, 1, 2, tzinfo=UTC)

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        """Return the moment."""
        return cls.fromtimestamp(cls.moment.timestamp(), tz)


@pytest.fixture
def _clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    for module in (accounts, ledger, metrics, runner, running, status):
        monkeypatch.setattr(module, "datetime", Clock)
    yield
    Clock.moment = datetime(2026, 11, 1, 2, tzinfo=UTC)


@pytest.fixture
def fake() -> Iterator[FakeOcr]:
    """The service, in a thread: each run has an event loop of its own."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(serve_fake()) as server:
        yield server


@pytest.fixture
def monitor() -> Iterator[Monitor]:
    with run_monitor() as server:
        yield server


class Nights:
    """A nightly job, and what it leaves in its directory."""

    def __init__(self, directory: Path, fake: FakeOcr, monitor: Monitor) -> None:
        self._fake = fake
        self.directory = directory
        self.arguments = [
            *("run", str(directory / "scans"), "-o", str(directory / "out"), "--ledger", str(directory / "ledger")),
            *("--api-url", fake.url, "--quota", str(QUOTA), "--spread", "-q", "--no-progress"),
            *("--ping-url", monitor.url, "--metrics-file", str(directory / "pagemill.prom")),
            *("--log-file", str(directory / "log.jsonl")),
        ]

    def run(self) -> tuple[int, int]:
        """Run once; return the exit code and the number of calls."""
        before = len(self._fake.calls)
        code = cli.main(self.arguments, standalone_mode=False)
        return code, len(self._fake.calls) - before

    def read_metric(self, name: str) -> float:
        """Return the value of a metric without labels."""
        text = (self.directory / "pagemill.prom").read_text()
        return read_series(text, self.directory / "out")[name, ()]


@pytest.mark.usefixtures("_clock")
def test_a_month_of_nights(
    tmp_path: Path,
    fake: FakeOcr,
    monitor: Monitor,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PAGEMILL_API_KEY", KEY)
    write_pages(tmp_path / "scans", PAGES)
    nights = Nights(tmp_path, fake, monitor)
    calls: dict[int, int] = {}
    for night in range(1, 31):
        Clock.moment = datetime(2026, 11, night, 2, tzinfo=UTC)
        if night == OFF:
            continue
        fake.script = answer_error(401, "Unauthorized") if night == DOWN else accept
        code, made = nights.run()
        calls[night] = made
        assert code == (7 if night == DOWN else 8 if night == 30 else 10), night
        assert nights.read_metric("pagemill_run_exit_code") == code
        assert nights.read_metric("pagemill_run_end_timestamp_seconds") == Clock.moment.timestamp()
        if night <= SECOND_RUNS:
            Clock.moment += timedelta(hours=6)
            assert nights.run() == (10, 0), "a second run in the same night has nothing left to call"
    billed = {night: made for night, made in calls.items() if night != DOWN}
    assert sum(billed.values()) == QUOTA == fake.billed.total()
    assert {billed[night] for night in range(1, OFF)} <= {33, 34}
    assert {billed[night] for night in range(OFF + 1, DOWN)} <= {34, 35}, "the night that was left out is spread"
    assert max(billed.values()) - min(billed.values()) <= 4
    assert nights.read_metric("pagemill_calls_left") == 0

    capfd.readouterr()
    assert cli.main(["status", str(tmp_path / "out"), "--json"], standalone_mode=False) == 0
    told = orjson.loads(capfd.readouterr().out)
    assert (told["month"]["used"], told["month"]["left"], told["pending"]) == (QUOTA, 0, PAGES - QUOTA)
    assert told["obstacles"] == ["the month's calls are used up until 2026-12-01 00:00 UTC"]
    assert told["forecast"]["finish"] == "2026-12-01"

    Clock.moment = datetime(2026, 12, 1, 2, tzinfo=UTC)
    assert nights.run() == (0, PAGES - QUOTA)
    assert fake.billed.total() == PAGES == len(read_lines(tmp_path / "out" / "results.jsonl"))

    runs = 29 + SECOND_RUNS + 1  # November without one night, and December
    assert monitor.paths.count("/job/start") == runs
    assert (monitor.paths.count("/job"), monitor.paths.count("/job/fail")) == (runs - 1, 1)
    lines = read_lines(tmp_path / "log.jsonl")
    assert list(dict.fromkeys(line["run"] for line in lines)) == list(
        dict.fromkeys(ping.run_id for ping in monitor.pings)
    )
    shares = [line["message"] for line in lines if "tonight's share of" in line["message"]]
    assert shares[0].endswith("stopped: --spread: tonight's share of 34 calls is made; 30 nights are left in the month")


@pytest.mark.parametrize("tier", [(), ("--tier", "ultra")], ids=["no-tier", "unlimited"])
@pytest.mark.parametrize("command", ["run", "plan"])
async def test_without_a_limit_there_is_nothing_to_spread(
    scans: Path, tmp_path: Path, tier: tuple[str, ...], command: str
) -> None:
    write_pages(scans, 1)
    places = ("-o", tmp_path / "out", "--ledger", tmp_path / "ledger")
    done = await run_command(command, scans, *places, "--spread", *tier, "--api-url", "http://127.0.0.1:9")
    assert done.returncode == 2
    assert b"--spread: no limit per month to spread; give --tier free, basic or pro, or --quota N" in done.stderr


async def test_the_smaller_of_share_and_max_calls_ends_a_run_and_the_plan_says_so(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 8)
    async with serve_fake() as server:
        arguments = run_arguments(scans, tmp_path, server.url, "--quota", "100000", "--spread", "--max-calls", "3")
        plan = await run_command(*arguments, "-n")
        assert b"next run    3 calls, then --max-calls 3 is reached (exit 10)" in plan.stdout
        done = await run_command(*arguments)
        assert (done.returncode, len(server.calls)) == (10, 3)
    assert b"stopped: --max-calls 3 is reached" in done.stderr
