"""Files as they come: what is wrong with one costs one page and a line that says so, never the run, never a hang."""

import os
import signal
import socket
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
from aiohttp import web

from pipeline.batch.progress import Summary
from pipeline.records import State
from pipeline.verify.audit import audit
from pipeline.workspace.run_file import require_workspace
from tests.benchmarks.one_key import SABOTAGE
from tests.fakes import Call, accept, serve_fake
from tests.pages import write_page, write_pages
from tests.runs import COMMAND, failures, results, run_command, run_here, start_command, wait_for_end

DEADLINE_S = 60
UNLISTED = "cannot list the directory"
COLOUR = "\x1b[31m"


def check_accounts(summary: Summary, out: Path) -> None:
    """Fail unless every page stands in one state, the states add up, and each has its line."""
    assert list(audit(out, require_workspace(out))) == []
    lines = Counter((line["source"], line["page"]) for line in (*results(out), *failures(out)))
    assert set(lines.values()) == {1}
    assert summary.pages == sum(summary.totals.values()) == len(lines)


async def test_a_tree_of_odd_files_costs_what_is_wrong_and_no_more(scans: Path, tmp_path: Path) -> None:
    """Loops, devices, sockets, FIFOs, a terabyte of nothing, and names in bytes: the good pages are recognised."""
    page = write_page(scans / "good.png", 0).read_bytes()
    good = ["\udcff\udcfe.png", "new\nline.png", f"{COLOUR}red.png", "n" * 251 + ".png", "\u202egnp.png", "GOOD.PNG"]
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
async def test_no_name_reaches_a_terminal_raw(scans: Path, tmp_path: Path, form: str) -> None:
    """A file name could clear the screen, or pretend to be a prompt: control characters are shown, not sent."""
    write_page(scans / f"{COLOUR}a.png", 1)
    (scans / f"{COLOUR}b.png").write_bytes(b"no image")
    (scans / f"{COLOUR}.txt").write_text(f"{COLOUR}gone.png\n\0{COLOUR}\n")
    async with serve_fake() as fake:
        common = ("-o", tmp_path / "out", "--api-url", fake.url, "--ledger", tmp_path / "ledger", "-v")
        run = await run_command("run", scans, scans / f"{COLOUR}.txt", *common, "--log-format", form)
        wrong = await run_command("run", scans / f"{COLOUR}nowhere", *common, "--log-format", form)
    lines = tmp_path / "out" / "results.jsonl"
    lines.write_bytes(lines.read_bytes().replace(b"text of", b"lies of"))
    verify = await run_command("verify", tmp_path / "out")
    assert (run.returncode, wrong.returncode, verify.returncode) == (3, 2, 1)
    said = b"".join(done.stdout + done.stderr for done in (run, wrong, verify))
    assert b"\x1b" not in said
    assert said.count(b"[31m") >= 5


@pytest.mark.parametrize(
    ("inject", "victim", "named"),
    [
        pytest.param("openat:error=EACCES", "b.png", "cannot be read: Permission denied", id="file-refused"),
        pytest.param("read:error=EIO", "b.png", "cannot be read: Input/output error", id="read-breaks-off"),
        pytest.param("openat:error=EACCES", "c", f"{UNLISTED}: Permission denied", id="directory-refused"),
        pytest.param("getdents64:error=EIO", "c", f"{UNLISTED}: Input/output error", id="listing-breaks-off"),
    ],
)
async def test_what_the_system_refuses_costs_one_page_and_is_tried_again(
    scans: Path, tmp_path: Path, inject: str, victim: str, named: str
) -> None:
    """A bad sector or a closed directory is one line; the next run, when all is well again, finishes."""
    for seed, name in enumerate(("a.png", "b.png", "c/d.png")):
        write_page(scans / name, seed)
    call = inject.partition(":")[0]
    strace = ["strace", "-f", "-qq", "-o", os.devnull, "-P", str(scans / victim), "-e", f"trace={call}"]
    traced = [*strace, "-e", f"inject={inject}", *COMMAND]
    async with serve_fake() as fake:
        arguments = ("run", scans, "-o", tmp_path / "out", "--api-url", fake.url, "--ledger", tmp_path / "ledger")
        broken = await run_command(*arguments, command=traced)
        assert (broken.returncode, len(results(tmp_path / "out"))) == (3, 2), broken.stderr
        assert [(line["source"], line["message"]) for line in failures(tmp_path / "out")] == [(victim, named)]
        await run_command(*arguments)
    assert len(results(tmp_path / "out")) == 3
    assert set(fake.billed.values()) == {1}


def _cut(path: Path) -> None:
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
    "cut.png": (_cut, "truncated"),
    "emptied.png": (lambda path: path.write_bytes(b""), "empty"),
    "grown.png": (_grow, None),
    "another.png": (lambda path: write_page(path, 99), None),
    "fifo.png": (_replace_by(os.mkfifo), "unreadable"),
    "directory.png": (_replace_by(Path.mkdir), "unreadable"),
    "device.png": (_replace_by(lambda path: path.symlink_to("/dev/zero")), "unreadable"),
    "loop.png": (_replace_by(lambda path: path.symlink_to(path)), "unreadable"),
}
"""What happens to a file after it was found, and the class of failure that comes of it; None is none."""


async def test_files_that_change_between_the_walk_and_their_turn_cost_a_page_at_most(
    scans: Path, tmp_path: Path
) -> None:
    """While the first page is on the wire, the others are deleted, cut, grown, replaced by what blocks."""
    write_page(scans / "a-first.png", 50)
    for seed, name in enumerate(AFTER_THE_WALK):
        write_page(scans / name, seed)

    def harm(call: Call) -> web.Response:
        if call.number == 1:
            for name, (change, _) in AFTER_THE_WALK.items():
                change(scans / name)
        return accept(call)

    async with serve_fake(harm) as fake:
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
    [pytest.param("half-copied", 0, id="checked"), pytest.param("half-copied,look-once", 1, id="unchecked")],
)
async def test_a_file_that_is_still_being_written_is_not_sent(
    scans: Path, tmp_path: Path, sabotage: str, recorded: int
) -> None:
    """A text for half a file would pass for the whole; negative control: without the second look it is recorded."""
    write_page(scans / "copied.tif", 1)
    async with serve_fake() as fake:
        arguments = ("run", scans, "-o", tmp_path / "out", "--api-url", fake.url, "--ledger", tmp_path / "ledger")
        await run_command(*arguments, command=(*SABOTAGE, sabotage))
    assert len(results(tmp_path / "out")) == len(fake.calls) == recorded
    assert [line["message"] for line in failures(tmp_path / "out")] == ["changed while it was read"] * (1 - recorded)


async def test_a_directory_of_many_files_is_counted_to_its_end(scans: Path, tmp_path: Path) -> None:
    """When the budget is used up after one page, 20,000 more are known as pending, and none of them was opened."""
    first, *_ = write_pages(scans, 1)
    for number in range(20_000):
        os.link(first, scans / f"q-{number:05}.png")
    async with serve_fake() as fake:
        summary = await run_here(scans, tmp_path / "out", fake.url, run={"max_calls": 0})
    assert (summary.exit_code, summary.totals[State.PENDING], summary.pages) == (8, 20_001, 20_001)
    assert fake.calls == []


async def test_a_manifest_that_changes_while_it_is_read_ends_in_order(scans: Path, tmp_path: Path) -> None:
    """Lines that are added in time are taken; a manifest that is cut ends there. Each line read is one page."""
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


async def test_a_manifest_that_can_no_longer_be_read_keeps_no_run_from_its_end(scans: Path, tmp_path: Path) -> None:
    """As on a network mount whose server is gone; here a FIFO to which nobody writes takes its place."""
    pages = write_pages(scans, 3)
    listed, stuck = scans / "a.txt", scans / "b.txt"
    listed.write_text("".join(f"{page}\n" for page in pages))
    stuck.touch()

    def harm(call: Call) -> web.Response:
        if call.number == 1:
            stuck.unlink()
            os.mkfifo(stuck)
        return accept(call)

    async with serve_fake(harm) as fake:
        arguments = ("run", listed, stuck, "-o", tmp_path / "out", "--api-url", fake.url, "-j", "1")
        async with start_command(*arguments) as process:
            with anyio.fail_after(DEADLINE_S):
                await fake.arrived.wait()
                # returns when the run reads it; kept open, it gives neither a line nor an end
                writer = await anyio.to_thread.run_sync(os.open, stuck, os.O_WRONLY, abandon_on_cancel=True)
                process.send_signal(signal.SIGINT)
                code, said = await wait_for_end(process)
            os.close(writer)
    assert code == 130, said
    assert 1 <= len(results(tmp_path / "out")) == len(fake.calls) <= len(pages)
