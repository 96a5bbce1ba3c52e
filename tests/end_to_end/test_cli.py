"""The command line as a user meets it: messages, exit codes, formats."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import anyio
import orjson
import pytest
from aiohttp import web

from pipeline.workspace.lock import lock_workspace
from tests.fakes import serve_fake
from tests.pages import write_page, write_pages
from tests.runs import COMMAND, KEY, ROOT, environment, failures, results, run_command

BAD_FILES = [
    pytest.param("text.jpg", b"just some text\n", "not-an-image", id="text-named-jpg"),
    pytest.param("empty.png", b"", "empty", id="zero-bytes"),
    pytest.param("cut.jpg", b"\xff\xd8\xff\xe0\x00\x10JFIF", "truncated", id="cut-off"),
]


@pytest.mark.parametrize(("name", "content", "error"), BAD_FILES)
async def test_a_bad_file_is_one_line_and_one_failed_page(
    scans: Path, tmp_path: Path, name: str, content: bytes, error: str
) -> None:
    """It is named with its reason, costs no call, and the good page beside it is recognised."""
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


async def test_a_one_pixel_image_is_one_failed_page(scans: Path, tmp_path: Path) -> None:
    """Nothing is legible in it, so it is not sent."""
    write_page(scans / "dot.png", 1, size_px=(1, 1))
    async with serve_fake() as fake:
        done = await run_command("run", scans, "-o", tmp_path / "out", "--api-url", fake.url)
        assert fake.calls == []
    assert done.returncode == 3
    assert b"1\xc3\x971 px" in done.stderr


async def test_an_unreadable_file_is_one_failed_page(scans: Path, tmp_path: Path) -> None:
    """What the system refuses to open (here: a link that leads to itself) is named, and the run goes on."""
    write_page(scans / "good.png", 1)
    (scans / "loop.png").symlink_to("loop.png")
    (scans / "list.txt").write_text("loop.png\ngood.png\n")
    async with serve_fake() as fake:
        done = await run_command("run", scans / "list.txt", "-o", tmp_path / "out", "--api-url", fake.url)
    assert done.returncode == 3
    assert len(results(tmp_path / "out")) == 1
    assert failures(tmp_path / "out")[0]["source"] == "loop.png"


USAGE = [
    pytest.param(["run", "nowhere", "-o", "out"], "nowhere", id="missing-folder"),
    pytest.param(["run", ".", "-o", "out", "-c", "missing.toml"], "missing.toml", id="missing-configuration"),
    pytest.param(["run", ".", "-o", "out", "-c", "typo.toml"], "'job' in [run]", id="unknown-key"),
    pytest.param(["run", ".", "-o", "out", "--api-url", "ftp://host"], "api url", id="url-of-another-scheme"),
    pytest.param(["run", ".", "-o", "out", "--max-duration", "soon"], "max_duration", id="no-duration"),
    pytest.param(["run", ".", "-o", "out", "--tier", "gold"], "gold", id="no-such-tier"),
    pytest.param(["run", ".", "-o", "out", "-j", "0"], "0", id="no-jobs"),
    pytest.param(["run", ".", "-o", "out", "--local", "--api-url", "http://h"], "--local", id="contradiction"),
    pytest.param(["run", "-o", "out"], "INPUT", id="no-input"),
    pytest.param(["status", "nowhere"], "nowhere", id="status-of-nothing"),
    pytest.param(["verify", "nowhere"], "nowhere", id="verify-nothing"),
]


@pytest.mark.parametrize(("arguments", "named"), USAGE)
async def test_a_usage_error_is_exit_2_and_names_its_cause(tmp_path: Path, arguments: list[str], named: str) -> None:
    """One line on stderr, nothing on stdout, no workspace."""
    os.chdir(tmp_path)
    Path("typo.toml").write_text("[run]\njob = 3\n")
    done = await run_command(*arguments)
    assert done.returncode == 2, done.stderr
    assert named in done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert done.stdout == b""
    assert not Path("out").exists()


async def test_an_empty_folder_is_nothing_to_do(scans: Path, tmp_path: Path) -> None:
    """No page, exit 0, said in one line, without an engine being started."""
    done = await run_command("run", scans, "-o", tmp_path / "out", key=None)
    assert done.returncode == 0
    assert b"no pages found" in done.stderr


async def test_paths_come_from_stdin(scans: Path, tmp_path: Path) -> None:
    """`-` reads paths, `-0` separates them by NUL, and names may hold newlines."""
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


async def test_the_summary_is_json_on_stdout(scans: Path, tmp_path: Path) -> None:
    """`--json` prints one object and nothing else on stdout."""
    write_pages(scans, 3)
    async with serve_fake() as fake:
        done = await run_command(
            "run", scans, "-o", tmp_path / "out", "--api-url", fake.url, "--tier", "free", "--json"
        )
    summary = orjson.loads(done.stdout)
    assert (summary["exit_code"], summary["totals"]["done"], summary["calls"], summary["calls_left"]) == (0, 3, 3, 27)


async def test_verbose_tells_of_every_page(scans: Path, tmp_path: Path) -> None:
    """`-v` names each page as it ends; without it only what went wrong is told."""
    write_pages(scans, 2)
    async with serve_fake() as fake:
        flags = ("--api-url", fake.url)
        quiet = await run_command("run", scans, "-o", tmp_path / "a", *flags)
        verbose = await run_command("run", scans, "-o", tmp_path / "b", *flags, "-v")
    assert b"page-0001.png" not in quiet.stderr
    assert b"page-0001.png: recognised" in verbose.stderr


async def test_logs_can_be_json(scans: Path, tmp_path: Path) -> None:
    """`--log-format json` makes every line of stderr an object."""
    (scans / "bad.png").write_bytes(b"")
    async with serve_fake() as fake:
        done = await run_command("run", scans, "-o", tmp_path / "out", "--api-url", fake.url, "--log-format", "json")
    lines = [orjson.loads(line) for line in done.stderr.splitlines()]
    assert [line["class"] for line in lines if "class" in line] == ["empty"]


async def test_status_and_quota_tell_where_things_stand(scans: Path, tmp_path: Path) -> None:
    """Totals by state, and the ledger's month; the numbers are those of the run."""
    write_pages(scans, 4)
    (scans / "bad.png").write_bytes(b"")
    ledger = ("--ledger", tmp_path / "ledger")
    async with serve_fake() as fake:
        await run_command("run", scans, "-o", tmp_path / "out", "--api-url", fake.url, *ledger)
        quota = await run_command("quota", "--api-url", fake.url, *ledger, "--quota", "10", "--json")
        message = await run_command(
            "quota", "--api-url", fake.url, *ledger, "--quota", "10", "--already-used", "9", "--json"
        )
        table = await run_command("quota", "--api-url", fake.url, *ledger, "--quota", "10")
    status = orjson.loads((await run_command("status", tmp_path / "out", "--json")).stdout)
    assert (status["pages"], status["done"], status["failed"], status["exit_code"]) == (5, 4, 1, 3)
    assert [(month["used"], month["left"]) for month in orjson.loads(quota.stdout)] == [(4, 6)]
    assert [(month["used"], month["left"]) for month in orjson.loads(message.stdout)] == [(9, 1)]
    assert table.stdout.decode().splitlines()[1].split()[1:5] == ["9", "0", "0", "1"]


async def test_status_works_while_a_run_holds_the_workspace(scans: Path, tmp_path: Path) -> None:
    """An operator may look at any time."""
    write_pages(scans, 2)
    async with serve_fake() as fake:
        await run_command("run", scans, "-o", tmp_path / "out", "--api-url", fake.url)
    with lock_workspace(tmp_path / "out"):
        status = await run_command("status", tmp_path / "out", "--json")
        verify = await run_command("verify", tmp_path / "out")
    assert orjson.loads(status.stdout)["done"] == 2
    assert (verify.returncode, b"a run holds this workspace" in verify.stderr) == (11, True)


async def test_a_held_workspace_is_told_before_the_engine_starts(scans: Path, tmp_path: Path) -> None:
    """`run --local` in a second terminal gets exit 11 at once, not after the models have loaded."""
    write_pages(scans, 1)
    with lock_workspace(tmp_path / "out"):
        done = await run_command("run", scans, "-o", tmp_path / "out", "--local", key=None)
    assert done.returncode == 11, done.stderr
    assert b"engine" not in done.stderr


async def test_verify_names_a_fault(scans: Path, tmp_path: Path) -> None:
    """A flipped byte in a paid line is found: exit 1 and its place."""
    write_pages(scans, 3)
    async with serve_fake() as fake:
        await run_command("run", scans, "-o", tmp_path / "out", "--api-url", fake.url)
    path = tmp_path / "out" / "results.jsonl"
    path.write_bytes(path.read_bytes().replace(b"text of", b"tixt of", 1))
    done = await run_command("verify", tmp_path / "out")
    assert done.returncode == 1
    assert b"results.jsonl:1" in done.stdout


async def test_the_configuration_in_force_is_shown_as_toml(tmp_path: Path) -> None:
    """`config show` merges files and environment, and never shows a key."""
    (tmp_path / "my.toml").write_text("[run]\njobs = 3\n")
    done = await run_command("config", "show", "-c", tmp_path / "my.toml", PAGEMILL_BUDGET_TIER="pro")
    shown = tomllib.loads(done.stdout.decode())
    assert (shown["run"]["jobs"], shown["budget"]["tier"]) == (3, "pro")
    assert KEY.encode() not in done.stdout
    assert (await run_command("config", "check", "-c", tmp_path / "my.toml")).returncode == 0


async def test_flags_can_come_from_the_environment(scans: Path, tmp_path: Path) -> None:
    """Every flag is PAGEMILL_<FLAG>."""
    write_pages(scans, 5)
    async with serve_fake() as fake:
        done = await run_command(
            "run", scans, "-o", tmp_path / "out", PAGEMILL_API_URL=fake.url, PAGEMILL_MAX_CALLS="2"
        )
    assert done.returncode == 8
    assert len(results(tmp_path / "out")) == 2


async def test_a_key_over_clear_text_is_warned_about(scans: Path, tmp_path: Path) -> None:
    """Plain http to another machine gets a warning that does not repeat the key."""
    write_pages(scans, 1)
    done = await run_command(
        "run", scans, "-o", tmp_path / "out", "--api-url", "http://pagemill.invalid", "--retries", "0"
    )
    assert done.returncode == 5
    assert b"clear text" in done.stderr
    assert KEY.encode() not in done.stderr


def test_help_imports_nothing_heavy() -> None:
    """`--help` answers at once: what costs time is imported by the commands that need it."""
    code = (
        "import sys; from pipeline.cli.main import cli\n"
        "try: cli.main(['--help'], prog_name='pagemill')\n"
        "except SystemExit: pass\n"
        "heavy = {'aiohttp', 'anyio', 'asyncio', 'PIL', 'sqlite3', 'orjson', 'msgspec', 'tqdm', 'numpy'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=environment(None))
    assert done.stderr.decode().strip() == "[]"
    assert b"Turn folders" in done.stdout


async def test_jq_and_json_read_the_results(scans: Path, tmp_path: Path) -> None:
    """The file is plain JSON Lines for every tool, odd names included."""
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


async def test_the_key_is_in_no_message(scans: Path, tmp_path: Path) -> None:
    """Whatever goes wrong, and however much is told, the key is not."""
    write_pages(scans, 3)
    said = b""
    async with serve_fake(lambda call: web.json_response({"statusText": f"{call.request.url}"}, status=500)) as fake:
        url = fake.url
        for script in (fake.script, lambda call: web.json_response({"statusText": call.key}, status=401)):
            fake.script = script
            done = await run_command("run", scans, "-o", tmp_path / "out", "--api-url", url, "-v", "--retries", "0")
            said += done.stdout + done.stderr
    done = await run_command("run", scans, "-o", tmp_path / "out", "--api-url", url, "-v", "--retries", "0")
    said += done.stdout + done.stderr
    assert b"HTTP 500" in said
    assert b"HTTP 401" in said
    assert b"unreachable" in said
    assert KEY.encode() not in said


async def test_a_misspelt_variable_is_an_error(scans: Path, tmp_path: Path) -> None:
    """A limit that is misspelt would not limit."""
    done = await run_command("run", scans, "-o", tmp_path / "out", PAGEMILL_BUDGET_QOUTA="3")
    assert done.returncode == 2
    assert b"PAGEMILL_BUDGET_QOUTA; did you mean PAGEMILL_BUDGET_QUOTA?" in done.stderr


async def test_local_can_come_from_the_environment(scans: Path, tmp_path: Path) -> None:
    """PAGEMILL_LOCAL never calls a paid service."""
    write_pages(scans, 1)
    async with serve_fake() as fake:
        done = await run_command("run", scans, "-o", tmp_path / "out", "--api-url", fake.url, PAGEMILL_LOCAL="1")
        assert fake.calls == []
    assert done.returncode == 2
    assert b"--local" in done.stderr


async def test_a_command_that_prints_the_key_stays_out_of_the_workspace(scans: Path, tmp_path: Path) -> None:
    """`key_command` may hold a secret itself."""
    write_pages(scans, 1)
    (tmp_path / "my.toml").write_text('[api]\nkey_command = "echo sk-secret-in-a-command"\n')
    async with serve_fake() as fake:
        flags = ("-c", tmp_path / "my.toml", "--api-url", fake.url)
        done = await run_command("run", scans, "-o", tmp_path / "out", *flags, key=None)
        assert [call.key for call in fake.calls] == ["sk-secret-in-a-command"]
    shown = await run_command("config", "show", "-c", tmp_path / "my.toml")
    written = b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())
    assert b"sk-secret" not in written + shown.stdout + done.stderr


@pytest.mark.parametrize(
    ("redirection", "exit_code"),
    [
        pytest.param("<&-", 0, id="stdin-closed"),
        pytest.param(">&-", 0, id="stdout-closed"),
        pytest.param("2>&-", 0, id="stderr-closed"),
        pytest.param("2>/dev/full", 0, id="log-disk-full"),
        pytest.param(">/dev/full", 1, id="stdout-full"),
    ],
)
async def test_a_stream_that_is_closed_or_full_costs_no_page(
    scans: Path, tmp_path: Path, redirection: str, exit_code: int
) -> None:
    """The pages are recognised whatever becomes of the messages; only a summary that was asked for must arrive."""
    write_pages(scans, 2)
    async with serve_fake() as fake:
        command = [*COMMAND, "run", str(scans), "-o", str(tmp_path / "out"), "--api-url", fake.url, "--json"]
        script = f'exec "$@" {redirection}'
        done = await anyio.run_process(["bash", "-c", script, "bash", *command], check=False, env=environment(KEY))
    assert done.returncode == exit_code, done.stderr
    assert b"Traceback" not in done.stderr
    assert len(results(tmp_path / "out")) == 2


def test_the_python_example_of_the_readme_runs(tmp_path: Path) -> None:
    """It is executed as it stands, but for the host and the key."""
    readme = (ROOT / "README.md").read_text("utf-8")
    example = readme.split("```python\n")[1].split("```")[0]
    write_page(tmp_path / "scans" / "a.png", 1)
    example = example.replace("https://llmocr.com", "http://127.0.0.1:9").replace("load_config()", "load_config()")
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=tmp_path, env=environment(None), capture_output=True, check=True, text=True
    )
    assert "'pending': 1" in done.stdout or "PENDING" in done.stdout


async def test_a_key_file_given_as_a_flag_goes_before_the_environment(scans: Path, tmp_path: Path) -> None:
    """The command line says what this run uses."""
    write_pages(scans, 1)
    (tmp_path / "key").write_text("sk-from-the-file\n")
    async with serve_fake() as fake:
        flags = ("--api-url", fake.url, "--api-key-file", tmp_path / "key")
        done = await run_command("run", scans, "-o", tmp_path / "out", *flags)
        assert [call.key for call in fake.calls] == ["sk-from-the-file"]
    assert done.returncode == 0
