"""Shards: parts of the same INPUTs, each with a workspace of its own."""

import hashlib
from pathlib import Path

import orjson
import pytest
from PIL import Image

from tests.archives import page, pages, write_zip
from tests.fakes import serve_fake
from tests.faults.tracing import read_log, trace
from tests.pages import write_page, write_pages
from tests.runs import COMMAND, results, run_command, run_here


def number_of(key: str, of: int) -> int:
    """Return the shard of a name as the documentation defines it."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % of + 1


def write_mixed(scans: Path) -> None:
    """Write files, folders, a TIFF of several pages, two archives, and files that hold no page."""
    write_pages(scans, 6)
    write_pages(scans / "letters" / "1897", 4, first_seed=20)
    frames = [Image.new("RGB", (120, 120), (seed, 90, 200)) for seed in (1, 60, 120)]
    frames[0].save(scans / "letters" / "three.tif", save_all=True, append_images=frames[1:])
    write_zip(scans / "box.zip", pages("a.png", "b/c.png", "b/d.png"))
    write_zip(scans / "letters" / "bundle.cbz", {"x.png": page(70), "y.png": page(71), "z.txt": b"buy milk\n"})
    for name in ("notes.txt", "letters/1.docx", "letters/2.docx"):
        (scans / name).write_text("no page")


async def test_shards_divide_the_files_and_keep_what_belongs_together(scans: Path, tmp_path: Path) -> None:
    write_mixed(scans)
    found: list[tuple[str, int]] = []
    ignored = {".txt": 0, ".docx": 0}
    async with serve_fake() as fake:
        whole = await run_here(scans, tmp_path / "whole", fake.url)
        no_claims = {"dedup": "off"}  # or a copy is left to the shard that has the content
        for number in (1, 2, 3):
            out = tmp_path / f"out-{number}"
            summary = await run_here(scans, out, fake.url, input={"shard": f"{number}/3"}, prepare=no_claims)
            assert summary.exit_code == 0
            for line in results(out):
                found.append((line["source"], line["page"]))
                file = next((name for name in ("box.zip", "letters/bundle.cbz") if line["source"].startswith(name)), "")
                assert number_of(file or line["source"], 3) == number, line["source"]
            for kind in ignored:
                ignored[kind] += summary.ignored.get(kind, 0)
    assert sorted(found) == sorted((line["source"], line["page"]) for line in results(tmp_path / "whole"))
    assert len(found) == 18
    assert ignored == {kind: whole.ignored[kind] for kind in ignored}


async def test_files_of_other_shards_are_not_opened(scans: Path, tmp_path: Path) -> None:
    write_mixed(scans)
    out, log = tmp_path / "out", tmp_path / "strace.log"
    async with serve_fake() as fake:
        arguments = ("run", scans, "-o", out, "--ledger", tmp_path / "ledger", "--api-url", fake.url)
        tracer = trace(log, ["openat", "open"])
        ended = await run_command(*arguments, "--shard", "2/3", command=[*tracer, *COMMAND])
        assert ended.returncode == 0, ended.stderr.decode()
    opened = " ".join(call.arguments for call in read_log(log))
    for path in scans.rglob("*"):
        if path.is_file() and number_of(str(path.relative_to(scans)), 3) != 2:
            assert str(path) not in opened, path


@pytest.mark.parametrize("kind", ["manifest", "stdin", "arguments"])
async def test_lists_are_divided_like_folders(scans: Path, tmp_path: Path, kind: str) -> None:
    write_pages(scans, 5)
    write_zip(scans / "box.zip", pages("a.png", "b.png"))
    names = sorted(path.name for path in scans.glob("*.png"))
    urls = [f"https://e.org/{number}.png" for number in range(4)]
    rows = [*names, "box.zip/a.png", "box.zip/b.png", *urls]
    (scans / "rows.txt").write_text("".join(f"{row}\n" for row in rows))
    found: list[str] = []
    async with serve_fake() as fake:
        for number in (1, 2):
            out = tmp_path / f"out-{number}"
            inputs = [*(scans / name for name in rows[:-4]), *urls] if kind == "arguments" else [scans / "rows.txt"]
            flags: list[str | Path] = [
                "-o",
                out,
                "--ledger",
                tmp_path / "ledger",
                "--api-url",
                fake.url,
                "--shard",
                f"{number}/2",
                "-q",
            ]
            flags += ["--dedup", "off"]  # or a copy is left to the shard that has the content
            if kind == "stdin":
                shell = ("sh", "-c", 'cd "$0" && exec "$@" < rows.txt', scans, *COMMAND, "run", "-", *flags)
                ended = await run_command(command=[str(part) for part in shell])
            else:
                ended = await run_command("run", *inputs, *flags)
            assert ended.returncode == 0, ended.stderr.decode()
            here = [line["source"] for line in results(out)]
            assert all(number_of(name.partition("/a.png")[0].partition("/b.png")[0], 2) == number for name in here)
            found += here
    assert sorted(found) == sorted(rows)


async def test_a_workspace_stays_one_shard(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 3)
    out = tmp_path / "out"
    async with serve_fake() as fake:
        flags = ("-o", out, "--ledger", tmp_path / "ledger", "--api-url", fake.url)
        assert (await run_command("run", scans, *flags, "--shard", "1/2")).returncode == 0
        calls = len(fake.calls)
        for command in ("run", "plan"):
            given = flags if command == "run" else ("-o", out)
            for more in (("--shard", "2/2"), ("--shard", "1/3"), ()):
                refused = await run_command(command, scans, *given, *more)
                assert refused.returncode == 2
                assert refused.stderr.decode().count("\n") == 1
                assert b"filled by shard 1/2" in refused.stderr
        assert (await run_command("run", scans, *flags, PAGEMILL_SHARD="1/2")).returncode == 0
        plain = tmp_path / "plain"
        assert (await run_here(scans, plain, fake.url)).exit_code == 0
        refused = await run_command("run", scans, "-o", plain, "--shard", "1/2")
        assert (refused.returncode, b"runs without --shard" in refused.stderr) == (2, True)
        assert len(fake.calls) == calls + 3


async def test_a_retry_needs_no_shard(scans: Path, tmp_path: Path) -> None:
    """And leaves the workspace the shard that it was."""
    name = next(f"{seed}.png" for seed in range(99) if number_of(f"{seed}.png", 2) == 1)
    (scans / name).write_bytes(b"\x89PNG\r\n\x1a\n")
    out = tmp_path / "out"
    async with serve_fake() as fake:
        flags = ("-o", out, "--ledger", tmp_path / "ledger", "--api-url", fake.url)
        assert (await run_command("run", scans, *flags, "--shard", "1/2")).returncode == 3
        write_page(scans / name, 5)
        assert (await run_command("retry", out, *flags[2:])).returncode == 0
        assert (await run_command("run", scans, *flags, "--shard", "1/2")).returncode == 0
        assert len(fake.calls) == 1


async def test_a_shard_without_a_file_is_done(scans: Path, tmp_path: Path) -> None:
    """And INPUTs without any page are not."""
    write_page(scans / "a.png", 1)
    other = 3 - number_of("a.png", 2)
    async with serve_fake() as fake:
        summary = await run_here(scans, tmp_path / "out", fake.url, input={"shard": f"{other}/2"})
        assert (summary.exit_code, summary.pages, summary.ignored) == (0, 0, {"in other shards": 1})
        (scans / "a.png").rename(scans / "a.docx")
        summary = await run_here(scans, tmp_path / "out", fake.url, input={"shard": f"{other}/2"})
        assert summary.exit_code == 9


async def test_a_plan_counts_the_shard(scans: Path, tmp_path: Path) -> None:
    write_mixed(scans)
    plans = [await run_command("plan", scans, "--shard", f"{number}/3", "--json") for number in (1, 2, 3)]
    assert [plan.returncode for plan in plans] == [0, 0, 0]
    assert sum(orjson.loads(plan.stdout)["calls"] for plan in plans) == 18
    dry = await run_command("run", scans, "-o", tmp_path / "out", "--shard", "2/3", "-n", "--json")
    assert orjson.loads(dry.stdout)["calls"] == orjson.loads(plans[1].stdout)["calls"]


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "1/0", "x", "-1/3", "1/3/5"])
async def test_no_shard_is_exit_2(scans: Path, tmp_path: Path, text: str) -> None:
    write_page(scans / "a.png", 1)
    ended = await run_command("run", scans, "-o", tmp_path / "out", "--local", f"--shard={text}")
    assert ended.returncode == 2
    assert f"input.shard: '{text}' is no shard such as 2/7" in ended.stderr.decode()
    assert not (tmp_path / "out").exists()


async def test_what_is_left_counts_the_shard_alone(scans: Path, tmp_path: Path) -> None:
    mine = [path for path in write_pages(scans, 12) if number_of(path.name, 3) == 1]
    async with serve_fake() as fake:
        shard = {"shard": "1/3"}
        summary = await run_here(scans, tmp_path / "out", fake.url, input=shard, run={"max_calls": 1})
        assert (summary.exit_code, summary.pages, summary.pending) == (10, len(mine), len(mine) - 1)
