"""New, changed, unmodified and gone files are told apart, and a bar begins where the last run ended."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from pipeline.batch import runner
from pipeline.batch.job import Job
from pipeline.batch.planning.count import PlanJob
from pipeline.batch.planning.plan import make_plan
from pipeline.batch.progress import Snapshot
from pipeline.batch.summary import Summary, describe_summary
from pipeline.records import State
from pipeline.service import Service
from pipeline.workspace.inventory import FileState
from tests.fakes import serve_fake
from tests.faults.tracing import read_log, trace
from tests.pages import write_page, write_pages
from tests.runs import COMMAND, KEY, configure, run_command, run_here


def file_counts(summary: Summary) -> list[int]:
    """Return the numbers of new, changed, unmodified and gone files."""
    return [summary.files[state] for state in summary.files]


async def test_a_summary_tells_files_apart(scans: Path, tmp_path: Path) -> None:
    """And a file that is gone is gone once; a deleted file had counted nowhere."""
    out = tmp_path / "out"
    pages = write_pages(scans / "a", 6)
    write_pages(scans / "b", 3, first_seed=30)
    async with serve_fake() as fake:
        assert file_counts(await run_here(scans, out, fake.url)) == [9, 0, 0, 0]
        write_page(pages[0], 90)
        os.utime(pages[0], (1, 1))
        write_page(scans / "new.png", 91)
        pages[1].unlink()
        shutil.rmtree(scans / "b")
        plan = await make_plan(
            PlanJob([str(scans)], out, Service(fake.url, KEY, "127.0.0.1"), configure(out)),
        )
        assert plan.gone == 4
        summary = await run_here(scans, out, fake.url)
        assert file_counts(summary) == [1, 1, 4, 4]
        assert "; files: 1 new, 1 changed, 4 unmodified, 4 gone" in describe_summary(summary)
        again = await run_here(scans, out, fake.url)
        assert file_counts(again) == [0, 0, 6, 0]
        assert "files:" not in describe_summary(again)
        write_page(pages[1], 1)  # as it was
        assert file_counts(await run_here(scans, out, fake.url)) == [1, 0, 6, 0]
        assert len(fake.calls) == 11


async def test_files_outside_the_inputs_are_not_gone(scans: Path, tmp_path: Path) -> None:
    """Nor are those that are left out by a pattern, or that another INPUT holds."""
    out = tmp_path / "out"
    write_pages(scans / "a", 3)
    write_pages(scans / "b", 3, first_seed=30)
    async with serve_fake() as fake:
        await run_here(scans, out, fake.url)
        shutil.rmtree(scans / "b")
        assert file_counts(await run_here(scans / "a", out, fake.url)) == [0, 0, 3, 0]
        excluded = await run_here(scans / "a", out, fake.url, input={"exclude": ["*-0001.png"]})
        assert file_counts(excluded) == [0, 0, 2, 0]
        both = await run_here([scans, scans / "a"], out, fake.url)
        assert both.files[FileState.GONE] == 3


async def test_an_unmounted_disk_is_not_gone_files(scans: Path, tmp_path: Path) -> None:
    pages = write_pages(scans, 3)
    async with serve_fake() as fake:
        await run_here(scans, tmp_path / "out", fake.url)
        for page in pages:
            page.rename(tmp_path / page.name)
        empty = await run_here(scans, tmp_path / "out", fake.url)
        assert (empty.exit_code, file_counts(empty)) == (9, [0, 0, 0, 0])
        for page in pages:
            (tmp_path / page.name).rename(page)
        assert file_counts(await run_here(scans, tmp_path / "out", fake.url)) == [0, 0, 3, 0]


async def test_changed_since_takes_what_was_written_since(scans: Path, tmp_path: Path) -> None:
    """Older files are counted, neither sent nor pending; the pages that an earlier run left stay pending."""
    out = tmp_path / "out"
    old = write_pages(scans, 5)
    for page in old:
        os.utime(page, (1_600_000_000, 1_600_000_000))
    write_page(scans / "x.png", 70)
    async with serve_fake() as fake:
        for when in ("2d", "2021-01-01", "2021-01-01T00:00:00+00:00"):
            summary = await run_here(scans, out, fake.url, input={"changed_since": when})
            assert (summary.exit_code, summary.totals[State.DONE], summary.pending) == (0, 1, 0)
            assert (summary.ignored, len(fake.calls)) == ({"older": 5}, 1)
        (scans / "x.png").unlink()
        nothing = await run_here(scans, out, fake.url, input={"changed_since": "2d"})
        assert nothing.exit_code == 0
        await run_here(scans, out, fake.url, run={"limit": 2})
        kept = await run_here(scans, out, fake.url, input={"changed_since": "2d"})
        assert kept.totals[State.PENDING] == 3


async def test_a_wrong_moment_is_exit_2(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 1)
    done = await run_command("run", scans, "-o", tmp_path / "out", "--changed-since", "yesterday")
    assert done.returncode == 2
    assert b"input.changed_since: 'yesterday' is no date, time or duration such as 2d" in done.stderr


async def test_a_bar_does_not_begin_at_0_after_a_resume(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    write_pages(scans, 8)
    seen: list[int] = []

    async def note(take: Callable[[], Snapshot], _: object, **__: object) -> None:
        seen.append(take().finished)
        try:
            await anyio.sleep_forever()
        finally:
            seen.append(take().finished)

    async with serve_fake() as fake:
        await run_here(scans, out, fake.url, run={"max_calls": 5})
        monkeypatch.setattr(runner, "report", note)
        job = Job(scans, out, Service(fake.url, KEY, "127.0.0.1"), configure(out), bar=True)
        await runner.run(job)
    assert seen == [5, 8]


@pytest.mark.parametrize("command", ["run", "plan"])
async def test_an_unchanged_tree_is_known_without_opening_a_file(scans: Path, tmp_path: Path, command: str) -> None:
    """By path, size and time; a new file is opened."""
    pages = write_pages(scans, 12)
    log = tmp_path / "trace"
    async with serve_fake() as fake:
        await run_here(scans, tmp_path / "out", fake.url)
        new = write_page(scans / "z-new.png", 70)
        line = trace(log, ["open", "openat", "openat2"])
        flags: list[str | Path] = ["--ledger", tmp_path / "ledger", "--api-url", fake.url]
        done = await run_command(command, scans, "-o", tmp_path / "out", *flags, command=[*line, *COMMAND])
        assert done.returncode == 0
    opened = {path for call in read_log(log) for path in call.paths}
    assert str(new) in opened
    assert opened.isdisjoint(map(str, pages))
