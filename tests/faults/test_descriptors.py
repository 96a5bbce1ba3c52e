"""A run under a low `ulimit -n` stops instead of failing pages, and the next run goes on."""

from contextlib import closing
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import anyio
import pytest
from aiohttp import web

from pipeline.errors import NoDescriptorsError, StorageError
from pipeline.remote.client import open_client
from pipeline.remote.outcome import Fault
from pipeline.remote.timeouts import Timeouts
from pipeline.remote.verdict import Situation, Stop, verdict_of
from pipeline.service import Service
from pipeline.storage.files import open_stable
from pipeline.workspace.index import Index
from pipeline.workspace.result_lines import encode_record
from tests.descriptors import no_descriptors
from tests.factories import make_record
from tests.fakes import Call, Script, accept, serve_fake
from tests.faults.accounts import list_faults
from tests.pages import write_pages
from tests.runs import COMMAND, KEY, SABOTAGE, environment, failures, results, run_arguments, run_here
from tests.workspace.lines import append

PAGES, JOBS = 120, 16
LIMITS = range(14, 30, 3)
"""From too few to begin, which depends on the machine, to enough for several calls; never enough for sixteen."""


def answer_crowds(patience_s: float) -> Script:
    """Return a script that answers a run's first call at once, as it goes alone, and later ones when sixteen wait.

    Where so many never come, each call is answered after its patience.
    """
    calls, crowded = 0, anyio.Event()

    async def answer(call: Call) -> web.StreamResponse:
        nonlocal calls
        calls += 1
        if calls > 1 + JOBS:
            crowded.set()
        if calls > 1:
            with anyio.move_on_after(patience_s):
                await crowded.wait()
        return accept(call)

    return answer


async def _run_below(limit: int, scans: Path, directory: Path, url: str, command: tuple[str, ...]) -> bytes:
    """Run with a limit of descriptors, which the run must exceed; return what it wrote."""
    directory.mkdir()
    arguments = [*command, *map(str, run_arguments(scans, directory, url, "-j", str(JOBS)))]
    script = f'ulimit -n {limit}; exec "$@"'
    done = await anyio.run_process(["bash", "-c", script, "bash", *arguments], check=False, env=environment(KEY))
    assert done.returncode != 0
    assert b"Traceback" not in done.stderr, done.stderr
    return done.stderr


async def test_a_run_without_a_file_descriptor_fails_no_page(scans: Path, tmp_path: Path) -> None:
    """94 of 120 pages failed under `ulimit -n 20`."""
    write_pages(scans, PAGES)
    workspace, recorded = tmp_path, 0
    async with serve_fake() as fake:
        for limit in LIMITS:
            fake.script = answer_crowds(0.5)
            stderr = await _run_below(limit, scans, tmp_path / str(limit), fake.url, COMMAND)
            assert not failures(tmp_path / str(limit) / "out")
            if texts := len(results(tmp_path / str(limit) / "out")):
                workspace, recorded = tmp_path / str(limit) / "out", texts
                assert f"no file descriptor is left (`ulimit -n` allows {limit})".encode() in stderr
        assert 0 < recorded < PAGES
        fake.calls.clear()
        fake.script = accept
        summary = await run_here(scans, workspace, fake.url)
        assert len(fake.calls) == PAGES - recorded
    assert (summary.exit_code, len(results(workspace))) == (0, PAGES)
    assert list_faults(workspace) == []


async def test_pages_fail_when_they_are_blamed_for_a_missing_descriptor(scans: Path, tmp_path: Path) -> None:
    """Negative control: which file lacks its descriptor first depends on the moment; one of the workspace ends the run.

    So the limits are tried in several rounds.
    """
    write_pages(scans, PAGES)
    async with serve_fake() as fake:
        for turn, limit in product(range(4), reversed(range(LIMITS.start, LIMITS.stop))):
            folder = tmp_path / f"{turn}-{limit}"
            fake.script = answer_crowds(0.3)
            await _run_below(limit, scans, folder, fake.url, (*SABOTAGE, "blame-the-page"))
            if failures(folder / "out"):
                return
    pytest.fail("no page failed at any limit")


@pytest.mark.parametrize("descriptors", [8, 10, 12, 14])
async def test_a_run_that_cannot_even_begin_says_why_in_one_line(scans: Path, tmp_path: Path, descriptors: int) -> None:
    write_pages(scans, 3)
    async with serve_fake() as fake:
        arguments = [*COMMAND, *map(str, run_arguments(scans, tmp_path, fake.url))]
        script = f'ulimit -n {descriptors}; exec "$@"'
        done = await anyio.run_process(["bash", "-c", script, "bash", *arguments], check=False, env=environment(KEY))
    assert (done.returncode, b"Traceback" in done.stderr) == (1, False), done.stderr
    assert failures(tmp_path / "out") == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_call_without_a_socket_stops_the_run_and_is_not_billed(host: str) -> None:
    """Neither the service nor the page is at fault; a host that cannot be resolved for that reason is no other."""
    async with open_client(Service(f"http://{host}:9", KEY, host), Timeouts(), connections=1) as client:
        await anyio.to_thread.run_sync(str)  # starts a worker thread, which needs a descriptor
        with no_descriptors():
            outcome = await client.post(b"{}")
    verdict = verdict_of(outcome, Situation(datetime.now(UTC)))
    assert outcome.fault is Fault.NO_DESCRIPTOR
    assert isinstance(verdict, Stop)
    assert isinstance(verdict.error, NoDescriptorsError)
    assert "ulimit -n" in str(verdict.error)


def test_a_page_that_cannot_be_opened_is_not_blamed(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    with no_descriptors(), pytest.raises(NoDescriptorsError), open_stable(tmp_path / "a.png", 100):
        pass


def test_an_original_that_cannot_be_read_is_not_paid_again(tmp_path: Path) -> None:
    """A copy of a page whose record cannot be read now must not be sent as new."""
    record = make_record("a.png", 1)
    with closing(Index.open(tmp_path)) as index:
        index.add_record(record, append(tmp_path / "results.jsonl", encode_record(record)))
        with no_descriptors(), pytest.raises(NoDescriptorsError):
            index.find_record(record.id)
        assert index.find_record(record.id) == record
        (tmp_path / "results.jsonl").rename(tmp_path / "elsewhere")
        (tmp_path / "results.jsonl").mkdir()
        with pytest.raises(StorageError, match=r"results\.jsonl: Is a directory"):
            index.find_record(record.id)
