"""System calls of a real run: strace's command line, which may also kill at one of them, and its log."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

STRACE: Final = ("strace", "-f", "-qq")
"""Follows all threads."""

QUICK_STRACE: Final = (*STRACE, "--seccomp-bpf")
"""Stops threads at the calls that are asked for, no others: runs take half the time, but injected signals get lost."""

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
        thread: Which thread made it.
        name: As in the manual.
        arguments: As strace prints them with -xx -yy.
        result: What it returned; None when it did not come back.
        begun: Its place in the log.
        ended: The place of its return; None when it did not come back.
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
        """The bytes that a writing call was given."""
        return b"".join(self.strings)

    @property
    def descriptor(self) -> int | None:
        """The descriptor that is its first argument."""
        found = _DESCRIPTOR.match(self.arguments)
        return int(found["number"]) if found and found["number"] != "AT_FDCWD" else None

    @property
    def paths(self) -> Sequence[str]:
        """The files that it names, by descriptor or by path; none when the descriptor's file was deleted."""
        if self.descriptor is None:
            return [text.decode("utf-8", "surrogateescape") for text in self.strings]
        found = _DESCRIPTOR.match(self.arguments)
        if found is None or found["deleted"] or not _PATH.fullmatch(found["target"]):
            return []
        return [_decode(found["target"]).decode("utf-8", "surrogateescape")]

    @property
    def to_network(self) -> bool:
        """True when its first argument is a TCP connection."""
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
        log: Where to.
        names: Which system calls; unknown ones are passed over.
        kill_at: The command is killed when a thread begins its n-th call of that name, before it has any effect.
        files: Log, and count, only calls that name one of these; all when empty.
        shown_bytes: So much of the data is logged.
    """
    line = [*(QUICK_STRACE if kill_at is None else STRACE), "-xx", "-yy", "-e", "signal=none", "-s", str(shown_bytes)]
    line += ["-o", str(log), "-e", "trace=" + ",".join(f"?{name}" for name in names)]
    for file in files:
        line += ["-P", str(file)]
    if kill_at is not None:
        line += ["-e", f"inject={kill_at[0]}:signal=KILL:when={kill_at[1]}"]
    return line


def read_log(log: Path) -> list[SystemCall]:
    """Return a log's system calls in the order in which they began."""
    return sorted(_join(log.read_text("ascii").splitlines()), key=lambda call: call.begun)


def _decode(text: str) -> bytes:
    return bytes.fromhex(text.replace(r"\x", ""))


def _join(lines: Iterable[str]) -> Iterator[SystemCall]:
    """Yield whole calls: other threads' lines may stand between a call's begin and its return."""
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
