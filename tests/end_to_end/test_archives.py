"""Runs over archives: each member is a page, recorded, resumed and known again as a file in a directory is."""

import base64
import io
import os
import signal
from collections.abc import Awaitable
from pathlib import Path

import anyio
import orjson
import pytest
from aiohttp import web
from PIL import Image

from pipeline.batch.retry import RetrySelection
from pipeline.inputs.archives import holding, streams
from pipeline.inputs.archives.streams import Stream
from pipeline.records import State
from pipeline.workspace.inventory import FileState
from tests.archives import page, pages, patch, write_tar, write_zip
from tests.fakes import Call, accept, answer_error, serve_fake
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


async def test_members_are_gone_when_their_archive_has_them_no_more(scans: Path, tmp_path: Path) -> None:
    """No directory lists them."""
    write_zip(scans / "box.zip", pages(*NAMES))
    write_zip(scans / "other.zip", pages("a.png"))
    async with serve_fake() as fake:
        await run_here([scans / "box.zip", scans / "other.zip"], tmp_path / "out", fake.url)
        again = await run_here([scans / "box.zip", scans / "other.zip"], tmp_path / "out", fake.url)
        assert (again.files[FileState.UNMODIFIED], again.files[FileState.GONE]) == (len(NAMES) + 1, 0)
        left = {name: content for name, content in pages(*NAMES).items() if name != NAMES[0]}
        write_zip(scans / "box.zip", left)
        changed = await run_here([scans / "box.zip", scans / "other.zip"], tmp_path / "out", fake.url)
        assert (changed.files[FileState.GONE], len(fake.calls)) == (1, len(NAMES))


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
            if call.number == 12:  # the four slots are taken by calls 9 to 12, so the eight before them are recorded
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


@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "cbt"])
async def test_a_tar_is_a_folder_too(scans: Path, tmp_path: Path, suffix: str) -> None:
    """Also with pages of several frames that a worker converts; descriptors of held members are closed."""
    members = {**pages(*NAMES, "b.bmp"), "frames.tif": frames(3), "scan": page(9), "notes.txt": b"buy milk\n"}
    write_tar(scans / f"box.{suffix}", members, "w:gz" if suffix == "tar.gz" else "w")
    before = len(list(Path("/proc/self/fd").iterdir()))
    async with serve_fake() as fake:
        for _ in range(2):
            summary = await run_here(scans, tmp_path / "out", fake.url, run={"jobs": 3})
            assert (summary.exit_code, summary.totals[State.DONE], summary.ignored) == (0, 9, {".txt": 1})
        assert len(fake.calls) == 9
    expected = [f"box.{suffix}/{name}" for name in [*NAMES, "b.bmp", *["frames.tif"] * 3, "scan"]]
    assert sorted(line["source"] for line in results(tmp_path / "out")) == sorted(expected)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 4
    assert not holding._held


async def test_a_compressed_tar_is_read_without_memfd(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS: a worker process that converts a page reads the archive itself."""
    monkeypatch.setattr(holding, "_HAS_MEMFD", False)
    write_tar(scans / "box.tgz", pages(*NAMES), "w:gz")
    async with serve_fake() as fake:
        assert (await run_here(scans, tmp_path / "out", fake.url)).exit_code == 0
    assert len(results(tmp_path / "out")) == len(NAMES)


async def test_a_compressed_tar_takes_one_pass_and_a_retry_another(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the order of names: the first member of the archive has the last name."""
    names = [f"{number:02}.png" for number in reversed(range(20))]
    write_tar(scans / "box.tgz", pages(*names), "w:gz")
    passes: list[int] = []
    monkeypatch.setattr(streams, "Stream", count_passes(passes))

    def refuse_half(call: Call) -> Awaitable[web.StreamResponse] | web.StreamResponse:
        return answer_error(400)(call) if int(call.filename[:2]) % 2 else accept(call)

    async with serve_fake(refuse_half) as fake:
        summary = await run_here(scans, tmp_path / "out", fake.url)
        assert (summary.totals[State.DONE], summary.totals[State.FAILED], len(passes)) == (10, 10, 1)
        fake.script = accept
        await run_here(scans, tmp_path / "out", fake.url, retry=RetrySelection())
        assert len(passes) == 2
    assert len(results(tmp_path / "out")) == 20


def count_passes(opened: list[int]) -> type[Stream]:
    """Return streams that note their opening."""

    class Counted(Stream):
        def __init__(self, fd: int) -> None:
            opened.append(fd)
            super().__init__(fd)

    return Counted


def frames(number: int) -> bytes:
    """Return a TIFF of several different frames."""
    images = [Image.open(io.BytesIO(page(seed))) for seed in range(100, 100 + number)]
    buffer = io.BytesIO()
    images[0].save(buffer, "TIFF", save_all=True, append_images=images[1:])
    return buffer.getvalue()


async def test_a_cut_off_tar_keeps_the_pages_before_the_cut(scans: Path, tmp_path: Path) -> None:
    """The archive itself is a failed page, and so is the member that is cut."""
    box = write_tar(scans / "box.tar", pages("1.png", "2.png"))
    box.write_bytes(box.read_bytes()[:1700])
    async with serve_fake() as fake:
        summary = await run_here(scans, tmp_path / "out", fake.url)
        assert (summary.exit_code, summary.totals[State.DONE]) == (3, 1)
    failed = {(line["source"], line["class"]) for line in failures(tmp_path / "out")}
    assert failed == {("box.tar", "unreadable"), ("box.tar/2.png", "truncated")}


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


@pytest.mark.parametrize("is_rebuilt", [False, True], ids=["index", "rebuilt"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
async def test_a_repaired_archive_has_no_failure_of_its_own(
    scans: Path, tmp_path: Path, kind: str, *, is_rebuilt: bool
) -> None:
    """Also in a new index; an archive that is still damaged, or that a run leaves out, keeps its failure."""
    out, write = tmp_path / "out", write_zip if kind == "zip" else write_tar
    for name, seeds in (("a", ("1.png", "2.png")), ("b", ("3.png", "4.png"))):
        box = write(scans / f"{name}.{kind}", pages(*seeds))
        (tmp_path / name).write_bytes(box.read_bytes())
        box.write_bytes(box.read_bytes()[:-30] if kind == "zip" else box.read_bytes()[:1700])

    async def failed() -> set[str]:
        if is_rebuilt:
            (out / "index.sqlite3").unlink(missing_ok=True)
        listed = await run_command("failures", out, "--json")
        verified = await run_command("verify", out)
        assert verified.returncode == 0, verified.stdout
        return {line["source"] for line in orjson.loads(listed.stdout)}

    async with serve_fake() as fake:
        await run_here(scans, out, fake.url)
        (scans / f"a.{kind}").write_bytes((tmp_path / "a").read_bytes())
        await run_here(scans, out, fake.url, run={"limit": 1})
        assert {f"a.{kind}", f"b.{kind}"} <= await failed()
        await run_here(scans, out, fake.url)
        assert f"a.{kind}" not in await failed()
        assert f"b.{kind}" in await failed()
        (scans / f"b.{kind}").write_bytes((tmp_path / "b").read_bytes())
        await run_here(scans, out, fake.url, input={"exclude": ["b.*"]})
        assert f"b.{kind}" in await failed()
        summary = await run_here(scans, out, fake.url)
    assert (summary.exit_code, summary.totals[State.FAILED], await failed()) == (0, 0, set())
