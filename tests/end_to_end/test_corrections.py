"""Runs with `--deskew` and `--contrast`: what is sent, recorded and planned."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from pipeline import read_records
from pipeline.batch.planning.count import PlanJob
from pipeline.batch.planning.plan import Plan, make_plan
from pipeline.records import State
from pipeline.service import Service
from tests.fakes import serve_fake
from tests.inputs.skewed import skewed, text_page, toned
from tests.runs import KEY, configure, run_here

PREPARE = {"deskew": True, "contrast": True}


@pytest.fixture
def archive(scans: Path) -> Path:
    """A clean page, a skewed one and a faint one."""
    page = text_page(51)
    page.save(scans / "clean.png")
    skewed(page, 4).save(scans / "skewed.png")
    toned(text_page(52), 190, 235, noise=2).save(scans / "faint.png")
    return scans


async def plan_here(inputs: Path, out: Path, **sections: Any) -> Plan:
    config = configure(out, **sections)
    return await make_plan(
        PlanJob([str(inputs)], out, Service("http://127.0.0.1:9", KEY, "127.0.0.1"), config, exact=True)
    )


async def test_only_corrected_pages_have_corrections_in_their_records(archive: Path, tmp_path: Path) -> None:
    async with serve_fake() as fake:
        await run_here(archive, tmp_path / "out", fake.url, prepare=PREPARE)
    lines = (tmp_path / "out" / "results.jsonl").read_bytes().splitlines()
    preps = {record["source"]: record["prep"] for record in map(orjson.loads, lines)}
    assert "corrections" not in preps["clean.png"]
    assert list(preps["skewed.png"]["corrections"]) == ["turned_deg", "deskewed_deg", "levels", "to_source"]
    assert preps["skewed.png"]["corrections"]["levels"] is None
    assert preps["faint.png"]["corrections"]["deskewed_deg"] == 0
    assert not any(b"-0.0," in line for line in lines)
    records = {record.source: record for record in read_records(tmp_path / "out")}
    prep = records["skewed.png"].prep
    assert prep is not None
    assert prep.corrections is not None
    middle = prep.corrections.source_point(prep.width_px / 2, prep.height_px / 2)
    assert middle == pytest.approx([edge / 2 for edge in skewed(text_page(51), 4).size], abs=1)


async def test_the_settings_do_not_change_which_page_a_page_is(archive: Path, tmp_path: Path) -> None:
    """Pages that were sent before are not sent again because they would be corrected now."""
    async with serve_fake() as fake:
        await run_here(archive, tmp_path / "out", fake.url)
        assert len(fake.calls) == 3
        summary = await run_here(archive, tmp_path / "out", fake.url, prepare=PREPARE)
        assert len(fake.calls) == 3
    assert summary.totals[State.DONE] == 3


async def test_the_exact_plan_counts_the_bytes_of_corrected_pages(archive: Path, tmp_path: Path) -> None:
    plain = await plan_here(archive, tmp_path / "out")
    corrected = await plan_here(archive, tmp_path / "out", prepare=PREPARE)
    async with serve_fake() as fake:
        await run_here(archive, tmp_path / "out", fake.url, prepare=PREPARE)
        sent = sum(int(call.request.headers["Content-Length"]) for call in fake.calls)
    assert corrected.counts.bytes_to_send == sent != plain.counts.bytes_to_send
    assert (corrected.counts.conversions, plain.counts.conversions) == (2, 0)
