"""Outages: whatever way the service fails, a run costs few calls, blames no page, and the next one goes on."""

from pathlib import Path

import pytest

from pipeline.remote.circuit import Circuit
from tests.benchmarks.outages import MAX_COUNTED, WAYS, measure
from tests.virtual_time import run_virtual

EVERYDAY = ("502 with a gateway's page", "reset", "200 with a maintenance page")


@pytest.mark.parametrize("good_calls", [0, 20])
@pytest.mark.parametrize("way", [pytest.param(way, marks=() if way in EVERYDAY else pytest.mark.deep) for way in WAYS])
def test_an_outage_costs_a_dozen_calls_and_no_page(way: str, good_calls: int, tmp_path: Path) -> None:
    """From the first call on, and with eight calls in flight."""
    outage = run_virtual(measure(way, good_calls, tmp_path))
    assert outage.fault == ""
    assert outage.counted - outage.in_flight <= MAX_COUNTED
    assert outage.pending == 60 - good_calls


def test_without_the_circuit_it_costs_the_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: three calls per page."""
    monkeypatch.setattr(Circuit, "is_probing", property(lambda _: False))
    monkeypatch.setattr(Circuit, "outage_s", lambda *_: None)
    outage = run_virtual(measure("502 with a gateway's page", 0, tmp_path))
    assert outage.counted == 3 * 60
    assert "more than 12 counted calls" in outage.fault
