"""The names that `from pipeline import …` promises."""

import subprocess
import sys
from pathlib import Path

import pipeline
from pipeline import Job, Service, run, run_sync
from pipeline.records import State
from tests.fakes import serve_fake
from tests.pages import write_pages
from tests.runs import KEY, ROOT, configure, environment


def test_every_public_name_is_there() -> None:
    assert [name for name in pipeline.__all__ if not hasattr(pipeline, name)] == []


def test_run_is_the_function_whatever_was_imported_before() -> None:
    script = (
        "import pipeline.batch.runner, pipeline.cli.run, pipeline\n"
        "from pipeline import run\n"
        "import inspect\n"
        "assert inspect.iscoroutinefunction(run) and run is pipeline.batch.runner.run"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


def test_importing_the_package_loads_none_of_it() -> None:
    script = "import sys, pipeline\nassert not [name for name in sys.modules if name.startswith('pipeline.')]"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


async def test_run_is_awaited_where_a_loop_runs_already(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 2)
    async with serve_fake() as fake:
        service = Service(fake.url, KEY, "127.0.0.1")
        summary = await run(
            Job(inputs=[scans], workspace=tmp_path / "out", service=service, config=configure(tmp_path))
        )
    assert summary.totals[State.DONE] == 2


async def test_one_input_need_not_be_in_a_list(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 2)
    async with serve_fake() as fake:
        service = Service(fake.url, KEY, "127.0.0.1")
        for inputs in (scans, str(scans)):
            job = Job(inputs=inputs, workspace=str(tmp_path / "out"), service=service, config=configure(tmp_path))
            assert (await run(job)).totals[State.DONE] == 2


def test_run_sync_runs_without_a_loop(scans: Path, tmp_path: Path) -> None:
    (scans / "bad.png").write_bytes(b"")
    service = Service("http://127.0.0.1:9", KEY, "127.0.0.1")
    summary = run_sync(Job(inputs=[scans], workspace=tmp_path / "out", service=service, config=configure(tmp_path)))
    assert summary.totals[State.FAILED] == 1


def test_a_job_without_service_and_settings_takes_those_of_the_environment(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 1)
    script = "from pipeline import Job, run_sync; print(run_sync(Job(inputs='scans', workspace='out')).calls_left)"
    environ = environment(
        KEY, PAGEMILL_API_URL="http://127.0.0.1:9", PAGEMILL_TIER="free", PAGEMILL_RETRIES="0", PYTHONPATH=str(ROOT)
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=environ, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "30\n"
