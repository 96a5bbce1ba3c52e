"""Replays the system calls of a run on a simulated disk that keeps only synced data, as a power loss would leave it.

Precedent: CrashMonkey and ALICE. A write is on disk once a sync of its file has returned that began after it; a name is
on disk once such a sync of its directory has returned. Unsynced changes are lost, or survive in part.
"""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.tracing import SystemCall

_CHANGES = ("write", "pwrite64", "writev", "pwritev", "pwritev2", "copy_file_range", "sendfile", "fallocate", "mmap")
_SIZES = ("truncate", "ftruncate", "lseek")
_SYNCS = ("fsync", "fdatasync", "sync_file_range")
_NAMES = ("open", "openat", "creat", "rename", "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat")
_DIRECTORIES = ("mkdir", "mkdirat", "rmdir")
CALLS = (*_CHANGES, *_SIZES, *_SYNCS, *_NAMES, *_DIRECTORIES, "sendto", "sendmsg")
"""The system calls that change a file or send data; a change that the replay does not implement is an error."""


@dataclass(slots=True)
class File:
    """A file's bytes.

    Attributes:
        synced: The bytes that are certainly on disk.
        size: The file's size as processes see it.
        changes: Changes since the last sync: (offset, bytes written there), or (size, None) for a truncation or
            extension.
    """

    synced: bytearray = field(default_factory=bytearray)
    size: int = 0
    changes: list[tuple[int, bytes | None]] = field(default_factory=list)

    def write(self, offset: int, data: bytes) -> None:

        self.changes.append((offset, data))
        self.size = max(self.size, offset + len(data))

    def resize(self, size: int) -> None:

        self.changes.append((size, None))
        self.size = size

    def sync(self, count: int) -> None:
        """Put the first `count` changes on disk."""
        for change in self.changes[:count]:
            _apply(self.synced, *change)
        del self.changes[:count]

    def after_loss(self, rng: random.Random | None) -> bytes:
        """Return the bytes after a power loss: the synced ones, and with a generator a random part of the others."""
        left = bytearray(self.synced)
        if rng is None:
            return bytes(left)
        whole = bytearray(self.content())
        if whole.startswith(left) and len(whole) > len(left):  # only appends: a random prefix of them survives
            return bytes(whole[: rng.randint(len(left), len(whole))])
        for change in self.changes:
            if rng.random() < 0.5:
                _apply(left, *change)
        return bytes(left)

    def content(self) -> bytes:
        """Return the bytes that processes see."""
        seen = bytearray(self.synced)
        for change in self.changes:
            _apply(seen, *change)
        return bytes(seen)


@dataclass(slots=True)
class Directory:
    """A directory's names: those certainly on disk, those that processes see, and the changes since the last sync."""

    synced: dict[str, "File | Directory"] = field(default_factory=dict)
    names: dict[str, "File | Directory"] = field(default_factory=dict)
    changes: list[dict[str, "File | Directory | None"]] = field(default_factory=list)

    def change(self, changed: dict[str, "File | Directory | None"]) -> None:
        """Change several names in one step; None removes a name."""
        self.changes.append(changed)
        _rename(self.names, changed)

    def sync(self, count: int) -> None:
        """Put the first `count` changes on disk."""
        for changed in self.changes[:count]:
            _rename(self.synced, changed)
        del self.changes[:count]

    def after_loss(self, rng: random.Random | None) -> dict[str, "File | Directory"]:
        """Return the names after a power loss: the synced ones, and with a generator a random number of the next."""
        left = dict(self.synced)
        for changed in self.changes[: rng.randint(0, len(self.changes)) if rng is not None else 0]:
            _rename(left, changed)
        return left


class Disk:
    """A directory as processes see it, and as a power loss would leave it.

    Args:
        root: The directory's path; its present content counts as synced.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._content = _load(root)
        self._positions: dict[int, int | None] = {}
        self._begun: dict[int, tuple[File | Directory, int]] = {}

    def begin(self, call: SystemCall) -> None:
        """Note the begin of a system call: a sync covers the changes before it."""
        if call.name in {"fsync", "fdatasync"} and (node := self._find(call)) is not None:
            self._begun[call.begun] = (node, len(node.changes))

    def end(self, call: SystemCall) -> None:
        """Note the return of a system call: from now on processes see its effect."""
        if call.result is None or call.result < 0:
            self._begun.pop(call.begun, None)
            return
        handler = getattr(self, f"_{call.name.removesuffix('at').removesuffix('64')}", self._reject)
        handler(call)

    def find(self, path: Path) -> "File | Directory | None":
        return self._walk(str(path))

    def leave(self, place: Path, rng: random.Random | None = None) -> None:
        """Write the content that a power loss leaves into an empty directory.

        Args:
            place: The empty directory.
            rng: Decides which unsynced changes survive; with None, none does.
        """
        _write(self._content, place, rng)

    def _open(self, call: SystemCall) -> None:
        directory, name = self._parent(call.strings[0].decode())
        assert call.result is not None
        self._positions[call.result] = None if "O_APPEND" in call.arguments else 0
        if directory is None:
            return
        node = directory.names.get(name)
        if node is None:
            directory.change({name: File()})
        elif "O_TRUNC" in call.arguments and isinstance(node, File):
            node.resize(0)

    def _write(self, call: SystemCall) -> None:
        file = self._find(call)
        assert call.descriptor is not None
        assert call.result is not None
        if isinstance(file, File):
            position = self._positions.get(call.descriptor, 0)
            offset = file.size if position is None else position
            file.write(offset, call.data[: call.result])
            if position is not None:
                self._positions[call.descriptor] = position + call.result

    _writev = _write

    def _pwrite(self, call: SystemCall) -> None:
        file = self._find(call)
        if isinstance(file, File):
            file.write(int(call.arguments.rpartition(", ")[2]), call.data[: call.result])

    def _lseek(self, call: SystemCall) -> None:
        if call.descriptor is not None and self._positions.get(call.descriptor) is not None:
            self._positions[call.descriptor] = call.result

    def _ftruncate(self, call: SystemCall) -> None:
        file = self._find(call)
        if isinstance(file, File):
            file.resize(int(call.arguments.rpartition(", ")[2]))

    def _fallocate(self, call: SystemCall) -> None:
        file = self._find(call)
        if isinstance(file, File):
            _, mode, offset, length = call.arguments.rsplit(", ", 3)
            if mode == "0":
                file.resize(max(file.size, int(offset) + int(length)))

    def _fsync(self, call: SystemCall) -> None:
        node, count = self._begun.pop(call.begun, (None, 0))
        if node is not None:
            node.sync(count)

    _fdatasync = _fsync

    def _rename(self, call: SystemCall) -> None:
        (source, old), (target, new) = (self._parent(text.decode()) for text in call.strings)
        if source is None or target is None:
            return
        if source is not target:
            raise ValueError(f"renamed to another directory: {call.arguments}")
        source.change({new: source.names[old], old: None})

    def _link(self, call: SystemCall) -> None:
        (source, old), (target, new) = (self._parent(text.decode()) for text in call.strings)
        if source is not None and target is not None:
            target.change({new: source.names[old]})

    def _unlink(self, call: SystemCall) -> None:
        directory, name = self._parent(call.strings[0].decode())
        if directory is not None:
            directory.change({name: None})

    _rmdir = _unlink

    def _mkdir(self, call: SystemCall) -> None:
        directory, name = self._parent(call.strings[0].decode())
        if directory is not None:
            directory.change({name: Directory()})

    def _sendto(self, call: SystemCall) -> None:
        """Change no file."""

    _sendmsg = _sendto

    def _mmap(self, call: SystemCall) -> None:
        if "MAP_SHARED" in call.arguments and "PROT_WRITE" in call.arguments and self._find(call) is not None:
            self._reject(call)

    def _reject(self, call: SystemCall) -> None:
        if self._find(call) is not None:
            raise ValueError(f"the replay does not implement {call.name}({call.arguments[:200]})")

    def _find(self, call: SystemCall) -> File | Directory | None:
        return self._walk(call.paths[0]) if call.paths else None

    def _parent(self, path: str) -> tuple[Directory | None, str]:
        directory, _, name = path.rpartition("/")
        found = self._walk(directory)
        return (found if isinstance(found, Directory) else None), name

    def _walk(self, path: str) -> File | Directory | None:
        """Return the file or directory at an absolute path; None when it is outside this directory."""
        if path != str(self._root) and not path.startswith(f"{self._root}/"):
            return None
        node: File | Directory | None = self._content
        for name in Path(path).relative_to(self._root).parts:
            node = node.names.get(name) if isinstance(node, Directory) else None
        return node


def replay(disk: Disk, calls: Iterable[SystemCall]) -> Iterator[SystemCall]:
    """Play a run's system calls; yield each one when it begins, before it has any effect on the disk."""
    steps: list[tuple[int, bool, SystemCall]] = []
    for call in calls:
        steps.append((call.begun, False, call))
        if call.ended is not None:
            steps.append((call.ended, True, call))
    for _, is_end, call in sorted(steps, key=lambda step: step[:2]):
        if is_end:
            disk.end(call)
        else:
            disk.begin(call)
            yield call


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    end = offset if data is None else offset + len(data)
    content.extend(bytes(max(0, end - len(content))))
    if data is None:
        del content[offset:]
    else:
        content[offset:end] = data


def _rename(names: dict[str, Any], changed: dict[str, Any]) -> None:
    for name, node in changed.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


def _load(path: Path) -> Directory:
    names: dict[str, File | Directory] = {}
    for child in path.iterdir():
        if child.is_dir():
            names[child.name] = _load(child)
        else:
            content = child.read_bytes()
            names[child.name] = File(bytearray(content), len(content))
    return Directory(dict(names), names)


def _write(directory: Directory, place: Path, rng: random.Random | None) -> None:
    for name, node in directory.after_loss(rng).items():
        path = place / name
        if isinstance(node, Directory):
            path.mkdir()
            _write(node, path, rng)
        else:
            path.write_bytes(node.after_loss(rng))
