"""`status` beside real runs: live while one goes on, with the month of the last one's ledger, and reading only."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import orjson

from pipeline.workspace.live_progress import read_live_progress
from tests.fakes import accept_when, answer_error, serve_fake
from tests.pages import write_pages
from tests.runs import run_arguments, run_command, run_here, start_command


async def read_status(workspace: Path, *, key: str | None = None, **environ: str) -> dict[str, Any]:
    """Return what `status --json` prints."""
    done = await run_command("status", workspace, "--json", key=key, **environ)
    assert (done.returncode, done.stderr) == (0, b"")
    fields: dict[str, Any] = orjson.loads(done.stdout)
    return fields


async def test_a_run_under_way_shows_its_counters_and_nothing_in_the_way(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 6)
    released = asyncio.Event()
    async with serve_fake(accept_when(released, from_call=2)) as fake:
        async with start_command(*run_arguments(scans, tmp_path, fake.url, "--tier", "basic", "-j", "2")) as process:
            await fake.wait_for_calls(2)
            live = await read_status(tmp_path / "out")
            released.set()
            assert await process.wait() == 0
        over = await read_status(tmp_path / "out")
    assert live["under_way"]["run_id"] == live["run_id"] == over["run_id"]
    assert live["obstacles"] == over["obstacles"] == []
    assert (live["finished"], over["under_way"], over["exit_code"]) == (None, None, 0)
    assert (over["month"]["used"], over["month"]["left"], over["month"]["limit"]) == (6, 994, 1000)
    assert over["files"] == {"new": 6, "changed": 0, "unmodified": 0, "gone": 0}


async def test_a_killed_run_is_not_taken_for_one_under_way(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 3)
    async with (
        serve_fake(accept_when(asyncio.Event())) as fake,
        start_command(*run_arguments(scans, tmp_path, fake.url)) as process,
    ):
        await fake.wait_for_calls(1)
        process.kill()
        await process.wait()
    found = read_live_progress(tmp_path / "out")
    assert found is not None
    old = orjson.loads((tmp_path / "out" / "progress.json").read_bytes()) | {"updated": "2026-11-01T00:00:00Z"}
    (tmp_path / "out" / "progress.json").write_bytes(orjson.dumps(old))
    status = await read_status(tmp_path / "out")
    assert status["under_way"] is None
    assert status["obstacles"] == ["the last run was killed, or is just beginning; another run recovers what it left"]


async def test_the_month_and_the_finish_are_those_of_the_last_runs_plan(scans: Path, tmp_path: Path) -> None:
    """Whoever looks need not know the tier, nor have the key."""
    write_pages(scans, 10)
    async with serve_fake() as fake:
        summary = await run_here(scans, tmp_path / "out", fake.url, budget={"quota": 4})
        assert summary.exit_code == 8
    status = await read_status(tmp_path / "out")
    assert (status["month"]["left"], status["pending"], status["calls_to_make"]) == (0, 6, 6)
    assert (status["forecast"]["months"], status["forecast"]["per_month"]) == (2, 4)
    (obstacle,) = status["obstacles"]
    assert obstacle.startswith("the month's calls are used up until 20")


async def test_the_reason_of_the_last_run_is_kept(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 2)
    async with serve_fake(answer_error(401, "Unauthorized")) as fake:
        assert (await run_here(scans, tmp_path / "out", fake.url)).exit_code == 7
    status = await read_status(tmp_path / "out")
    assert status["obstacles"] == [f"the last run stopped: {status['reason']} (exit 7)"]


async def test_a_folder_that_is_gone_and_another_address_are_in_the_way(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 1)
    async with serve_fake() as fake:
        await run_here(scans, tmp_path / "out", fake.url)
    scans.rename(tmp_path / "moved")
    status = await read_status(tmp_path / "out", PAGEMILL_API_URL="http://ocr.example.org")
    assert status["obstacles"] == [
        f"{scans}: not there; is a disk not mounted?",
        (
            "a run started here would call 'ocr.example.org', not '127.0.0.1'; check the address and the key, or use "
            "--switch-service"
        ),
    ]


async def test_verify_prints_its_faults_as_json(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 2)
    async with serve_fake() as fake:
        await run_here(scans, tmp_path / "out", fake.url)
    fine = await run_command("verify", tmp_path / "out", "--json")
    assert (fine.returncode, orjson.loads(fine.stdout)["faults"]) == (0, [])
    results = tmp_path / "out" / "results.jsonl"
    results.write_bytes(results.read_bytes().replace(b"text of", b"text on"))
    broken = await run_command("verify", tmp_path / "out", "--json")
    told = orjson.loads(broken.stdout)
    assert (broken.returncode, told["exit_code"]) == (1, 1)
    assert told["faults"]
    missing = await run_command("verify", tmp_path / "nowhere", "--json")
    assert (missing.returncode, orjson.loads(missing.stdout)["exit_code"]) == (2, 2)


async def test_the_overview_as_a_page_changes_nothing_in_the_workspace(scans: Path, tmp_path: Path) -> None:
    """Also while a run goes on; the tier of its quota is the run's."""
    write_pages(scans, 6)
    released = asyncio.Event()
    page = tmp_path / "overview.html"
    async with (
        serve_fake(accept_when(released, from_call=3)) as fake,
        start_command(*run_arguments(scans, tmp_path, fake.url, "--tier", "free", "-j", "1")) as process,
    ):
        await fake.wait_for_calls(3)
        live = await run_command("status", tmp_path / "out", "--html", page, key=None)
        assert (live.returncode, live.stderr) == (0, b"")
        assert "A run is under way since" in page.read_text()
        released.set()
        assert await process.wait() == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.is_file()}
    over = await run_command("status", tmp_path / "out", "--html", page, key=None)
    assert (over.returncode, over.stderr) == (0, b"")
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.is_file()} == before
    text = page.read_text()
    assert all(part in text for part in ("quota 30", "<dd>6 <small>of 30 in ", "New by night", "No failure stands."))
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith((".", "overview"))) == [page.name]


async def test_a_page_replaces_a_page_and_nothing_else(scans: Path, tmp_path: Path) -> None:
    """Nor is a device replaced, or a FIFO waited for."""
    write_pages(scans, 1)
    async with serve_fake() as fake:
        await run_here(scans, tmp_path / "out", fake.url)
    results, fifo, page = tmp_path / "out" / "results.jsonl", tmp_path / "fifo", tmp_path / "page.html"
    os.mkfifo(fifo)
    before = results.read_bytes()
    for path, problem in (
        (results, b"holds something else than a page of HTML"),
        (fifo, b"not a regular file"),
        (tmp_path / "absent" / "page.html", b"its directory does not exist"),
        (tmp_path / ("x" * 255), b"File name too long"),
    ):
        done = await run_command("status", tmp_path / "out", "--html", path, key=None)
        assert done.returncode in {1, 2}, path
        assert problem in done.stderr
        assert done.stdout == b""
    assert results.read_bytes() == before
    page.touch()
    for _ in range(2):
        assert (await run_command("status", tmp_path / "out", "--html", page, key=None)).returncode == 0
    assert page.read_text().endswith("</html>")


async def test_without_a_page_no_template_is_loaded(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 1)
    async with serve_fake() as fake:
        await run_here(scans, tmp_path / "out", fake.url)
    code = (
        "import sys; from pathlib import Path; from pipeline.cli.status import show_status\n"
        f"show_status(Path({str(tmp_path / 'out')!r}), as_json=True); assert 'jinja2' not in sys.modules"
    )
    done = await run_command("-c", code, command=(sys.executable,))
    assert (done.returncode, done.stderr) == (0, b"")
