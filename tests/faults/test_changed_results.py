"""results.jsonl changed between runs: no text is lost, and no call is paid again without a word."""

import shutil
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from pipeline.batch.job import Job
from pipeline.batch.runner import run
from pipeline.config import Config
from pipeline.errors import StorageError, UsageError
from pipeline.ledger.base import AcceptedCall
from pipeline.ledger.sqlite.accepted import SqliteAcceptedCalls
from pipeline.service import Service
from pipeline.verify.audit import audit
from pipeline.workspace.paths import INDEX, RESULTS
from pipeline.workspace.reader import read_records
from pipeline.workspace.run_file import require_workspace
from tests.fakes import FakeOcr, accept, answer_error, serve_fake
from tests.faults.changed_results import EDITED, LOST, READABLE, Change, copy_elsewhere, move_elsewhere
from tests.pages import write_pages
from tests.runs import SABOTAGE, results, run_arguments, run_command, run_here

PAGES = 10


async def fill(scans: Path, out: Path, fake: FakeOcr) -> None:
    """Recognise ten pages."""
    write_pages(scans, PAGES)
    assert (await run_here(scans, out, fake.url)).exit_code == 0
    assert len(fake.calls) == PAGES


@pytest.mark.parametrize("change", [pytest.param(change, id=name) for name, change in READABLE.items()])
async def test_lines_that_can_be_read_are_not_paid_again(scans: Path, tmp_path: Path, change: Change) -> None:
    """A copy of a page that is done finds its text, too, wherever its line is now."""
    out = tmp_path / "out"
    async with serve_fake() as fake:
        await fill(scans, out, fake)
        change(out)
        assert (await run_here(scans, out, fake.url)).exit_code == 0
        shutil.copy(scans / "page-0004.png", scans / "copy.png")
        assert (await run_here(scans, out, fake.url)).exit_code == 0
        assert len(fake.calls) == PAGES
    assert len({record.source for record in read_records(out)}) == PAGES + 1


@pytest.mark.parametrize(("change", "missing"), [pytest.param(*lost, id=name) for name, lost in LOST.items()])
async def test_missing_texts_stop_each_run_before_a_call_until_pay_again(
    scans: Path, tmp_path: Path, change: Change, missing: int
) -> None:
    out = tmp_path / "out"
    async with serve_fake() as fake:
        await fill(scans, out, fake)
        change(out)
        changed = (out / RESULTS).read_bytes() if (out / RESULTS).exists() else None
        for _ in range(2):
            with pytest.raises(StorageError, match="nothing was sent") as raised:
                await run_here(scans, out, fake.url)
            assert raised.value.exit_code == 1
            assert "--pay-again" in str(raised.value)
        assert len(fake.calls) == PAGES
        kept = b"".join(path.read_bytes() for path in (out / RESULTS, *out.glob("*.broken-*")) if path.exists())
        assert changed is None or kept == changed
        if "compressed" in str(raised.value):
            return
        assert f" {missing} texts" in str(raised.value)
        again = await run_here(scans, out, fake.url, pay_again=True)
        assert (again.exit_code, len(fake.calls)) == (0, PAGES + missing)
        for _ in range(2):
            assert (await run_here(scans, out, fake.url)).exit_code == 0
            (out / INDEX).unlink()
        assert len(fake.calls) == PAGES + missing


@pytest.mark.parametrize("index", [pytest.param(True, id="with-the-index"), pytest.param(False, id="without")])
@pytest.mark.parametrize("change", [pytest.param(change, id=name) for name, change in EDITED.items()])
async def test_an_edited_text_stops_each_run_until_it_is_resealed(
    scans: Path, tmp_path: Path, change: Change, *, index: bool
) -> None:
    out = tmp_path / "out"
    async with serve_fake() as fake:
        await fill(scans, out, fake)
        change(out)
        edited = [line["text"] for line in results(out)]
        if not index:
            (out / INDEX).unlink()
        for _ in range(2):
            with pytest.raises(StorageError, match=r"correct .* --reseal") as raised:
                await run_here(scans, out, fake.url)
            assert raised.value.exit_code == 1
        done = await run_command("correct", out, "--reseal")
        assert done.returncode == 0, done.stderr.decode()
        assert (await run_here(scans, out, fake.url)).exit_code == 0
        assert len(fake.calls) == PAGES
    assert [line["text"] for line in results(out)] == edited
    assert list(audit(out, require_workspace(out))) == []


async def test_an_edited_text_is_sent_again_with_pay_again_once(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    async with serve_fake() as fake:
        await fill(scans, out, fake)
        EDITED["text-corrected"](out)
        assert (await run_here(scans, out, fake.url, pay_again=True)).exit_code == 0
        assert len(fake.calls) == PAGES + 1
        (out / INDEX).unlink()
        assert (await run_here(scans, out, fake.url)).exit_code == 0
        assert len(fake.calls) == PAGES + 1


async def test_reseal_names_and_keeps_lines_that_are_no_records(scans: Path, tmp_path: Path) -> None:
    """Exit 1; the former bytes of the edited line are kept."""
    out = tmp_path / "out"
    async with serve_fake() as fake:
        await fill(scans, out, fake)
    lines = (out / RESULTS).read_bytes().splitlines(keepends=True)
    lines[3], edited = b"scribble\n", lines[5].replace(b"text of", b"word of")
    (out / RESULTS).write_bytes(b"".join([*lines[:5], edited, *lines[6:]]))
    done = await run_command("correct", out, "--reseal")
    assert done.returncode == 1
    assert done.stdout.decode().startswith(f"{RESULTS}:4: left as it is: ")
    assert b"1 lines resealed" in done.stderr
    after = (out / RESULTS).read_bytes().splitlines(keepends=True)
    assert [at for at in range(PAGES) if after[at] != lines[at]] == [5]
    assert [path.read_bytes() for path in out.glob("*.edited-*")] == [edited]


async def test_a_whole_copy_goes_on_and_both_keep_their_calls(scans: Path, tmp_path: Path) -> None:
    """The copy's lines are all there; what the original pays for afterwards is not missing in the copy."""
    out = tmp_path / "out"
    async with serve_fake() as fake:
        await fill(scans, out, fake)
        copy = copy_elsewhere(out)
        write_pages(scans, PAGES + 2)
        assert (await run_here(scans, out, fake.url)).exit_code == 0
        assert (await run_here(scans, copy, fake.url)).exit_code == 0
        for place in (out, copy):
            assert (await run_here(scans, place, fake.url)).exit_code == 0
            assert list(audit(place, require_workspace(place))) == []
        assert len(fake.calls) == PAGES + 4
        (copy / RESULTS).write_bytes(b"")
        with pytest.raises(StorageError, match=" 2 texts"):
            await run_here(scans, copy, fake.url)


async def test_a_copy_whose_lines_are_gone_pays_nothing(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    async with serve_fake() as fake:
        await fill(scans, out, fake)
        copy = copy_elsewhere(out)
        (copy / RESULTS).unlink()
        with pytest.raises(StorageError, match=" 10 texts"):
            await run_here(scans, copy, fake.url)
        assert len(fake.calls) == PAGES


async def test_a_moved_workspace_goes_on_and_still_misses_its_texts(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    async with serve_fake() as fake:
        await fill(scans, out, fake)
        moved = move_elsewhere(out)
        assert (await run_here(scans, moved, fake.url)).exit_code == 0
        LOST["older-backup"][0](moved)
        with pytest.raises(StorageError, match=" 4 texts"):
            await run_here(scans, moved, fake.url)
        assert len(fake.calls) == PAGES


async def test_merged_lines_of_another_workspace_are_taken_over(scans: Path, tmp_path: Path) -> None:
    out, other, more = tmp_path / "out", tmp_path / "other", tmp_path / "more"
    async with serve_fake() as fake:
        await fill(scans, out, fake)
        write_pages(more, PAGES + 3)
        for page in range(PAGES):
            (more / f"page-{page:04}.png").unlink()
        await run_here(more, other, fake.url)
        with (out / RESULTS).open("ab") as file:
            file.write((other / RESULTS).read_bytes())
        shutil.copytree(more, scans, dirs_exist_ok=True)
        assert (await run_here(scans, out, fake.url)).exit_code == 0
        assert len(fake.calls) == PAGES + 3


async def test_failed_calls_do_not_stop_a_run(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_pages(scans, 3)
    async with serve_fake(answer_error(500)) as fake:
        await run_here(scans, out, fake.url, run={"retries": 0, "jobs": 1})
        fake.script = accept
        assert (await run_here(scans, out, fake.url)).exit_code == 0
        assert len(results(out)) == 3


async def test_without_the_check_texts_are_paid_twice(scans: Path, tmp_path: Path) -> None:
    """Negative control."""
    out = tmp_path / "out"
    async with serve_fake() as fake:
        await fill(scans, out, fake)
        LOST["older-backup"][0](out)
        arguments = run_arguments(scans, tmp_path, fake.url)
        assert (await run_command(*arguments)).returncode == 1
        assert len(fake.calls) == PAGES
        done = await run_command(*arguments, command=(*SABOTAGE, "check-no-texts"))
        assert (done.returncode, len(fake.calls)) == (0, PAGES + 4)


async def test_a_ledger_that_lost_calls_of_a_killed_run_is_noticed(scans: Path, tmp_path: Path) -> None:
    """The counter in run.json is that of the run's beginning; the lines show the loss."""
    out = tmp_path / "out"
    async with serve_fake() as fake:
        await fill(scans, out, fake)
        ledger = next((tmp_path / "ledger").glob("*.sqlite3"))
        run_file = (out / "run.json").read_bytes()
        backup = ledger.read_bytes()
        write_pages(scans, PAGES + 2)
        await run_here(scans, out, fake.url)
        ledger.write_bytes(backup)
        (out / "run.json").write_bytes(run_file)
        with pytest.raises(UsageError, match="lacks 2 calls"):
            await run_here(scans, out, fake.url)
        assert (await run_here(scans, out, fake.url, accept_ledger=True)).exit_code == 0
        assert (await run_here(scans, out, fake.url)).exit_code == 0
        assert len(fake.calls) == PAGES + 2


async def test_an_edited_text_of_the_embedded_engine_is_not_replaced_without_a_word(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No ledger is kept; a line that is no JSON is recognised again, as before, for it costs nothing."""
    monkeypatch.delenv("PAGEMILL_API_KEY", raising=False)
    monkeypatch.delenv("LLMOCR_API_KEY", raising=False)
    out = tmp_path / "out"
    write_pages(scans, 4)
    async with serve_fake() as fake:

        @asynccontextmanager
        async def start(_: Config) -> AsyncGenerator[Service]:
            yield Service(fake.url, None, "embedded")

        job = Job(inputs=scans, workspace=out, config=Config(), start_embedded=start)
        assert (await run(job)).exit_code == 0
        EDITED["text-corrected"](out)
        for _ in range(2):
            with pytest.raises(StorageError, match="--reseal"):
                await run(job)
        assert len(fake.calls) == 4
        assert (await run(replace(job, pay_again=True))).exit_code == 0
        assert (await run(job)).exit_code == 0
        assert len(fake.calls) == 5
        lines = (out / RESULTS).read_bytes().splitlines(keepends=True)
        (out / RESULTS).write_bytes(b"".join([*lines[:2], b"scribble\n", *lines[3:]]))
        assert (await run(job)).exit_code == 0
        assert len(fake.calls) == 6


async def test_after_a_crash_the_counts_are_compared_and_no_row_is_read(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash leaves an index that has not read the last lines; a cut tail is found all the same."""
    out = tmp_path / "out"
    write_pages(scans, PAGES // 2)
    scanned: list[object] = []
    find = SqliteAcceptedCalls.find

    def note_and_find(*arguments: Any, **options: Any) -> Iterator[list[AcceptedCall]]:
        scanned.append(arguments)
        return find(*arguments, **options)

    async with serve_fake() as fake:
        await run_here(scans, out, fake.url)
        behind = (out / INDEX).read_bytes()
        await fill(scans, out, fake)
        monkeypatch.setattr(SqliteAcceptedCalls, "find", note_and_find)
        (out / INDEX).write_bytes(behind)
        assert (await run_here(scans, out, fake.url)).exit_code == 0
        assert scanned == []
        (out / INDEX).write_bytes(behind)
        LOST["last-100-bytes-cut"][0](out)
        with pytest.raises(StorageError, match=" 1 texts"):
            await run_here(scans, out, fake.url)
        assert scanned
        assert len(fake.calls) == PAGES


async def test_a_file_of_other_lines_is_named_in_a_dozen(
    scans: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Pretty-printed, each line of the file was named."""
    out = tmp_path / "out"
    async with serve_fake() as fake:
        await fill(scans, out, fake)
        lines = (out / RESULTS).read_bytes().splitlines()
        (out / RESULTS).write_bytes(
            b"".join(orjson.dumps(orjson.loads(line), option=orjson.OPT_INDENT_2) for line in lines)
        )
        caplog.clear()
        with pytest.raises(StorageError, match="nothing was sent"):
            await run_here(scans, out, fake.url)
    named = [message for message in caplog.messages if "skipped" in message]
    assert 2 <= len(named) <= 11
    assert "pagemill verify names each" in named[-1]
