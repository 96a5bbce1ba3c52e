"""How well each page was read: in records, in a run's last line and in `status`."""

import shutil
from pathlib import Path

import orjson
from aiohttp import web

from pipeline import read_records
from pipeline.batch.job import Job
from pipeline.batch.runner import run
from pipeline.batch.summary import describe_summary
from pipeline.service import Service
from tests.factories import DOUBT, QUALITY
from tests.fakes import Call, serve_fake
from tests.pages import write_pages
from tests.runs import configure, results, run_command


def accept_with_quality(call: Call) -> web.Response:
    """Answer like the embedded engine, which doubts the first page; send nonsense with the third."""
    quality = {1: DOUBT, 2: QUALITY}.get(call.number, {"score": "good"})
    reply = {"id": "doc", "content": f"text {call.number}", "format": "json", "timestamp": 1, "quality": quality}
    return web.json_response(text=orjson.dumps(reply).decode())


async def test_records_say_how_well_a_page_was_read_and_pages_in_doubt_are_counted(scans: Path, tmp_path: Path) -> None:
    """A copy is as doubtful as its original; what is no quality costs no text."""
    out = tmp_path / "out"
    write_pages(scans, 3)
    async with serve_fake(accept_with_quality) as fake:
        job = Job([str(scans)], out, Service(fake.url, None, "embedded"), configure(out, run={"jobs": 1}))
        assert (await run(job)).in_doubt == 1
        shutil.copy(min(scans.iterdir()), scans / "z-copy.png")
        summary = await run(job)
        assert {call.request.path for call in fake.calls} == {"/api/advanced-recognition"}
    assert [record.quality for record in read_records(out)] == [DOUBT, QUALITY, None, DOUBT]
    assert [line["quality"] for line in results(out)][1:3] == [orjson.loads(orjson.dumps(QUALITY)), None]
    assert (summary.in_doubt, summary.exit_code) == (2, 0)
    assert describe_summary(summary).endswith("; 2 in doubt")
    assert b"\nin doubt           2\n" in (await run_command("status", out)).stdout
    assert orjson.loads((await run_command("status", out, "--json")).stdout)["in_doubt"] == 2
    assert (await run_command("verify", out)).returncode == 0


async def test_a_metered_service_is_asked_for_the_text_alone(scans: Path, tmp_path: Path) -> None:
    """Its records have no quality, and `status` says nothing of doubt."""
    out = tmp_path / "out"
    write_pages(scans, 1)
    async with serve_fake() as fake:
        await run(Job([str(scans)], out, Service(fake.url, "key", "127.0.0.1"), configure(out)))
        assert {call.request.path for call in fake.calls} == {"/api/text-recognition"}
    assert [line["quality"] for line in results(out)] == [None]
    assert b"in doubt" not in (await run_command("status", out)).stdout
