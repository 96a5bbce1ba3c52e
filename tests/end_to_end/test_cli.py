"""The command line as users meet it: messages, exit codes, formats."""

import os
import subprocess
import sys
import uuid
from pathlib import Path

import anyio
import orjson
import pytest

from pipeline.workspace.lock import lock_workspace
from tests.fakes import serve_fake
from tests.pages import write_page, write_pages
from tests.runs import COMMAND, KEY, environment, failures, results, run_command

BAD_FILES = [
    pytest.param("text.jpg", b"just some text\n", "not-an-image", id="text-named-jpg"),
    pytest.param("empty.png", b"", "empty", id="zero-bytes"),
    pytest.param("cut.jpg", b"\xff\xd8\xff\xe0\x00\x10JFIF", "truncated", id="cut-off"),
]


@pytest.mark.parametrize(("name", "content", "error"), BAD_FILES)
async def test_a_bad_file_is_one_warning_and_one_failed_page_without_a_call(
    scans: Path, tmp_path: Path, name: str, content: bytes, error: str
) -> None:
    write_page(scans / "good.png", 1)
    (scans / name).write_bytes(content)
    async with serve_fake() as fake:
        done = await run_command("run", scans, "-o", tmp_path / "out", "--api-url", fake.url)
        assert len(fake.calls) == 1
    assert done.returncode == 3
    assert [line for line in done.stderr.decode().splitlines() if name in line and "warning" in line]
    assert b"Traceback" not in done.stderr
    assert [(line["source"], line["class"]) for line in failures(tmp_path / "out")] == [(name, error)]
    assert [line["source"] for line in results(tmp_path / "out")] == ["good.png"]


async def test_a_one_pixel_image_is_one_failed_page_without_a_call(scans: Path, tmp_path: Path) -> None:
    write_page(scans / "dot.png", 1, size_px=(1, 1))
    async with serve_fake() as fake:
        done = await run_command("run", scans, "-o", tmp_path / "out", "--api-url", fake.url)
        assert fake.calls == []
    assert done.returncode == 3
    assert b"1\xc3\x971 px" in done.stderr


async def test_an_unreadable_file_is_one_failed_page(scans: Path, tmp_path: Path) -> None:
    """Here a symlink to itself."""
    write_page(scans / "good.png", 1)
    (scans / "loop.png").symlink_to("loop.png")
    (scans / "list.txt").write_text("loop.png\ngood.png\n")
    async with serve_fake() as fake:
        done = await run_command("run", scans / "list.txt", "-o", tmp_path / "out", "--api-url", fake.url)
    assert done.returncode == 3
    assert len(results(tmp_path / "out")) == 1
    assert failures(tmp_path / "out")[0]["source"] == "loop.png"


USAGE = [
    pytest.param(["run", "nowhere", "-o", "out"], "nowhere", id="missing-directory"),
    pytest.param(["run", ".", "-o", "out", "-c", "missing.toml"], "missing.toml", id="missing-configuration"),
    pytest.param(["run", ".", "-o", "out", "-c", "typo.toml"], "'job' in [run]", id="unknown-key"),
    pytest.param(["run", ".", "-o", "out", "--api-url", "ftp://host"], "api url", id="url-of-another-scheme"),
    pytest.param(["run", ".", "-o", "out", "--max-duration", "soon"], "max_duration", id="invalid-duration"),
    pytest.param(["run", ".", "-o", "out", "--tier", "gold"], "gold", id="unknown-tier"),
    pytest.param(["run", ".", "-o", "out", "-j", "0"], "0", id="zero-jobs"),
    pytest.param(["run", ".", "-o", "out", "--local", "--api-url", "http://h"], "--local", id="contradiction"),
    pytest.param(["run", "-o", "out"], "INPUT", id="no-input"),
    pytest.param(["status", "nowhere"], "nowhere", id="status-of-nothing"),
    pytest.param(["verify", "nowhere"], "nowhere", id="verify-nothing"),
    pytest.param(["run", "notes.txt", "-o", "out"], "none of its 2 lines names an existing file", id="no-manifest"),
    pytest.param(["run", "file://elsewhere/a.png", "-o", "out"], "another host", id="file-of-another-host"),
]


@pytest.mark.parametrize(("arguments", "named"), USAGE)
async def test_a_usage_error_is_exit_2_and_names_its_cause(tmp_path: Path, arguments: list[str], named: str) -> None:
    """Nothing is printed on stdout, and no workspace is made."""
    os.chdir(tmp_path)
    Path("typo.toml").write_text("[run]\njob = 3\n")
    Path("notes.txt").write_text("buy milk\ncall Bob\n")
    done = await run_command(*arguments)
    assert done.returncode == 2, done.stderr
    assert named in done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert done.stdout == b""
    assert not Path("out").exists()


async def test_inputs_without_a_page_are_an_exit_code_of_their_own(scans: Path, tmp_path: Path) -> None:
    """An unmounted disk looks like this; no engine is started."""
    (scans / "a.djvu").write_bytes(b"AT&TFORM")
    done = await run_command("run", scans, "-o", tmp_path / "out", "--json", key=None)
    assert done.returncode == 9
    assert b"no page in" in done.stderr
    assert b"engine" not in done.stderr
    summary = orjson.loads(done.stdout)
    assert (summary["exit_code"], summary["totals"]["pending"], summary["ignored"]) == (9, 0, {".djvu": 1})


async def test_paths_come_from_stdin(scans: Path, tmp_path: Path) -> None:
    """`-0` separates them by NUL, so that names may contain newlines."""
    pages = [write_page(scans / "a\nb.png", 1), write_page(scans / "c.png", 2)]
    async with serve_fake() as fake:
        done = await anyio.run_process(
            [*COMMAND, "run", "-", "-0", "-o", str(tmp_path / "out"), "--api-url", fake.url],
            input=b"\0".join(os.fsencode(page) for page in pages),
            env=environment(KEY),
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert {Path(line["source"]).name for line in results(tmp_path / "out")} == {"a\nb.png", "c.png"}


async def test_json_prints_only_the_summary_on_stdout(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 3)
    async with serve_fake() as fake:
        done = await run_command(
            "run", scans, "-o", tmp_path / "out", "--api-url", fake.url, "--tier", "free", "--json"
        )
    summary = orjson.loads(done.stdout)
    assert (summary["exit_code"], summary["totals"]["done"], summary["calls"], summary["calls_left"]) == (0, 3, 3, 27)


async def test_json_prints_an_object_on_errors_too(scans: Path, tmp_path: Path) -> None:
    done = await run_command("run", scans / "nowhere", "-o", tmp_path / "out", "--json")
    assert done.returncode == 2
    told = orjson.loads(done.stdout)
    assert uuid.UUID(told.pop("run_id")).version == 4
    assert told == {"exit_code": 2, "reason": f"{scans}/nowhere: no such file or directory"}


async def test_quiet_shows_problems_only(scans: Path, tmp_path: Path) -> None:
    """A planned stop is none, a used-up quota is; each failed page is."""
    write_pages(scans, 5)
    async with serve_fake() as fake:
        flags = ("run", scans, "-o", tmp_path / "out", "--api-url", fake.url, "-q")
        assert await stderr_of(*flags, "--limit", "1") == (10, [])
        assert await stderr_of(*flags, "--max-calls", "1") == (10, [])
        code, lines = await stderr_of(*flags, "--quota", "3")
        assert (code, len(lines), "the month's 3 calls are used up" in lines[0]) == (8, 1, True)
        assert await stderr_of(*flags) == (0, [])
        (scans / "bad.png").write_bytes(b"")
        assert await stderr_of(*flags) == (3, ["pagemill: warning: bad.png: zero bytes"])


async def stderr_of(*arguments: str | Path) -> tuple[int, list[str]]:
    """Return a command's exit code and the lines of its stderr."""
    done = await run_command(*arguments)
    return done.returncode, done.stderr.decode().splitlines()


async def test_verbose_names_every_page(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 2)
    async with serve_fake() as fake:
        flags = ("--api-url", fake.url)
        quiet = await run_command("run", scans, "-o", tmp_path / "a", *flags)
        verbose = await run_command("run", scans, "-o", tmp_path / "b", *flags, "-v")
    assert b"page-0001.png" not in quiet.stderr
    assert b"page-0001.png: recognised" in verbose.stderr


async def test_json_logs_make_every_line_of_stderr_an_object(scans: Path, tmp_path: Path) -> None:
    (scans / "bad.png").write_bytes(b"")
    async with serve_fake() as fake:
        done = await run_command("run", scans, "-o", tmp_path / "out", "--api-url", fake.url, "--log-format", "json")
    lines = [orjson.loads(line) for line in done.stderr.splitlines()]
    assert [line["class"] for line in lines if "class" in line] == ["empty"]


async def test_status_and_quota_agree_with_the_run(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 4)
    (scans / "bad.png").write_bytes(b"")
    ledger = ("--ledger", tmp_path / "ledger")
    async with serve_fake() as fake:
        await run_command("run", scans, "-o", tmp_path / "out", "--api-url", fake.url, *ledger)
        quota = await run_command("quota", "--api-url", fake.url, *ledger, "--quota", "10", "--json")
        corrected = await run_command(
            "quota", "--api-url", fake.url, *ledger, "--quota", "10", "--already-used", "9", "--json"
        )
        table = await run_command("quota", "--api-url", fake.url, *ledger, "--quota", "10")
    status = orjson.loads((await run_command("status", tmp_path / "out", "--json")).stdout)
    assert (status["pages"], status["done"], status["failed"], status["exit_code"]) == (5, 4, 1, 3)
    assert [(month["used"], month["left"]) for month in orjson.loads(quota.stdout)] == [(4, 6)]
    assert [(month["used"], month["left"]) for month in orjson.loads(corrected.stdout)] == [(9, 1)]
    assert table.stdout.decode().splitlines()[1].split()[1:5] == ["9", "0", "0", "1"]


async def test_status_works_while_a_run_holds_the_workspace(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 2)
    async with serve_fake() as fake:
        await run_command("run", scans, "-o", tmp_path / "out", "--api-url", fake.url)
    with lock_workspace(tmp_path / "out"):
        status = await run_command("status", tmp_path / "out", "--json")
        verify = await run_command("verify", tmp_path / "out")
    assert orjson.loads(status.stdout)["done"] == 2
    assert (verify.returncode, b"a run holds this workspace" in verify.stderr) == (11, True)


async def test_a_held_workspace_is_an_error_before_the_engine_starts(scans: Path, tmp_path: Path) -> None:
    """`run --local` in a second terminal ends at once, not after the models have loaded."""
    write_pages(scans, 1)
    with lock_workspace(tmp_path / "out"):
        done = await run_command("run", scans, "-o", tmp_path / "out", "--local", key=None)
    assert done.returncode == 11, done.stderr
    assert b"engine" not in done.stderr


async def test_verify_names_the_line_of_a_changed_byte(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 3)
    async with serve_fake() as fake:
        await run_command("run", scans, "-o", tmp_path / "out", "--api-url", fake.url)
    path = tmp_path / "out" / "results.jsonl"
    path.write_bytes(path.read_bytes().replace(b"text of", b"tixt of", 1))
    done = await run_command("verify", tmp_path / "out")
    assert done.returncode == 1
    assert b"results.jsonl:1" in done.stdout


def test_help_imports_nothing_heavy() -> None:
    """So `--help` answers at once; commands import what they need."""
    code = (
        "import sys; from pipeline.cli.main import cli\n"
        "try: cli.main(['--help'], prog_name='pagemill')\n"
        "except SystemExit: pass\n"
        "heavy = {'aiohttp', 'anyio', 'asyncio', 'PIL', 'sqlite3', 'orjson', 'msgspec', 'tqdm', 'numpy', 'jinja2'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=environment(None))
    assert done.stderr.decode().strip() == "[]"
    assert b"Turn folders" in done.stdout


async def test_jq_and_json_read_the_results(scans: Path, tmp_path: Path) -> None:
    """Also with quotes, newlines and invalid UTF-8 in file names."""
    write_page(scans / 'qu"ote\n新.png', 1)
    write_page(scans / "b.png", 2).rename(scans / os.fsdecode(b"\xff\xfe.png"))
    async with serve_fake() as fake:
        await run_command("run", scans, "-o", tmp_path / "out", "--api-url", fake.url)
    path = tmp_path / "out" / "results.jsonl"
    by_jq = await anyio.run_process(["jq", "-r", ".text", str(path)])
    code = f"import json; print(*[json.loads(l)['text'] for l in open({str(path)!r})], sep='\\n')"
    by_json = await anyio.run_process([sys.executable, "-c", code])
    assert by_jq.stdout == by_json.stdout
    names = {line["source"]: line.get("source_b64") for line in results(tmp_path / "out")}
    assert names == {'qu"ote\n新.png': None, "\ufffd\ufffd.png": "//4ucG5n"}
