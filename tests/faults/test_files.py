"""Odd, damaged and changing files: each costs at most its own page, with a message, and never the run."""

import os
import signal
import socket
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
from aiohttp import web

from pipeline.batch.summary import Summary
from pipeline.records import State
from tests.fakes import Call, accept, serve_fake
from tests.faults.accounts import list_faults
from tests.pages import write_page, write_pages
from tests.runs import (
    COMMAND,
    SABOTAGE,
    failures,
    results,
    run_arguments,
    run_command,
    run_here,
    start_command,
    wait_for_end,
)

DEADLINE_S = 60
UNLISTED = "cannot list the directory"
RED = "\x1b[31m"


def check_accounts(summary: Summary, out: Path) -> None:
    """Fail unless every page has exactly one line and the states add up."""
    assert list_faults(out) == []
    lines = Counter((line["source"], line["page"]) for line in (*results(out), *failures(out)))
    assert set(lines.values()) == {1}
    assert summary.pages == sum(summary.totals.values()) == len(lines)


async def test_the_good_pages_among_odd_files_are_recognised(scans: Path, tmp_path: Path) -> None:
    """Odd are symlink loops, devices, sockets, FIFOs, a sparse file of 1 TiB, and names that are not UTF-8."""
    page = write_page(scans / "good.png", 0).read_bytes()
    good = ["\udcff\udcfe.png", "new\nline.png", f"{RED}red.png", "n" * 251 + ".png", "\u202egnp.png", "GOOD.PNG"]
    good.append("/".join(["deep" * 10] * 60) + "/page.png")
    for seed, name in enumerate(good):
        path = scans / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(page + bytes([seed]))
    os.link(scans / "good.png", scans / "hard-link.png")
    (scans / "empty.png").touch()
    with (scans / "sparse.png").open("wb") as file:
        file.truncate(1 << 40)
    os.mkfifo(scans / "fifo.png")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(scans / "socket.png"))
    for name, target in {"loop.png": "loop.png", "up": "..", "zero.png": "/dev/zero", "gone.png": "nowhere"}.items():
        (scans / name).symlink_to(target)
    async with serve_fake() as fake:
        with anyio.fail_after(DEADLINE_S):
            summary = await run_here(scans, tmp_path / "out", fake.url, input={"follow_symlinks": True})
    failed = {line["source"]: line["class"] for line in failures(tmp_path / "out")}
    assert failed == {"empty.png": "empty", "gone.png": "missing", "loop.png": "unreadable", "sparse.png": "unfittable"}
    assert (summary.exit_code, len(fake.calls), summary.totals[State.DUPLICATE]) == (3, len(good) + 1, 1)
    check_accounts(summary, tmp_path / "out")


@pytest.mark.parametrize("form", ["text", "json"])
async def test_no_control_character_of_a_file_name_reaches_the_terminal(scans: Path, tmp_path: Path, form: str) -> None:
    """Such a name could clear the screen or imitate a prompt."""
    write_page(scans / f"{RED}a.png", 1)
    (scans / f"{RED}b.png").write_bytes(b"no image")
    (scans / f"{RED}.txt").write_text(f"{RED}gone.png\n\0{RED}\n")
    async with serve_fake() as fake:
        flags = (scans / f"{RED}.txt", "-v", "--log-format", form)
        run = await run_command(*run_arguments(scans, tmp_path, fake.url, *flags))
        wrong = await run_command(*run_arguments(scans / f"{RED}nowhere", tmp_path, fake.url, *flags[1:]))
    lines = tmp_path / "out" / "results.jsonl"
    lines.write_bytes(lines.read_bytes().replace(b"text of", b"lies of"))
    verify = await run_command("verify", tmp_path / "out")
    assert (run.returncode, wrong.returncode, verify.returncode) == (3, 2, 1)
    output = b"".join(done.stdout + done.stderr for done in (run, wrong, verify))
    assert b"\x1b" not in output
    assert output.count(b"[31m") >= 5


@pytest.mark.parametrize(
    ("inject", "victim", "message"),
    [
        pytest.param("openat:error=EACCES", "b.png", "cannot be read: Permission denied", id="opening-a-file"),
        pytest.param("read:error=EIO", "b.png", "cannot be read: Input/output error", id="reading-a-file"),
        pytest.param("openat:error=EACCES", "c", f"{UNLISTED}: Permission denied", id="opening-a-directory"),
        pytest.param("getdents64:error=EIO", "c", f"{UNLISTED}: Input/output error", id="reading-a-directory"),
    ],
)
async def test_a_failing_system_call_costs_one_page_until_the_next_run(
    scans: Path, tmp_path: Path, inject: str, victim: str, message: str
) -> None:
    for seed, name in enumerate(("a.png", "b.png", "c/d.png")):
        write_page(scans / name, seed)
    call = inject.partition(":")[0]
    strace = ["strace", "-f", "-qq", "-o", os.devnull, "-P", str(scans / victim), "-e", f"trace={call}"]
    traced = [*strace, "-e", f"inject={inject}", *COMMAND]
    async with serve_fake() as fake:
        arguments = run_arguments(scans, tmp_path, fake.url)
        broken = await run_command(*arguments, command=traced)
        assert (broken.returncode, len(results(tmp_path / "out"))) == (3, 2), broken.stderr
        assert [(line["source"], line["message"]) for line in failures(tmp_path / "out")] == [(victim, message)]
        await run_command(*arguments)
    assert len(results(tmp_path / "out")) == 3
    assert set(fake.billed.values()) == {1}


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def _grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")


def _replace_by(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def replace(path: Path) -> None:
        path.unlink()
        make(path)

    return replace


AFTER_THE_WALK: dict[str, tuple[Callable[[Path], object], str | None]] = {
    "deleted.png": (Path.unlink, "missing"),
    "cut.png": (_truncate, "truncated"),
    "emptied.png": (lambda path: path.write_bytes(b""), "empty"),
    "grown.png": (_grow, None),
    "another.png": (lambda path: write_page(path, 99), None),
    "fifo.png": (_replace_by(os.mkfifo), "unreadable"),
    "directory.png": (_replace_by(Path.mkdir), "unreadable"),
    "device.png": (_replace_by(lambda path: path.symlink_to("/dev/zero")), "unreadable"),
    "loop.png": (_replace_by(lambda path: path.symlink_to(path)), "unreadable"),
}
"""Per file: what changes after the walk has found it, and the class of the failure; None if the page is done."""


async def test_a_file_that_changes_after_the_walk_costs_at_most_its_page(scans: Path, tmp_path: Path) -> None:
    """While the first page is in flight, the others are deleted, truncated, extended or replaced by what blocks."""
    write_page(scans / "a-first.png", 50)
    for seed, name in enumerate(AFTER_THE_WALK):
        write_page(scans / name, seed)

    def change_the_others(call: Call) -> web.Response:
        if call.number == 1:
            for name, (change, _) in AFTER_THE_WALK.items():
                change(scans / name)
        return accept(call)

    async with serve_fake(change_the_others) as fake:
        with anyio.fail_after(DEADLINE_S):
            summary = await run_here(scans, tmp_path / "out", fake.url, run={"jobs": 1})
        expected = {name: kind for name, (_, kind) in AFTER_THE_WALK.items() if kind is not None}
        assert {line["source"]: line["class"] for line in failures(tmp_path / "out")} == expected
        check_accounts(summary, tmp_path / "out")
        for seed, name in enumerate(expected):
            (scans / name).rmdir() if (scans / name).is_dir() else (scans / name).unlink(missing_ok=True)
            write_page(scans / name, 60 + seed)
        again = await run_here(scans, tmp_path / "out", fake.url)
    pages = len(AFTER_THE_WALK) + 1
    assert (again.exit_code, again.totals[State.DONE], again.pages) == (0, pages, pages)
    assert set(fake.billed.values()) == {1}


@pytest.mark.parametrize(
    ("sabotage", "recorded"),
    [
        pytest.param("growing-file", 0, id="checked"),
        pytest.param("growing-file,no-stability-check", 1, id="negative-control"),
    ],
)
async def test_a_file_that_is_still_being_written_is_not_sent(
    scans: Path, tmp_path: Path, sabotage: str, recorded: int
) -> None:
    """Half a file's text would count as the whole; without the check it is recorded."""
    write_page(scans / "copied.png", 1)
    async with serve_fake() as fake:
        await run_command(*run_arguments(scans, tmp_path, fake.url), command=(*SABOTAGE, sabotage))
    assert len(results(tmp_path / "out")) == len(fake.calls) == recorded
    assert [line["message"] for line in failures(tmp_path / "out")] == ["changed while it was read"] * (1 - recorded)


async def test_all_files_of_a_large_directory_are_counted_when_no_call_is_left(scans: Path, tmp_path: Path) -> None:
    first, *_ = write_pages(scans, 1)
    for number in range(20_000):
        os.link(first, scans / f"q-{number:05}.png")
    async with serve_fake() as fake:
        summary = await run_here(scans, tmp_path / "out", fake.url, run={"max_calls": 0})
    assert (summary.exit_code, summary.totals[State.PENDING], summary.pages) == (10, 20_001, 20_001)
    assert fake.calls == []


async def test_a_manifest_that_grows_while_it_is_read_does_no_harm(scans: Path, tmp_path: Path) -> None:
    """Each line that was read is one page."""
    pages = write_pages(scans, 4)
    manifest = scans / "list.txt"
    manifest.write_text("".join(f"gone-{number:06}.png\n" for number in range(2_000)) + f"{pages[0].name}\n")

    def change(call: Call) -> web.Response:
        with manifest.open("a") as file:
            file.write(f"{pages[call.number].name}\n" if call.number < 4 else "")
        return accept(call)

    async with serve_fake(change) as fake:
        summary = await run_here(manifest, tmp_path / "out", fake.url)
    assert summary.totals[State.FAILED] == 2_000
    check_accounts(summary, tmp_path / "out")


async def test_a_manifest_whose_read_never_returns_does_not_keep_the_run_from_ending(
    scans: Path, tmp_path: Path
) -> None:
    """As on a network mount whose server is gone; here a FIFO without a writer takes its place."""
    pages = write_pages(scans, 3)
    listed, stuck = scans / "a.txt", scans / "b.txt"
    listed.write_text("".join(f"{page}\n" for page in pages))
    stuck.touch()

    def replace_by_fifo(call: Call) -> web.Response:
        if call.number == 1:
            stuck.unlink()
            os.mkfifo(stuck)
        return accept(call)

    async with serve_fake(replace_by_fifo) as fake:
        arguments = run_arguments(listed, tmp_path, fake.url, str(stuck), "-j", "1")
        async with start_command(*arguments) as process:
            with anyio.fail_after(DEADLINE_S):
                await fake.arrived.wait()
                # returns when the run opens the FIFO; the open writer sends neither a line nor the end
                writer = await anyio.to_thread.run_sync(os.open, stuck, os.O_WRONLY, abandon_on_cancel=True)
                process.send_signal(signal.SIGINT)
                code, stderr = await wait_for_end(process)
            os.close(writer)
    assert code == 130, stderr
    assert 1 <= len(results(tmp_path / "out")) == len(fake.calls) <= len(pages)
