"""Runs a command when a run has ended, with the summary as JSON on its stdin."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from typing import ClassVar, Final

import anyio

from pipeline.batch.observers import Ended, Observer, Start
from pipeline.errors import UsageError
from pipeline.observers.outcome import encode_end

_SECRETS: Final = frozenset({"PAGEMILL_API_KEY", "LLMOCR_API_KEY", "PAGEMILL_OPERATOR_KEY"})
"""Variables that the command does not get."""


class Notice(Observer):
    """Runs a command at the end.

    The command leads a process group of its own, which is killed when it takes too long. Its output goes to stderr,
    whose end nobody waits for: a daemon that it leaves behind keeps no run open.

    Args:
        command: As a shell splits it; no shell runs it.
    """

    name: ClassVar[str] = "--notify-command"
    patience_s = 30.0

    def __init__(self, command: str) -> None:
        try:
            self._command = shlex.split(command)
        except ValueError as exc:
            raise UsageError(f"notify command: {exc}") from exc
        if not self._command:
            raise UsageError("notify command: empty")
        self._run_id = ""

    def __repr__(self) -> str:
        return f"<Notice {self._command[0]}>"

    def open(self) -> None:
        """Look for the program, so that a misspelt one is found at once, not in the morning.

        Raises:
            UsageError: there is none.
        """
        if shutil.which(self._command[0]) is None:
            raise UsageError(f"notify command: {self._command[0]}: not found, or not executable")

    async def begin(self, start: Start) -> None:
        """Keep the run's id."""
        self._run_id = start.run_id

    async def end(self, ended: Ended) -> None:
        """Run the command.

        Raises:
            NoticeError: it failed.
        """
        environ = {name: value for name, value in os.environ.items() if name not in _SECRETS}
        process = await anyio.open_process(
            self._command,
            stdin=subprocess.PIPE,
            stdout=_stderr(),
            stderr=_stderr(),
            env=environ,
            start_new_session=True,
        )
        assert process.stdin is not None
        try:
            with suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):  # it need not read it
                await process.stdin.send(encode_end(ended, self._run_id))
                await process.stdin.aclose()
            status = await process.wait()
        finally:
            with suppress(ProcessLookupError):
                if process.returncode is None:
                    os.killpg(process.pid, signal.SIGKILL)
            with anyio.CancelScope(shield=True):
                await process.aclose()
        if status != 0:
            raise NoticeError(f"{self._command[0]}: exit status {status}")


class NoticeError(Exception):
    """The command failed."""


def _stderr() -> int:
    """Return where the command writes: stdout holds data."""
    try:
        return sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):  # replaced or closed
        return subprocess.DEVNULL
