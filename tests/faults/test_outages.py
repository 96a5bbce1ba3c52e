"""Outages: whatever way the service fails, a run costs few calls, blames no page, and the next one goes on."""

from collections import Counter
from pathlib import Path

import pytest

from pipeline.records import State
from pipeline.remote.circuit import Circuit
from tests.benchmarks.outages import MAX_COUNTED, WAYS, measure
from tests.fakes import answer_error, serve_fake
from tests.pages import write_pages
from tests.runs import run_here
from tests.virtual_time import on_virtual_time, run_virtual

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


@on_virtual_time
async def test_an_outage_repeats_no_call_at_most_once(scans: Path, tmp_path: Path) -> None:
    """The call that ends the run may have been billed, too; each run reports the pages of all such calls."""
    write_pages(scans, 30)
    async with serve_fake(answer_error(500)) as fake:
        for _ in range(3):
            summary = await run_here(scans, tmp_path / "out", fake.url, run={"at_most_once": True})
            assert summary.exit_code == 5
        assert max(Counter(call.digest for call in fake.calls).values()) == 1
    assert summary.totals[State.UNCERTAIN] == len(fake.calls)
    assert summary.totals[State.PENDING] == 30 - len(fake.calls)
