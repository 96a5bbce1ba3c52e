"""The text of a nightly job: systemd units, or a line of a crontab; pure.

Escaping: systemd reads C escapes inside double quotes, `%` as a specifier everywhere, and `$` as a variable in the
arguments of commands only (systemd.service(5), "Command lines"; systemd.unit(5), "Specifiers"). cron turns `%` into a
newline whatever the quotes say (crontab(5); cronie #195); cron and cronie read backslashes differently.
"""

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.errors import UsageError

SUCCESSES: Final = (3, 8, 10)
"""Exit codes beside 0 of a night that did what it could."""

_STOPPED: Final = 143
"""`systemctl stop` ends the run in order by SIGTERM; it did not fail for that (reported for many services that exit
with 143)."""

_CRON_MAX_CHARS: Final = 900
"""Debian's cron takes commands of 998 characters, and says nothing of longer ones but "command too long" in a log."""


@dataclass(frozen=True, slots=True)
class Night:
    """A nightly job.

    Attributes:
        name: Of the units, "pagemill".
        command: The program and its arguments, the program by its absolute path.
        directory: The directory in which it runs; relative paths are meant from there.
        user: Who runs it.
        at: (hour, minute) of the machine's local time.
        writable: Absolute paths that it writes to.
        mounts: Absolute paths that must be mounted.
        key_file: File that holds the API key; None for no key.
        drain_s: The longest time that calls in flight take to end, and observers to be told.
    """

    name: str
    command: Sequence[str]
    directory: str
    user: str
    at: tuple[int, int]
    writable: Sequence[str]
    mounts: Sequence[str]
    key_file: str | None
    drain_s: float


_HARDENING: Final = """\
NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
"""
"""MemoryDenyWriteExecute is not in it: the inference runtimes of the embedded engine compile code."""


def systemd_units(night: Night) -> dict[str, str]:
    """Return the texts of service and timer by their file names.

    Raises:
        UsageError: an argument cannot be written in a unit.
    """
    program, *arguments = night.command
    if not program.isprintable() or any(character in program for character in "\"'\\"):
        raise UsageError(f"{program!r}: systemd starts no program of this name; install pagemill elsewhere")
    command = " ".join((_quote(program), *(_quote(part).replace("$", "$$") for part in arguments)))
    credential = ""
    if night.key_file is not None:
        credential = f"LoadCredential=api-key:{_escape_path(night.key_file)}\n"
        command += " --api-key-file ${CREDENTIALS_DIRECTORY}/api-key"
    writable = "".join(f"ReadWritePaths={_quote(path)}\n" for path in night.writable)
    mounts = "".join(f"RequiresMountsFor={_quote(path)}\n" for path in night.mounts)
    statuses = " ".join(str(code) for code in (*SUCCESSES, _STOPPED))
    service = (
        "[Unit]\n"
        f"Description={_escape(f'{night.name}: pages into records')}\n"
        "Documentation=man:systemd.timer(5)\n"
        "Wants=network-online.target\n"
        "After=network-online.target\n"
        f"{mounts}\n"
        "[Service]\n"
        "Type=oneshot\n"
        f"User={_escape(night.user)}\n"
        f"WorkingDirectory={_escape_path(night.directory)}\n"
        "# PAGEMILL_PING_URL=... and other variables, if any:\n"
        f"EnvironmentFile=-/etc/pagemill/{night.name}.env\n"
        f"{credential}"
        f"ExecStart={command}\n"
        "# 3: some pages failed; 8: the month's calls are used up; 10: a planned stop; 143: systemctl stop.\n"
        f"SuccessExitStatus={statuses}\n"
        "# SIGTERM goes to pagemill alone: the calls in flight end, and are recorded.\n"
        "KillMode=mixed\n"
        f"TimeoutStopSec={math.ceil(night.drain_s)}\n"
        f"{writable}"
        f"{_HARDENING}"
    )
    return {f"{night.name}.service": service, f"{night.name}.timer": _timer(night)}


def _timer(night: Night) -> str:
    hour, minute = night.at
    return (
        "[Unit]\n"
        f"Description={_escape(f'{night.name}: every night')}\n\n"
        "[Timer]\n"
        f"OnCalendar=*-*-* {hour:02}:{minute:02}:00\n"
        "RandomizedDelaySec=15min\n"
        "# A night that the machine slept through is made up for.\n"
        "Persistent=true\n\n"
        "[Install]\n"
        "WantedBy=timers.target\n"
    )


def crontab_lines(night: Night) -> str:
    """Return lines of a user's crontab.

    The workspace's own lock keeps a second run away (exit 11). cron mails what a command prints, whatever its exit
    code; with `-q`, pagemill prints problems only. Programs are named by absolute paths: cron's PATH is short.

    Raises:
        UsageError: an argument cannot be written in a crontab.
    """
    parts = (night.directory, *night.command, *(() if night.key_file is None else (night.key_file,)))
    for part in parts:
        if "\\" in part or not part.isprintable():
            raise UsageError(f"{part!r}: cron cannot be given this; use --print systemd")
    command = shlex.join(night.command)
    if night.key_file is not None:
        command += f" --api-key-file {shlex.quote(night.key_file)}"
    codes = "|".join(str(code) for code in (0, *SUCCESSES))
    line = f"cd {shlex.quote(night.directory)} && {{ {command}; c=$?; case $c in {codes}) exit 0;; esac; exit $c; }}"
    if len(line) > _CRON_MAX_CHARS:
        raise UsageError(
            f"a line of {len(line)} characters is too long for cron; use --print systemd, or a pagemill.toml"
        )
    hour, minute = night.at
    return f"SHELL=/bin/sh\n{minute} {hour} * * * {line.replace('%', chr(92) + '%')}\n"


def _quote(text: str) -> str:
    """Quote an item of a list, where systemd undoes C escapes."""
    escaped = "".join(_escape_character(character) for character in text)
    return f'"{escaped}"'.replace("%", "%%")


def _escape_character(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character.isprintable():
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))


def _escape(text: str) -> str:
    """Escape the specifiers of a value that takes the rest of the line as it is."""
    return text.replace("%", "%%")


def _escape_path(path: str) -> str:
    """Escape a path that takes the rest of the line as it is.

    Raises:
        UsageError: it would end the line.
    """
    if not path.isprintable() or path != path.strip() or path.endswith("\\"):
        raise UsageError(f"{path!r}: a unit cannot name this path; rename it")
    return _escape(path)
