"""Settings and keys on the command line: files, environment and flags, and that no output contains a key."""

import os
import tomllib
from pathlib import Path

import orjson
import pytest
from aiohttp import web

from tests.fakes import serve_fake
from tests.pages import write_pages
from tests.runs import KEY, results, run_command


async def test_config_show_prints_the_effective_configuration_as_toml(tmp_path: Path) -> None:
    """`config show` merges file and environment, and never shows a key."""
    (tmp_path / "my.toml").write_text("[run]\njobs = 3\n")
    done = await run_command("config", "show", "-c", tmp_path / "my.toml", PAGEMILL_BUDGET_TIER="pro")
    shown = tomllib.loads(done.stdout.decode())
    assert (shown["run"]["jobs"], shown["budget"]["tier"]) == (3, "pro")
    assert KEY.encode() not in done.stdout
    assert (await run_command("config", "check", "-c", tmp_path / "my.toml")).returncode == 0


FAULTS = [
    pytest.param({"PAGEMILL_TIER": "gold"}, "environment: budget.tier: Invalid enum value 'gold'", id="variable"),
    pytest.param(
        {"PAGEMILL_BUDGET_TIER": "gold", "PAGEMILL_TIER": "pro"}, "Invalid enum value 'gold'", id="overridden-variable"
    ),
    pytest.param({"PAGEMILL_LOCAL": "perhaps"}, "environment: PAGEMILL_LOCAL: 'perhaps' is not a valid", id="flag"),
    pytest.param({"PAGEMILL_BUDGET_TEIR": "pro"}, "unknown variable PAGEMILL_BUDGET_TEIR", id="unknown-variable"),
    pytest.param({"PAGEMILL_CONFIG": "missing.toml"}, "missing.toml: No such file", id="missing-file"),
    pytest.param({"PAGEMILL_CONFIG": "wrong.toml"}, "wrong.toml: budget.tier: Invalid enum value 'gold'", id="file"),
    pytest.param(
        {"PAGEMILL_CONFIG": "wrong.toml", "PAGEMILL_TIER": "pro"}, "wrong.toml: budget.tier", id="overridden-file"
    ),
    pytest.param({"PAGEMILL_API_KEY": "two words"}, "the environment: not an API key", id="key"),
    pytest.param({"PAGEMILL_API_KEY_FILE": "no-key"}, "no-key: cannot read the API key: No such file", id="key-file"),
    pytest.param({"PAGEMILL_API_KEY_FILE": "/"}, "/: cannot read the API key: Is a directory", id="key-folder"),
    pytest.param({"PAGEMILL_API_KEY_FILE": "blank"}, "blank: not an API key", id="blank-key-file"),
    pytest.param({"PAGEMILL_API_KEY_FILE": "~nobody-has-this/x"}, "no such home directory", id="key-file-of-nobody"),
    pytest.param({"PAGEMILL_API_KEY_COMMAND": "false"}, "key_command: exit status 1", id="key-command-fails"),
    pytest.param({"PAGEMILL_API_KEY_COMMAND": "no-such-command"}, "key_command: FileNotFoundError", id="key-command"),
    pytest.param({"PAGEMILL_API_URL": "ftp://host"}, "api url: not a base URL", id="url"),
    pytest.param({"PAGEMILL_LEDGER": "blank"}, "ledger blank: not a directory", id="ledger-is-a-file"),
    pytest.param({"PAGEMILL_LEDGER": "blank/x"}, "blank cannot be written", id="ledger-below-a-file"),
]


@pytest.mark.parametrize("command", ["check", "show"])
@pytest.mark.parametrize(("environ", "message"), FAULTS)
async def test_config_judges_every_source(tmp_path: Path, command: str, environ: dict[str, str], message: str) -> None:
    """Also one that another overrides: the key in the environment precedes the key file."""
    os.chdir(tmp_path)
    Path("wrong.toml").write_text("[budget]\ntier = 'gold'\n")
    Path("blank").write_text(" \n")
    done = await run_command("config", command, **environ)
    assert (done.returncode, done.stdout) == (2, b""), done.stderr
    assert message in done.stderr.decode()


@pytest.mark.parametrize(
    "environ",
    [
        pytest.param({}, id="defaults"),
        pytest.param({"PAGEMILL_API_KEY_FILE": "key", "PAGEMILL_API_KEY_COMMAND": "echo sk-1"}, id="all-keys"),
        pytest.param({"PAGEMILL_LEDGER": "not/yet/made", "PAGEMILL_TIER": "pro"}, id="ledger"),
        pytest.param({"PAGEMILL_NO_PROGRESS": "1", "PAGEMILL_LOCAL": "no"}, id="flags"),
    ],
)
async def test_config_check_accepts_what_a_run_accepts(tmp_path: Path, environ: dict[str, str]) -> None:
    """And makes nothing."""
    os.chdir(tmp_path)
    Path("key").write_text("sk-1\n")
    done = await run_command("config", "check", **environ)
    assert (done.returncode, done.stderr) == (0, b"pagemill: the configuration is valid\n")
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


async def test_a_group_without_a_command_shows_its_help() -> None:
    done = await run_command("config")
    assert (done.returncode, b"Commands" in done.stdout) == (0, True)


async def test_flags_can_come_from_the_environment(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 5)
    async with serve_fake() as fake:
        done = await run_command(
            "run", scans, "-o", tmp_path / "out", PAGEMILL_API_URL=fake.url, PAGEMILL_MAX_CALLS="2"
        )
    assert done.returncode == 10
    assert len(results(tmp_path / "out")) == 2


async def test_a_misspelt_variable_is_an_error(scans: Path, tmp_path: Path) -> None:
    """A misspelt limit would otherwise be no limit."""
    done = await run_command("run", scans, "-o", tmp_path / "out", PAGEMILL_BUDGET_QOUTA="3")
    assert done.returncode == 2
    assert b"PAGEMILL_BUDGET_QOUTA; did you mean PAGEMILL_BUDGET_QUOTA?" in done.stderr


async def test_local_from_the_environment_excludes_an_api_url(scans: Path, tmp_path: Path) -> None:
    """PAGEMILL_LOCAL with an API URL is an error, so that no paid service is called."""
    write_pages(scans, 1)
    async with serve_fake() as fake:
        done = await run_command("run", scans, "-o", tmp_path / "out", "--api-url", fake.url, PAGEMILL_LOCAL="1")
        assert fake.calls == []
    assert done.returncode == 2
    assert b"--local" in done.stderr


async def test_a_key_file_given_as_a_flag_wins_over_the_environment(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 1)
    (tmp_path / "key").write_text("sk-from-the-file\n")
    async with serve_fake() as fake:
        flags = ("--api-url", fake.url, "--api-key-file", tmp_path / "key")
        done = await run_command("run", scans, "-o", tmp_path / "out", *flags)
        assert [call.key for call in fake.calls] == ["sk-from-the-file"]
    assert done.returncode == 0


async def test_a_key_over_plain_http_gets_a_warning(scans: Path, tmp_path: Path) -> None:
    """The warning does not repeat the key."""
    write_pages(scans, 1)
    done = await run_command(
        "run", scans, "-o", tmp_path / "out", "--api-url", "http://pagemill.invalid", "--retries", "0"
    )
    assert done.returncode == 5
    assert b"clear text" in done.stderr
    assert KEY.encode() not in done.stderr


async def test_the_key_is_in_no_message(scans: Path, tmp_path: Path) -> None:
    """Although the service echoes it in its errors, and with `-v`."""
    write_pages(scans, 3)
    output = b""
    async with serve_fake(lambda call: web.json_response({"statusText": f"{call.request.url}"}, status=500)) as fake:
        url = fake.url
        for script in (fake.script, lambda call: web.json_response({"statusText": call.key}, status=401)):
            fake.script = script
            done = await run_command("run", scans, "-o", tmp_path / "out", "--api-url", url, "-v", "--retries", "0")
            output += done.stdout + done.stderr
    done = await run_command("run", scans, "-o", tmp_path / "out", "--api-url", url, "-v", "--retries", "0")
    output += done.stdout + done.stderr
    assert b"HTTP 500" in output
    assert b"HTTP 401" in output
    assert b"unreachable" in output
    assert KEY.encode() not in output


async def test_the_key_command_is_neither_recorded_nor_shown(scans: Path, tmp_path: Path) -> None:
    """`key_command` may contain a secret itself."""
    write_pages(scans, 1)
    (tmp_path / "my.toml").write_text('[api]\nkey_command = "echo sk-secret-in-a-command"\n')
    async with serve_fake() as fake:
        flags = ("-c", tmp_path / "my.toml", "--api-url", fake.url)
        done = await run_command("run", scans, "-o", tmp_path / "out", *flags, key=None)
        assert [call.key for call in fake.calls] == ["sk-secret-in-a-command"]
    shown = await run_command("config", "show", "-c", tmp_path / "my.toml")
    written = b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())
    assert b"sk-secret" not in written + shown.stdout + done.stderr


@pytest.mark.parametrize("flag", ["deskew", "contrast"])
async def test_a_flag_switches_a_correction_off(scans: Path, flag: str) -> None:
    write_pages(scans, 1)
    environ = {f"PAGEMILL_{flag.upper()}": "1"}
    corrected = await run_command("plan", scans, "--json", **environ)
    as_it_is = await run_command("plan", scans, "--json", f"--no-{flag}", **environ)
    assert [orjson.loads(done.stdout)["conversions"] for done in (corrected, as_it_is)] == [1, 0]
