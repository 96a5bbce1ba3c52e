"""Runs over archives: each member is a page, recorded, resumed and known again as a file in a directory is."""

import base64
import os
import signal
from pathlib import Path

import anyio
import orjson
import pytest
from aiohttp import web

from pipeline.batch.retry import RetrySelection
from pipeline.records import State
from tests.archives import page, pages, patch, write_zip
from tests.fakes import Call, accept, serve_fake
from tests.faults.tracing import read_log, trace
from tests.runs import COMMAND, failures, results, run_arguments, run_command, run_here, start_command

NAMES = ["cover.png", "letters/001.jpg", "letters/002.tif", "letters/003.png"]


async def test_each_member_is_a_page(scans: Path, tmp_path: Path) -> None:
    """Also one that a worker process converts; names are the same from the folder and from a manifest."""
    write_zip(scans / "box.zip", {**pages(*NAMES), "scan": page(9), "notes.txt": b"buy milk\n"})
    (tmp_path / "rows.csv").write_text("path,title\nscans/box.zip/letters/001.jpg,One\n")
    async with serve_fake() as fake:
        summary = await run_here(scans, tmp_path / "out", fake.url)
        assert (summary.exit_code, summary.totals[State.DONE], summary.ignored) == (0, 5, {".txt": 1})
        expected = sorted(f"box.zip/{name}" for name in [*NAMES, "scan"])
        assert sorted(line["source"] for line in results(tmp_path / "out")) == expected
        rows = await run_here(tmp_path / "rows.csv", tmp_path / "rows", fake.url)
        assert (rows.exit_code, [line["meta"] for line in results(tmp_path / "rows")]) == (0, [{"title": "One"}])
        assert len(fake.calls) == 6
    assert (await run_command("verify", tmp_path / "out")).returncode == 0
    assert orjson.loads((await run_command("status", tmp_path / "out", "--json")).stdout)["done"] == 5


async def test_a_second_run_opens_no_member(scans: Path, tmp_path: Path) -> None:
    """It reads the first bytes and the end of the archive, in one opening."""
    box = write_zip(scans / "box.zip", {**pages(*NAMES), "scan": page(9), "notes.txt": os.urandom(200_000)})
    async with serve_fake() as fake:
        assert (await run_command(*run_arguments(scans, tmp_path, fake.url))).returncode == 0
        log = tmp_path / "strace.log"
        tracer = trace(log, ["openat", "open", "read", "pread64", "mmap"], files=[box])
        again = await run_command(*run_arguments(scans, tmp_path, fake.url), command=[*tracer, *COMMAND])
        assert (again.returncode, len(fake.calls)) == (0, 5), again.stderr.decode()
    calls = [call for call in read_log(log) if call.result is not None and call.result >= 0]
    assert [call.name for call in calls] == ["openat", "pread64", "pread64", "pread64", "pread64"]
    first, *others = [int(call.arguments.rpartition(",")[2]) for call in calls[1:]]
    assert first == 0
    assert min(others) >= box.stat().st_size - 70_000


async def test_a_changed_archive_sends_its_new_members_only(scans: Path, tmp_path: Path) -> None:
    members = pages(*NAMES)
    write_zip(scans / "box.zip", members)
    async with serve_fake() as fake:
        await run_here(scans, tmp_path / "out", fake.url)
        write_zip(scans / "box.zip", {**members, "new.png": page(50), "cover.png": page(51)})
        summary = await run_here(scans, tmp_path / "out", fake.url)
        assert (summary.exit_code, len(fake.calls)) == (0, len(NAMES) + 2)
        assert summary.totals[State.DONE] == len(NAMES) + 1


async def test_a_member_that_fails_can_be_sent_again(scans: Path, tmp_path: Path) -> None:
    """An encrypted one is named; once the archive is replaced, `retry` sends it, and `failures` has no more."""
    box = write_zip(scans / "box.zip", pages("a.png", "b.png"))
    content = bytearray(box.read_bytes())
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    box.write_bytes(content)
    async with serve_fake() as fake:
        summary = await run_here(scans, tmp_path / "out", fake.url)
        assert (summary.exit_code, summary.totals[State.DONE], summary.totals[State.FAILED]) == (3, 1, 1)
        (failed,) = failures(tmp_path / "out")
        assert (failed["source"], failed["class"]) == ("box.zip/b.png", "unsupported")
        assert failed["message"].startswith("encrypted in its archive")
        assert b"box.zip/b.png" in (await run_command("failures", tmp_path / "out")).stdout
        write_zip(box, pages("a.png", "b.png"))
        retried = await run_here(scans, tmp_path / "out", fake.url, retry=RetrySelection())
        assert (retried.exit_code, retried.totals[State.FAILED]) == (0, 0)
    assert [line["source"] for line in results(tmp_path / "out")] == ["box.zip/a.png", "box.zip/b.png"]
    assert (await run_command("failures", tmp_path / "out")).stdout == b""


async def test_a_killed_run_resumes_within_the_archive(scans: Path, tmp_path: Path) -> None:
    """No page that was recorded is sent again."""
    write_zip(scans / "box.zip", pages(*(f"{number:02}.png" for number in range(30))))
    reached = anyio.Event()

    async def script(call: Call) -> web.Response:
        if call.number >= 9:
            reached.set()
            await anyio.sleep_forever()  # the server cancels this when the client is gone
        return accept(call)

    async with serve_fake(script) as fake:
        async with start_command(*run_arguments(scans, tmp_path, fake.url, "-j", "4")) as process:
            with anyio.fail_after(60):
                await reached.wait()
            process.send_signal(signal.SIGKILL)
            await process.wait()
        recorded = {line["sha256"] for line in results(tmp_path / "out")}
        assert len(recorded) == 8
        before = len(fake.calls)
        fake.script = accept
        done = await run_command(*run_arguments(scans, tmp_path, fake.url, "-j", "4"))
        assert done.returncode == 0, done.stderr.decode()
        assert not {call.digest for call in fake.calls[before:]} & recorded
    assert len({line["source"] for line in results(tmp_path / "out")}) == 30
    assert (await run_command("verify", tmp_path / "out")).returncode == 0


async def test_a_name_that_is_not_utf_8_is_recorded_exactly(scans: Path, tmp_path: Path) -> None:
    name = "信件".encode("gbk")
    box = write_zip(scans / "box.zip", {"xxxx.png": page(1)})
    patch(box, b"xxxx", name)
    async with serve_fake() as fake:
        for _ in range(2):
            assert (await run_here(scans, tmp_path / "out", fake.url)).exit_code == 0
        assert len(fake.calls) == 1
    (line,) = results(tmp_path / "out")
    assert base64.b64decode(line["source_b64"]) == b"box.zip/" + name + b".png"
    assert (await run_command("verify", tmp_path / "out")).returncode == 0


async def test_an_archive_that_changes_during_the_run_fails_its_page(scans: Path, tmp_path: Path) -> None:
    """It fails with the reason, and the next run sends what is there then."""
    box = write_zip(scans / "box.zip", pages(*(f"{number}.png" for number in range(6))))

    def script(call: Call) -> web.StreamResponse:
        if call.number == 1:
            write_zip(box, pages(*(f"{number}.png" for number in range(7))))
        return accept(call)

    async with serve_fake(script) as fake:
        summary = await run_here(scans, tmp_path / "out", fake.url, run={"jobs": 1})
        assert summary.exit_code == 3
        assert {line["message"] for line in failures(tmp_path / "out")} == {
            "its archive has changed since it was listed"
        }
        again = await run_here(scans, tmp_path / "out", fake.url)
        assert (again.exit_code, again.totals[State.DONE], len(fake.calls)) == (0, 7, 7)


@pytest.mark.parametrize("damage", ["cut-off", "no-archive-any-more"])
async def test_a_damaged_archive_is_a_failure_and_the_others_go_on(scans: Path, tmp_path: Path, damage: str) -> None:
    write_zip(scans / "a.zip", pages("1.png"))
    box = write_zip(scans / "b.zip", pages("2.png"))
    box.write_bytes(box.read_bytes()[:-30] if damage == "cut-off" else b"PK\x03\x04" + bytes(1000))
    async with serve_fake() as fake:
        summary = await run_here(scans, tmp_path / "out", fake.url)
        assert (summary.exit_code, summary.totals[State.DONE], summary.totals[State.FAILED]) == (3, 1, 1)
    (failed,) = failures(tmp_path / "out")
    assert (failed["source"], failed["class"]) == ("b.zip", "unreadable")
