"""Printed units and crontab lines mean what was asked for, whatever is in the paths; systemd itself reads the units."""

import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import anyio.to_thread
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cli.schedule import make_night
from pipeline.cli.units import Night, crontab_lines, systemd_units
from pipeline.errors import UsageError
from tests.runs import run_command

NIGHT = Night(
    name="pagemill",
    command=("/usr/bin/env", "run", "scans", "-o", "paid"),
    directory="/srv",
    user="root",
    at=(2, 5),
    writable=("/srv/paid", "/var/lib/pagemill"),
    mounts=("/srv/scans",),
    key_file="/etc/pagemill/api-key",
    drain_s=180.0,
)
ODD = 'it\'s 100% of $HOME "here" 页'


def write_recorder(path: Path) -> Path:
    """Write a program that records its arguments, one per line, and exits with the code in `code`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > arguments\nexit "$(cat code)"\n')
    path.chmod(0o755)
    return path


def verify(directory: Path, night: Night) -> str:
    """Return what `systemd-analyze verify` says of a night's units; nothing when they are right."""
    units = systemd_units(night)
    for name, text in units.items():
        (directory / name).write_text(text)
    command = ["systemd-analyze", "verify", "--man=no", *(str(directory / name) for name in units)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr + ("" if done.returncode == 0 else f"exit {done.returncode}")


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    assert verify(tmp_path, NIGHT) == ""


def test_systemd_finds_a_fault_in_other_units(tmp_path: Path) -> None:
    """The control: a program that is not there, and a time that is none."""
    assert "not executable" in verify(tmp_path, replace(NIGHT, command=("/no/such/program",)))
    assert verify(tmp_path, replace(NIGHT, at=(25, 0))) != ""


def test_systemd_reads_odd_paths_as_they_were_meant(tmp_path: Path) -> None:
    """It looks for the program, so a wrongly escaped path would not be found."""
    program = write_recorder(tmp_path / "100% of $HOME 页" / "page mill")
    (tmp_path / ODD).mkdir()
    night = replace(
        NIGHT,
        command=(str(program), "run", ODD, "back\\slash", "tab\there"),
        directory=str(tmp_path / ODD),
        writable=(str(tmp_path / ODD),),
        mounts=(str(tmp_path / ODD),),
        key_file=str(tmp_path / ODD / "key"),
    )
    assert verify(tmp_path, night) == ""


def unquote(text: str) -> list[str]:
    """Return the arguments of ExecStart as systemd.service(5) and systemd.unit(5) say that it reads them."""
    arguments: list[str] = []
    rest = text.replace("%%", "%").replace("$$", "$")
    while rest:
        assert rest[0] == '"'
        word, position = bytearray(), 1
        while rest[position] != '"':
            if rest[position] != "\\":
                word += rest[position].encode()
                position += 1
            elif rest[position + 1] == "x":
                word.append(int(rest[position + 2 : position + 4], 16))
                position += 4
            else:
                word += rest[position + 1].encode()
                position += 2
        arguments.append(word.decode())
        rest = rest[position + 1 :].removeprefix(" ")
    return arguments


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=1))
def test_every_argument_survives_the_unit(arguments: list[str]) -> None:
    command = ("/opt/50% $x/pagemill", *arguments)
    service = systemd_units(replace(NIGHT, command=command, key_file=None))["pagemill.service"]
    (line,) = [line for line in service.split("\n") if line.startswith("ExecStart=")]
    assert line.isprintable()
    program = '"/opt/50%% $x/pagemill" '
    assert unquote(line.removeprefix("ExecStart=").removeprefix(program)) == arguments


@pytest.mark.parametrize("program", ["/opt/it's/pagemill", "/opt/a\\b", "/opt/a\nb"])
def test_a_program_that_systemd_would_not_start_is_an_error(program: str) -> None:
    with pytest.raises(UsageError, match="systemd starts no program of this name"):
        systemd_units(replace(NIGHT, command=(program, "run")))


def test_the_service_says_what_a_good_night_is_and_what_it_may_write() -> None:
    lines = systemd_units(NIGHT)["pagemill.service"].splitlines()
    assert "SuccessExitStatus=3 8 10 143" in lines
    assert "TimeoutStopSec=180" in lines
    assert [line for line in lines if line.startswith("ReadWritePaths=")] == [
        'ReadWritePaths="/srv/paid"',
        'ReadWritePaths="/var/lib/pagemill"',
    ]
    assert "LoadCredential=api-key:/etc/pagemill/api-key" in lines
    for name in ("NoNewPrivileges=yes", "ProtectSystem=strict", "PrivateTmp=yes", "KillMode=mixed"):
        assert name in lines


def run_line(text: str, directory: Path, *, code: int) -> subprocess.CompletedProcess[str]:
    r"""Run the command of a crontab as cron does: `\\%` is a percent sign, and the PATH is short."""
    (directory / "code").write_text(str(code))
    shell, line = text.splitlines()
    assert shell == "SHELL=/bin/sh"
    minute, hour, *_, command = line.split(" ", 5)
    assert (minute, hour) == ("5", "2")
    assert "%" not in command.replace("\\%", "")
    return subprocess.run(
        ["/bin/sh", "-c", command.replace("\\%", "%")],
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("code", "expected"),
    [(0, 0), (3, 0), (8, 0), (10, 0), (1, 1), (2, 2), (5, 5), (7, 7), (9, 9), (11, 11), (143, 143)],
)
def test_cron_runs_the_command_as_it_was_meant_and_takes_a_good_night_for_one(
    tmp_path: Path, code: int, expected: int
) -> None:
    program = write_recorder(tmp_path / ODD / "page mill")
    directory = tmp_path / "work 50%"
    directory.mkdir()
    night = replace(NIGHT, command=(str(program), "run", ODD), directory=str(directory), key_file=str(tmp_path / ODD))
    done = run_line(crontab_lines(night), directory, code=code)
    assert (done.returncode, done.stdout, done.stderr) == (expected, "", "")
    told = (directory / "arguments").read_text().splitlines()
    assert told == ["run", ODD, "--api-key-file", str(tmp_path / ODD)]


@pytest.mark.parametrize("argument", ["back\\slash", "new\nline", "tab\t", "x" * 1000])
def test_what_cron_cannot_be_given_is_an_error(argument: str) -> None:
    with pytest.raises(UsageError, match="use --print systemd"):
        crontab_lines(replace(NIGHT, command=("/usr/bin/env", argument)))


def test_a_night_knows_what_it_writes_and_what_must_be_mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = (
        "run",
        "scans/*/x.tif",
        "https://example.org/a.png",
        "-o",
        "paid",
        "--ledger",
        "calls",
        "--timeout",
        "40",
    )
    more = ("--metrics-file", "/var/lib/node/x.prom", "--log-file", "logs/x.jsonl")
    night = make_night((*arguments, *more), name="scans", at="1:30", key_file="/etc/key")
    assert night.at == (1, 30)
    assert night.command[-len((*arguments, *more)) :] == (*arguments, *more)
    assert Path(night.command[0]).is_absolute()
    assert set(night.writable) == {f"{tmp_path}/paid", f"{tmp_path}/calls", "/var/lib/node", f"{tmp_path}/logs"}
    assert night.mounts == [f"{tmp_path}/scans", f"{tmp_path}/paid"]
    assert (night.key_file, night.drain_s) == ("/etc/key", 100)


def test_a_job_with_a_ledger_in_a_database_writes_no_directory_of_ledgers() -> None:
    arguments = ("run", "a", "-o", "b", "--ledger", "postgresql://db/pagemill")
    night = make_night(arguments, name="x", at="02:00", key_file="/etc/key")
    assert not [path for path in night.writable if "postgresql" in path]


def test_a_job_that_names_its_key_or_needs_none_gets_no_other() -> None:
    for arguments in (("run", "a", "-o", "b", "--local"), ("retry", "b", "--api-key-file", "/etc/mine")):
        assert make_night(arguments, name="x", at="02:00", key_file="/etc/key").key_file is None


@pytest.mark.parametrize(
    ("arguments", "options", "problem"),
    [
        pytest.param(["run", "a"], {}, "Missing option '-o'", id="no-workspace"),
        pytest.param(["run", "a", "-o", "b", "--teir", "pro"], {}, "--teir", id="a-misspelt-flag"),
        pytest.param(["run", "-", "-o", "b"], {}, "no stdin", id="paths-on-stdin"),
        pytest.param(["plan", "a"], {}, "give the command after --", id="another-command"),
        pytest.param(["run", "--help"], {}, "no job", id="help"),
        pytest.param(["run", "a", "-o", "b"], {"at": "25:00"}, "not a time", id="no-time"),
        pytest.param(["run", "a", "-o", "b"], {"name": "a/b"}, "--name", id="no-name"),
    ],
)
def test_what_is_no_nightly_job_is_an_error(arguments: list[str], options: dict[str, str], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        make_night(tuple(arguments), **{"name": "x", "at": "02:00", "key_file": "k"} | options)


async def test_the_command_writes_units_that_systemd_takes(tmp_path: Path) -> None:
    (tmp_path / "units").mkdir()
    job = ("--", "run", tmp_path / "scans 100%", "-o", tmp_path / "paid", "--tier", "basic", "--spread", "-q")
    done = await run_command("schedule", "--print", "systemd", "--into", tmp_path / "units", *job)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    units = sorted(str(path) for path in (tmp_path / "units").iterdir())
    found = await anyio.to_thread.run_sync(
        lambda: subprocess.run(["systemd-analyze", "verify", "--man=no", *units], capture_output=True, check=False)
    )
    assert (found.returncode, found.stdout + found.stderr) == (0, b"")
    assert f'ExecStart="{sys.executable}"' in (tmp_path / "units" / "pagemill.service").read_text()
    for kind in ("systemd", "cron"):
        printed = await run_command("schedule", "--print", kind, *job)
        assert printed.returncode == 0
        assert shlex.quote(str(tmp_path / "paid")).encode() in printed.stdout
