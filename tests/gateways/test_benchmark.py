"""The benchmark: it measures runs of each client, and each promise can be seen to break."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.gateways.ideals import windows
from tests.benchmarks.gateways.measure import CLIENTS, PAGEMILL, Run, measure, worst_of
from tests.benchmarks.gateways.scenarios import SCENARIOS, Scenario
from tests.benchmarks.gateways.table import broken_promises, line_of, total_of
from tests.gateways.application import Application, limit_by_library
from tests.gateways.imitations import DayCap
from tests.pages import write_pages

SCENARIO = Scenario("limiter", SCENARIOS[0].limiter, 100, SCENARIOS[0].ideal)
KEPT = Run(
    scenario=SCENARIO,
    client=PAGEMILL,
    exit_code=0,
    done=100,
    failed=0,
    accepted=100,
    refused=5,
    took_s=10,
    ideal_s=9.5,
    inside=0,
    let_through=100,
    counted=100,
)


def test_a_run_that_keeps_all_promises_has_no_fault() -> None:
    assert KEPT.faults == []
    assert broken_promises([KEPT]) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        pytest.param({"done": 98}, "2 pages missing", id="missing"),
        pytest.param({"failed": 1}, "1 pages failed", id="failed"),
        pytest.param({"exit_code": 3}, "exit 3", id="exit-code"),
        pytest.param({"exit_code": None}, "exit None", id="ended-at-the-cap"),
        pytest.param({"inside": 4}, "4 inside a Retry-After", id="inside"),
        pytest.param({"counted": 101}, "ledger 101 for 100", id="ledger"),
        pytest.param({"took_s": 11}, "below 90%", id="slow"),
        pytest.param({"accepted": 0}, "below 90%", id="nothing-accepted"),
    ],
)
def test_a_broken_promise_is_named(change: dict[str, Any], fault: str) -> None:
    run = replace(KEPT, **change)
    assert run.faults == [fault]
    assert broken_promises([run])[0] == f"limiter: {fault}"
    assert line_of(run).endswith(fault)


def test_a_script_breaks_no_promise() -> None:
    script = replace(KEPT, client="threads", done=50, exit_code=1, inside=9, counted=None, took_s=99)
    assert script.faults == ()
    assert broken_promises([script]) == []
    assert "50 pages missing (1 runs, 0 with exit 0), 9 calls inside" in total_of("threads", [script])


def test_more_than_five_per_cent_refused_in_all_is_broken() -> None:
    assert broken_promises([KEPT, replace(KEPT, refused=6)]) == ["5.2% of all calls refused, at most 5% may be"]


def test_the_threads_script_may_be_at_most_a_tenth_faster() -> None:
    run = replace(KEPT, took_s=10.5)
    threads = replace(KEPT, client="threads", counted=None)
    assert broken_promises([run, replace(threads, took_s=9.6)]) == []
    assert broken_promises([run, replace(threads, took_s=9.5)]) == ["limiter: 90%, the threads script reaches 100%"]


def test_a_day_cap_leaves_the_rest_pending() -> None:
    capped = next(scenario for scenario in SCENARIOS if scenario.done is not None)
    run = replace(KEPT, scenario=capped, exit_code=8)
    assert (run.missing, run.faults) == (0, [])
    assert replace(run, exit_code=0).faults == ["exit 0"]


def test_the_worst_run_breaks_most_promises_and_then_is_the_slowest() -> None:
    slow, failed = replace(KEPT, took_s=10.2), replace(KEPT, failed=1)
    assert worst_of([KEPT, slow]) is slow
    assert worst_of([KEPT, failed, slow]) is failed


@pytest.mark.parametrize("client", CLIENTS)
async def test_a_run_of_each_client_is_measured(scans: Path, tmp_path: Path, client: str) -> None:
    write_pages(scans, 12)
    limiter = limit_by_library("fixed", "8/second", "Retry-After")
    place = tmp_path / "run"
    place.mkdir()
    run = await measure(Scenario("limiter", limiter, 12, windows((8, 1)), latency_s=0.01), client, scans, place, 60)
    assert (run.exit_code, run.done, run.missing, run.accepted, run.let_through) == (0, 12, 0, 12, 12)
    assert run.counted == (12 if client == PAGEMILL else None)
    assert run.ideal_s == pytest.approx(1)
    assert run.took_s > 0.5


async def test_a_client_is_ended_at_the_cap(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 3)
    place = tmp_path / "run"
    place.mkdir()
    capped = Application(lambda: DayCap(0))
    run = await measure(Scenario("limiter", capped, 3, windows()), PAGEMILL, scans, place, 0.5)
    assert (run.exit_code, run.done, run.accepted, run.share) == (None, 0, 0, 0.0)
    assert "exit None" in run.faults


def test_each_scenario_has_its_own_name() -> None:
    assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS)
