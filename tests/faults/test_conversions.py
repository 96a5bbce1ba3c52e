"""Files whose conversion raises, crashes, hangs or is interrupted: each costs its own page, and never the run."""

import gzip
import io
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import cache
from pathlib import Path

import anyio
import pytest
from PIL import Image

from pipeline.batch.summary import Summary
from pipeline.inputs import image
from pipeline.records import State
from tests.fakes import FakeOcr, serve_fake
from tests.faults.accounts import list_faults
from tests.pages import write_page, write_pages
from tests.pixels.tiffs import DEFLATE, tiff, tiff_page
from tests.runs import (
    SABOTAGE,
    failures,
    read_lines,
    results,
    run_arguments,
    run_command,
    run_here,
    start_command,
    wait_for_end,
)
from tests.server.bombs import jpeg_of_scans
from tests.server.processes import children, is_running, wait_until

CASES = Path(__file__).parents[1] / "cases"
DEADLINE_S = 120
GOOD = 6


@cache
def slow_page() -> bytes:
    """Return a TIFF of 144 million pixels, which takes seconds to decode."""
    buffer = io.BytesIO()
    Image.new("RGB", (12_000, 12_000), "white").save(buffer, "TIFF", compression="packbits")
    return buffer.getvalue()


async def wait_for_worker(parent: int) -> int:
    """Return the id of the first conversion worker of a process, once it decodes."""
    await anyio.to_thread.run_sync(wait_until, lambda: any(map(_is_decoding, children(parent))), 30.0)
    return next(filter(_is_decoding, children(parent)))


def _is_decoding(pid: int) -> bool:
    """Return whether a process is a worker whose memory holds a decoded page."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
    except (OSError, IndexError):
        return False
    return b"conversion_worker" in command and pages * os.sysconf("SC_PAGE_SIZE") > 200 << 20


@asynccontextmanager
async def slow_run(scans: Path, directory: Path) -> AsyncIterator[tuple[FakeOcr, list[Summary], int]]:
    """Yield a server, the summaries of a run that converts a slow page beside good ones, and the id of the worker.

    Leaving the context waits for the run.
    """
    write_pages(scans, GOOD)
    (scans / "slow.tif").write_bytes(slow_page())
    ended: list[Summary] = []

    async def work(url: str) -> None:
        ended.append(await run_here(scans, directory / "out", url))

    async with serve_fake() as fake:
        with anyio.fail_after(DEADLINE_S):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(work, fake.url)
                yield fake, ended, await wait_for_worker(os.getpid())


def check_slow_page_failed(directory: Path, ended: list[Summary], message: str) -> None:
    """Fail unless only the slow page failed, with this message, and the accounts add up."""
    (summary,) = ended
    assert (summary.exit_code, summary.totals[State.DONE], summary.totals[State.FAILED]) == (3, GOOD, 1)
    assert [
        (line["source"], line["class"], line["message"], line["retryable"]) for line in failures(directory / "out")
    ] == [("slow.tif", "conversion-failed", message, False)]
    assert list_faults(directory / "out") == []


async def test_files_that_ended_a_run_cost_their_pages_only(scans: Path, tmp_path: Path) -> None:
    """A second run neither sends nor fails anything again."""
    write_pages(scans, GOOD)
    for path in CASES.glob("*/x.*"):
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        if path.name.startswith("x.tif") or path.suffix == ".gif":
            (scans / f"{path.parent.name}.{path.name.split('.')[1]}").write_bytes(data)
    for path in (*CASES.glob("*/*.jpg"), *CASES.glob("png-large*/*.png")):
        shutil.copyfile(path, scans / f"{path.parent.name}-{path.name}")
    Image.new("L", (1080, 30_000), "white").save(scans / "screenshot.png")
    (scans / "scans.jpg").write_bytes(jpeg_of_scans(4008, 4000, 17_000))
    async with serve_fake() as fake:
        first = await run_command(*run_arguments(scans, tmp_path, fake.url, "--log-format", "json"))
        calls = len(fake.calls)
        again = await run_command(*run_arguments(scans, tmp_path, fake.url))
        assert len(fake.calls) == calls
    assert (first.returncode, again.returncode) == (3, 3)
    assert b"Traceback" not in first.stderr + again.stderr
    assert all(line.startswith(b"{") for line in first.stderr.splitlines())
    assert {(line["source"], line["page"], line["class"]) for line in failures(tmp_path / "out")} == {
        ("crash-1-tif.tif", 3, "truncated"),
        ("crash-5-gif.gif", 2, "truncated"),
        ("scans.jpg", 1, "conversion-failed"),
        ("tiff-unknown-compression-page3.tif", 3, "unsupported"),
    }
    assert {(line["source"], line["tile"]["of"]) for line in read_lines(tmp_path / "out" / "parts.jsonl")} == {
        ("crash-5-gif.gif", 12),
        ("screenshot.png", 6),
    }
    sent = {line["source"] for line in results(tmp_path / "out")}
    assert {"jpeg-without-eoi-fails.jpg", "jpeg-without-eoi-passes.jpg"} < sent
    assert {"png-large-text-or-icc-icc.png", "png-large-text-or-icc-ztxt.png"} < sent
    assert list_faults(tmp_path / "out") == []


async def test_one_damaged_page_of_200_costs_one_page(scans: Path, tmp_path: Path) -> None:
    pages = [tiff_page(bytes([level] * 14400), 120, bits=8, compression=DEFLATE) for level in range(200)]
    pages[149]["strips"] = [b"no deflate"]
    (scans / "book.tif").write_bytes(tiff(*pages))
    async with serve_fake() as fake:
        summary = await run_here(scans, tmp_path / "out", fake.url)
    assert (summary.exit_code, summary.totals[State.DONE], summary.totals[State.FAILED]) == (3, 199, 1)
    assert [(line["page"], line["class"]) for line in failures(tmp_path / "out")] == [(150, "truncated")]


async def test_a_worker_killed_in_the_middle_costs_its_page(scans: Path, tmp_path: Path) -> None:
    async with slow_run(scans, tmp_path) as (_, ended, worker):
        os.kill(worker, signal.SIGKILL)
    message = "the decoder was killed (SIGKILL); the machine may have run out of memory"
    check_slow_page_failed(tmp_path, ended, message)


async def test_a_worker_that_crashes_costs_its_page(scans: Path, tmp_path: Path) -> None:
    async with slow_run(scans, tmp_path) as (_, ended, worker):
        os.kill(worker, signal.SIGSEGV)
    check_slow_page_failed(tmp_path, ended, "the decoder crashed (SIGSEGV)")


async def test_a_worker_that_hangs_costs_its_page(scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "CONVERSION_TIMEOUT_S", 4.0)
    async with slow_run(scans, tmp_path) as (_, ended, worker):
        os.kill(worker, signal.SIGSTOP)
    check_slow_page_failed(tmp_path, ended, "took longer than 4 s to decode")
    assert not is_running(worker)


async def test_the_slow_page_itself_is_good(scans: Path, tmp_path: Path) -> None:
    """Negative control of the tests above."""
    async with slow_run(scans, tmp_path) as (_, ended, _worker):
        pass
    assert (ended[0].exit_code, ended[0].totals[State.DONE]) == (0, GOOD + 1)


@asynccontextmanager
async def stopped_worker(parent: int) -> AsyncIterator[int]:
    """Stop a run's worker while it decodes, and kill it in the end if it is still there."""
    worker = await wait_for_worker(parent)
    os.kill(worker, signal.SIGSTOP)
    try:
        yield worker
    finally:
        with suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["sigint", "sigterm"])
async def test_a_signal_ends_a_run_in_the_middle_of_a_conversion(
    scans: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """The worker never ends by itself; its page stays pending."""
    (scans / "slow.tif").write_bytes(slow_page())
    write_page(scans / "good.png", 1)
    async with serve_fake() as fake, start_command(*run_arguments(scans, tmp_path, fake.url)) as process:
        with anyio.fail_after(DEADLINE_S):
            async with stopped_worker(process.pid) as worker:
                await fake.arrived.wait()
                process.send_signal(number)
                with anyio.fail_after(5):
                    code, stderr = await wait_for_end(process)
                await anyio.to_thread.run_sync(wait_until, lambda: not is_running(worker))
    assert code == 128 + number, stderr
    assert "Traceback" not in stderr
    assert failures(tmp_path / "out") == []
    assert len(results(tmp_path / "out")) == 1


async def test_a_run_that_waits_for_conversions_does_not_end(scans: Path, tmp_path: Path) -> None:
    """Negative control: the shutdown cancels no conversion."""
    (scans / "slow.tif").write_bytes(slow_page())
    arguments = run_arguments(scans, tmp_path, "http://127.0.0.1:9")
    async with start_command(*arguments, command=(*SABOTAGE, "wait-for-threads")) as process:
        with anyio.fail_after(DEADLINE_S):
            async with stopped_worker(process.pid):
                process.send_signal(signal.SIGINT)
                with pytest.raises(TimeoutError), anyio.fail_after(5):
                    await process.wait()


async def test_a_killed_run_leaves_no_worker_behind(scans: Path, tmp_path: Path) -> None:
    """It sees the end of its stdin, also while it decodes."""
    (scans / "slow.tif").write_bytes(slow_page())
    async with start_command(*run_arguments(scans, tmp_path, "http://127.0.0.1:9")) as process:
        with anyio.fail_after(DEADLINE_S):
            worker = await wait_for_worker(process.pid)
            process.kill()
            await anyio.to_thread.run_sync(wait_until, lambda: not is_running(worker), 10.0)
