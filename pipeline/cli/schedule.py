"""`pagemill schedule`: print systemd units or a crontab line that run pagemill every night."""

import os
import pwd
import re
import shlex
import shutil
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import click

from pipeline.cli.array_jobs import ArrayJob, kubernetes_manifest, slurm_script
from pipeline.cli.console import print_text
from pipeline.cli.help import command as as_command
from pipeline.cli.options import config_option, load
from pipeline.cli.units import Night, crontab_lines, systemd_units
from pipeline.config import Config, default_state_dir, load_config, user_config_dir
from pipeline.config.database_url import is_database_url
from pipeline.errors import UsageError
from pipeline.ledger.places import ledger_directory

_SCHEDULED: Final = ("run", "retry")
_KEY_FILE: Final = "/etc/pagemill/api-key"
_OBSERVERS_S: Final = 60.0
"""Twice the patience of the slowest observer, `--notify-command`."""


def make_night(arguments: tuple[str, ...], *, name: str, at: str, key_file: str) -> Night:
    """Return the nightly job of a command line.

    Args:
        arguments: "run" or "retry", and its arguments.
        name: Of the units.
        at: "HH:MM".
        key_file: File with the API key, for a job that names none.

    Raises:
        UsageError: the command line is none that pagemill takes, or the time is none.
    """
    if (clock := re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", at)) is None:
        raise UsageError(f"--at {at}: not a time such as 02:00")
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise UsageError(f"--name {name}: letters, digits, - and _ only")
    if not arguments or arguments[0] not in _SCHEDULED:
        raise UsageError("schedule: give the command after --, such as: -- run scans/ -o paid --tier basic -q")
    options = _parse(arguments)
    config = _configure(options)
    workspace = Path(options.get("output") or options["workspace"])
    inputs = [Path(item) for item in options.get("inputs", ()) if "://" not in item and item != "-"]
    if "-" in options.get("inputs", ()):
        raise UsageError("schedule: a nightly job has no stdin to read paths from")
    has_key = config.api.key_file is not None or config.api.key_command is not None
    return Night(
        name=name,
        command=(*_program(), *arguments),
        directory=os.getcwd(),  # noqa: PTH109 - the path as the shell spells it, also behind a link
        user=pwd.getpwuid(os.geteuid()).pw_name,
        at=(int(clock[1]), int(clock[2])),
        writable=_writable(workspace, config, is_local=options["local"]),
        mounts=[str(path.absolute()) for path in (*(_fixed_part(path) for path in inputs), workspace)],
        key_file=None if options["local"] or has_key else key_file,
        drain_s=config.api.timeout_s + _OBSERVERS_S,
    )


def _parse(arguments: tuple[str, ...]) -> dict[str, Any]:
    """Return the options of `run` or `retry` by parameter name.

    Raises:
        UsageError: the command would not take them.
    """
    command = import_module(f"pipeline.cli.{arguments[0]}").command
    try:
        context = command.make_context(arguments[0], list(arguments[1:]))
    except click.exceptions.Exit as exc:  # --help
        raise UsageError(f"schedule: no job: {' '.join(arguments)}") from exc
    except click.ClickException as exc:
        raise UsageError(f"schedule: {arguments[0]}: {exc.format_message()}") from exc
    options: dict[str, Any] = context.params
    return options


def _configure(options: dict[str, Any]) -> Config:
    flags: dict[tuple[str, str], Any] = {}
    for name, value in options.items():
        section, separator, key = name.partition("__")
        if separator and value is not None and value != ():
            flags[section, key] = value
    return load_config(options["config_file"], flags=flags, environ=os.environ, user_dir=user_config_dir())


def _program() -> tuple[str, ...]:
    """Return how pagemill is called, by absolute paths: neither systemd nor cron has the user's PATH."""
    found = shutil.which(sys.argv[0])
    if found is not None and Path(found).name == "pagemill":
        return (os.path.abspath(found),)  # noqa: PTH100 - a link into a virtual environment stays one
    return (sys.executable, "-m", "pipeline")


def _writable(workspace: Path, config: Config, *, is_local: bool) -> list[str]:
    paths = [workspace]
    if not is_local:
        ledger = config.budget.ledger
        is_elsewhere = ledger is None or is_database_url(ledger)
        paths.append(default_state_dir() if is_elsewhere else ledger_directory(config))
    if config.operate.metrics_file is not None:
        paths.append(config.operate.metrics_file.parent)
    if config.log.file is not None:
        paths.append(config.log.file.parent)
    return list(dict.fromkeys(str(path.absolute()) for path in paths))


def _fixed_part(path: Path) -> Path:
    """Return the part of a glob that holds no wildcard."""
    parts: list[str] = []
    for part in path.parts:
        if any(character in part for character in "*?["):
            break
        parts.append(part)
    return Path(*parts)


def describe_systemd(night: Night) -> str:
    """Return the units with the commands that install them, as one text that a shell can run as root."""
    make = [f"#   install -d -o {night.user} {shlex.quote(path)}\n" for path in night.writable]
    if night.key_file is not None:
        make.append(f"#   install -D -m 600 /dev/stdin {shlex.quote(night.key_file)}   # paste the key, Ctrl-D\n")
    text = f"# Directories that must exist, and the key:\n{''.join(make)}"
    for name, unit in systemd_units(night).items():
        text += f"\n# ---- /etc/systemd/system/{name}\n{unit}"
    return f"{text}\n# ---- then: systemctl daemon-reload && systemctl enable --now {night.name}.timer\n"


def describe_array(kind: str, night: Night, shards: int | None, *, image: str, volume: str) -> str:
    """Return the script, or the manifest, of a job of shards.

    Raises:
        UsageError: the command is none that shards can run, or their number is missing.
    """
    program = _program()
    arguments = tuple(night.command[len(program) :])
    options = _parse(arguments)
    if shards is None:
        raise UsageError(f"schedule: --print {kind} needs the number of shards, such as --shards 64")
    if arguments[0] != "run" or "--" in arguments or options.get("input__shard") is not None:
        raise UsageError("schedule: a job of shards is one of `run`, without -- and --shard: each gets its own")
    ledger = _configure(options).budget.ledger
    job = ArrayJob(
        night=replace(night, key_file=None) if kind == "kubernetes" else night,
        output=str(options["output"]),
        shards=shards,
        image=image,
        volume=volume,
        shares_ledger=ledger is not None and is_database_url(ledger),
    )
    return slurm_script(job) if kind == "slurm" else kubernetes_manifest(job)


@as_command(
    "schedule",
    click.Argument(["arguments"], nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- run ARGS..."),
    click.Option(
        ["--print", "kind"],
        type=click.Choice(["systemd", "cron", "slurm", "kubernetes"]),
        required=True,
        help="What to print.",
    ),
    click.Option(["--at"], default="02:00", metavar="HH:MM", help="Local time of the machine.  [default: 02:00]"),
    click.Option(["--name"], default="pagemill", metavar="NAME", help="Name of the units.  [default: pagemill]"),
    click.Option(
        ["--key-file"],
        default=_KEY_FILE,
        metavar="FILE",
        help=f"File with the API key, for a job that names no key itself.  [default: {_KEY_FILE}]",
    ),
    click.Option(
        ["--into"],
        type=click.Path(path_type=Path, file_okay=False, exists=True),
        metavar="DIR",
        help="Write the units as files into this directory instead.",
    ),
    click.Option(
        ["--shards"],
        type=click.IntRange(1, 999_999),
        metavar="N",
        help="Number of shards of a job for slurm or kubernetes; their workspaces are in OUT.parts, and OUT is merged.",
    ),
    click.Option(["--image"], default="pagemill", metavar="IMAGE", help="Image for kubernetes.  [default: pagemill]"),
    click.Option(
        ["--volume"],
        default="pagemill",
        metavar="CLAIM",
        help="PersistentVolumeClaim that kubernetes mounts as the working directory.  [default: pagemill]",
    ),
    config_option(),
    help="Print systemd units, or lines of a crontab, that run pagemill every night: with absolute paths, with the "
    "exit codes of a good night taken as success, and, for systemd, with no more rights than the job needs. Or print "
    "the script of a job of shards: for SLURM in arrays of at most 1,000, or as an Indexed Job of Kubernetes.",
    examples=(
        "pagemill schedule --print systemd -- run scans/ -o paid --tier basic --spread -q",
        "pagemill schedule --print cron --at 01:30 -- run scans/ -o paid --tier basic --spread -q | crontab -",
        "pagemill schedule --print slurm --shards 4000 -- run scans/ -o whole -q > job.sh && bash job.sh",
        "pagemill schedule --print kubernetes --shards 64 -- run scans/ -o whole -q | kubectl apply -f -",
    ),
    exit_codes=(0, 2),
)
def command(
    arguments: tuple[str, ...],
    config_file: Path | None,
    *,
    kind: str,
    at: str,
    name: str,
    key_file: str,
    into: Path | None,
    shards: int | None,
    image: str,
    volume: str,
) -> int:
    """Run `pagemill schedule`."""
    load(config_file, {})
    night = make_night(arguments, name=name, at=at, key_file=key_file)
    if kind in {"slurm", "kubernetes"}:
        print_text(describe_array(kind, night, shards, image=image, volume=volume))
    elif kind == "cron":
        print_text(crontab_lines(night))
    elif into is None:
        print_text(describe_systemd(night))
    else:
        for file_name, text in systemd_units(night).items():
            (into / file_name).write_text(text, "utf-8")
    return 0
