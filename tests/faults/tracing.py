"""The system calls of a real run: strace's command line, which can also kill the run at one of them, and its log."""

import errno
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

STRACE: Final = ("strace", "-f", "-qq")
"""Traces all threads."""

QUICK_STRACE: Final = (*STRACE, "--seccomp-bpf")
"""Stops threads only at the traced calls, which halves the run's time; injected signals get lost with it."""

_BEGUN = re.compile(r"(?P<thread>\d+) +(?P<name>\w+)\((?P<rest>.*)")
_RESUMED = re.compile(r"(?P<thread>\d+) +<\.\.\. \w+ resumed>(?P<rest>.*)")
_ENDED = re.compile(r"(?P<arguments>.*)\) += (?P<result>-?\w+|\?)")
_UNFINISHED = " <unfinished ...>"
_DESCRIPTOR = re.compile(r"(?P<number>\d+|AT_FDCWD)<(?P<target>TCP\w*:\[[^\]]*\]|[^>]*)>(?P<deleted>\(deleted\))?")
_PATH = re.compile(r"(?:\\x[0-9a-f]{2})+")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


@dataclass(frozen=True)
class SystemCall:
    """One system call of a trace.

    Attributes:
        thread: The id of the calling thread.
        name: The system call's name, as in section 2 of the manual.
        arguments: The arguments as strace prints them with -xx -yy.
        result: The returned value; None when the call did not return.
        begun: The log's line on which it begins, 0-based.
        ended: The log's line on which it returns; None when it did not return.
    """

    thread: int
    name: str
    arguments: str
    result: int | None
    begun: int
    ended: int | None

    @cached_property
    def strings(self) -> Sequence[bytes]:
        """The strings among the arguments."""
        return [_decode(text) for text in _STRING.findall(self.arguments)]

    @property
    def data(self) -> bytes:
        """The bytes that a writing call passed to the kernel."""
        return b"".join(self.strings)

    @property
    def descriptor(self) -> int | None:
        """The first argument, if it is a descriptor."""
        found = _DESCRIPTOR.match(self.arguments)
        return int(found["number"]) if found and found["number"] != "AT_FDCWD" else None

    @property
    def paths(self) -> Sequence[str]:
        """The files that the call names, by descriptor or by path; none when the descriptor's file was deleted."""
        if self.descriptor is None:
            return [text.decode("utf-8", "surrogateescape") for text in self.strings]
        found = _DESCRIPTOR.match(self.arguments)
        if found is None or found["deleted"] or not _PATH.fullmatch(found["target"]):
            return []
        return [_decode(found["target"]).decode("utf-8", "surrogateescape")]

    @property
    def to_network(self) -> bool:
        """True when the first argument is a TCP connection."""
        found = _DESCRIPTOR.match(self.arguments)
        return found is not None and found["target"].startswith("TCP")


def trace(
    log: Path,
    names: Iterable[str],
    *,
    kill_at: tuple[str, int] | None = None,
    files: Sequence[Path] = (),
    shown_bytes: int = 0,
) -> list[str]:
    """Return the command line that, put before a command, logs its system calls.

    Args:
        log: The file to log to.
        names: The system calls to log; names that this kernel does not know are ignored.
        kill_at: A name and a number n: the command is killed when a thread begins its n-th call of that name, before
            the call has any effect.
        files: Log and count only calls that name one of these files; all calls when empty.
        shown_bytes: Bytes of data logged per call.
    """
    line = [*(QUICK_STRACE if kill_at is None else STRACE), "-xx", "-yy", "-e", "signal=none", "-s", str(shown_bytes)]
    line += ["-o", str(log), "-e", "trace=" + ",".join(f"?{name}" for name in names)]
    for file in files:
        line += ["-P", str(file)]
    if kill_at is not None:
        line += ["-e", f"inject={kill_at[0]}:signal=KILL:when={kill_at[1]}"]
    return line


def inject(log: Path, file: Path, call: str, code: int, nth: int) -> list[str]:
    """Return the command line that makes a thread's n-th such call on a file fail, and logs the writes to the file."""
    error = errno.errorcode[code]
    return [
        *trace(log, ["write", "fdatasync", "fsync", "fallocate"], files=[file]),
        "-e",
        f"inject={call}:error={error}:when={nth}",
    ]


def read_log(log: Path) -> list[SystemCall]:
    """Return a log's system calls in the order in which they began."""
    return sorted(_join(log.read_text("ascii").splitlines()), key=lambda call: call.begun)


def _decode(text: str) -> bytes:
    return bytes.fromhex(text.replace(r"\x", ""))


def _join(lines: Iterable[str]) -> Iterator[SystemCall]:
    """Yield complete calls; lines of other threads may come between a call's begin and its return."""
    open_calls: dict[int, tuple[int, str, str]] = {}
    for number, line in enumerate(lines):
        if begun := _BEGUN.fullmatch(line):
            thread, name, rest = int(begun["thread"]), begun["name"], begun["rest"]
            start = number
        elif resumed := _RESUMED.fullmatch(line):
            thread = int(resumed["thread"])
            start, name, before = open_calls.pop(thread)
            rest = before + resumed["rest"]
        else:
            continue
        ended = _ENDED.match(rest)
        if ended is None:
            open_calls[thread] = (start, name, rest.removesuffix(_UNFINISHED))
        elif ended["result"] == "?":
            yield SystemCall(thread, name, ended["arguments"], None, start, None)
        else:
            yield SystemCall(thread, name, ended["arguments"], int(ended["result"], 0), start, number)
    for thread, (start, name, rest) in open_calls.items():
        yield SystemCall(thread, name, rest, None, start, None)
