"""The benchmark's judgement: each promise can be seen to break."""

from dataclasses import replace
from typing import Any

import pytest

from tests.benchmarks.gateways.measure import PAGEMILL, Run, worst_of
from tests.benchmarks.gateways.scenarios import SCENARIOS, Scenario
from tests.benchmarks.gateways.table import broken_promises, line_of, total_of

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


def test_each_scenario_has_its_own_name() -> None:
    assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS)
