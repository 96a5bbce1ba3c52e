"""INPUTs and the selection of pages: path names, URLs, globs, `include` and `exclude`."""

import fnmatch
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote_to_bytes, urlsplit

from pipeline.config.shard import Shard
from pipeline.errors import UsageError
from pipeline.inputs.kinds import NameClass, class_of_name, is_archive_name
from pipeline.wire import is_url

InputKind = Literal["directory", "file", "glob", "manifest", "shard", "stdin", "url"]


class FileUrlError(ValueError):
    """A file URL names no file of this machine; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Input:
    """One INPUT of the command line.

    Attributes:
        text: The argument as given.
        kind: Its kind.
        base: The absolute directory that relative paths in it are relative to.
        path: Absolute path to list or read; the URL for a URL.
        pattern: The pattern of a glob, relative to `base`.
    """

    text: str
    kind: InputKind
    base: str
    path: str = ""
    pattern: str | None = None


@dataclass(frozen=True, slots=True)
class SetAside:
    """An INPUT beside others that is not read.

    Attributes:
        text: The argument as given.
        kind: The kind under which it is counted as ignored; None for the workspace, which counts nowhere.
        reason: Why it is not read.
    """

    text: str
    kind: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Inputs:
    """All INPUTs of a run.

    Attributes:
        root: The lowest directory that contains all INPUTs; include and exclude globs are relative to it.
        items: In the order given.
        names_root: The directory that source names are relative to; None stands for `root`.
        workspace: The run's own workspace, which is not walked; None for none.
        set_aside: INPUTs that are not read.
        shard: The part of the files that the run takes; None for all.
    """

    root: Path
    items: tuple[Input, ...]
    names_root: Path | None = None
    workspace: Path | None = None
    set_aside: tuple[SetAside, ...] = ()
    shard: Shard | None = None

    @property
    def has_stdin(self) -> bool:
        """True when an INPUT is a stream that can be read once."""
        return any(item.kind == "stdin" for item in self.items)

    def folder_names(self) -> list[str]:
        """Return the source names of the INPUTs that are directories; "." is the one that names are relative to."""
        return [self.source_name(item.path) for item in self.items if item.kind == "directory"]

    def source_name(self, path: str) -> str:
        """Return the source name of a file: relative to the root when it is below the root, else its absolute path."""
        root = str(self.names_root or self.root)
        return "." if path == root else relative_path(root, path)

    def takes(self, source: str) -> bool:
        """Return whether the run takes a file, by its source name; the members of an archive stay together."""
        return self.shard is None or self.shard.takes(shard_key(source))


def shard_key(source: str) -> bytes:
    """Return the bytes that decide about the shard of a source name.

    They end with the first name in it that is an archive's: a folder of such a name stays together, too.
    """
    names = source.split("/")
    end = next((number for number, name in enumerate(names, 1) if is_archive_name(name)), len(names))
    return "/".join(names[:end]).encode("utf-8", "surrogateescape")


def absolute_path(base: str, path: str) -> str:
    """Return a normalised path, relative to an absolute directory; symbolic links are not resolved."""
    # normpath keeps two leading slashes, as POSIX demands; a file would have two names.
    return "/" + os.path.normpath(join_path(base, path)).lstrip("/")


def relative_path(directory: str, path: str) -> str:
    """Return an absolute path relative to a directory when it is below the directory, else unchanged."""
    return path.removeprefix(join_path(directory, ""))


def join_path(directory: str, path: str) -> str:
    """Return a path below a directory; an absolute path unchanged."""
    return path if path.startswith("/") else f"{directory.rstrip('/')}/{path}"


def parse_input(text: str, cwd: str) -> Input | None:
    """Return the INPUT when it is stdin or a URL; None for a path, whose kind only the filesystem knows.

    Raises:
        UsageError: the text is not a valid INPUT.
    """
    # An empty argument comes from an unset shell variable; as a path it would mean the whole current directory.
    fault = find_fault(text) if text else "an INPUT is empty"
    if fault is not None:
        raise UsageError(f"{text}: {fault}" if text else fault)
    if text == "-":
        return Input(text, "stdin", cwd)
    return Input(text, "url", cwd, text) if is_url(text) else None


def find_fault(target: str) -> str | None:
    """Return why a path or URL cannot name a page; None when it can."""
    if "\0" in target:
        return "NUL in the path"
    if target[:5].lower() in {"s3://", "gs://", "az://"}:
        return f"{target[:5].lower()} is not supported yet"
    if is_url(target):
        try:
            return None if urlsplit(target).hostname and target.isprintable() else "not a URL"
        except ValueError:
            return "not a URL"
    return None


def is_file_url(text: str) -> bool:
    """Return whether a file is given by a file URL; `file:1.png` without a slash is a file's name."""
    return text[:6].lower() == "file:/"


def path_of_url(url: str) -> str:
    """Return the absolute path that a file URL names; its bytes that are not UTF-8 become surrogate escapes.

    Raises:
        FileUrlError: it names a file of another host, or no path.

    Source:
        RFC 8089: `file:///path`, `file://localhost/path` and `file:/path` are the same; the path is percent-encoded.
    """
    path = url[len("file:") :]
    if path.startswith("//"):
        host, slash, rest = path[2:].partition("/")
        if host.lower() not in {"", "localhost"}:
            raise FileUrlError(f"file://{host}: a file of another host")
        path = slash + rest
    if not path.strip("/"):
        raise FileUrlError("a file URL without a path")
    return os.fsdecode(unquote_to_bytes(path.encode("utf-8", "surrogateescape")))


@dataclass(frozen=True, slots=True)
class Glob:
    """A pattern over `/`-separated paths; None among its parts stands for `**`, any number of directories.

    Matching keeps the set of possible positions in the pattern, so several `**` need no backtracking.
    """

    parts: tuple[re.Pattern[str] | None, ...]

    def matches(self, path: str) -> bool:
        """Return True when the whole relative path matches."""
        if len(self.parts) == 2 and self.parts[0] is None and self.parts[1] is not None:
            return self.parts[1].match(path.rpartition("/")[2]) is not None
        return len(self.parts) in self._positions(path)

    def may_match_below(self, directory: str) -> bool:
        """Return False when no path below this directory can match, so that it need not be listed."""
        return any(position < len(self.parts) for position in self._positions(directory))

    def _positions(self, path: str) -> set[int]:
        positions = self._with_empty_spans({0})
        for part in path.split("/"):
            step: set[int] = set()
            for position in positions:
                if position < len(self.parts):
                    pattern = self.parts[position]
                    if pattern is None:
                        step.add(position)
                    elif pattern.match(part):
                        step.add(position + 1)
            positions = self._with_empty_spans(step)
        return positions

    def _with_empty_spans(self, positions: set[int]) -> set[int]:
        for start in tuple(positions):
            position = start
            while position < len(self.parts) and self.parts[position] is None:
                position += 1
                positions.add(position)
        return positions


def compile_glob(pattern: str, *, anchored: bool = False) -> Glob:
    """Return a glob with `*`, `?`, `[…]` within a name and `**` across directories; it is case-sensitive.

    Args:
        pattern: A `/` at its end matches everything below the directory.
        anchored: False lets a pattern without `/`, except one at its end, match the base name at any depth.
    """
    names = [name for name in pattern.split("/") if name not in {"", "."}]
    parts = [None if name == "**" else re.compile(fnmatch.translate(name)) for name in names]
    if parts and not anchored and "/" not in pattern.rstrip("/"):
        parts.insert(0, None)
    if parts and pattern.endswith("/"):
        parts.append(None)
    return Glob(tuple(parts))


def split_glob(text: str) -> tuple[str, str] | None:
    """Split before the first name with `*`, `?` or `[`: return (fixed prefix, pattern), or None without such a name."""
    names = text.split("/")
    first = next((i for i, name in enumerate(names) if any(char in name for char in "*?[")), None)
    if first is None:
        return None
    return "/".join(names[:first]) or text[: text.startswith("/")], "/".join(names[first:])


@dataclass(frozen=True, slots=True)
class Selection:
    """Which files below a directory are pages by their name, and which directories may hold some.

    Attributes:
        include: When there are any, they decide instead of suffix and content.
        exclude: Take precedence over all others, and exclude whole directories.
        pattern: The INPUT's pattern when it is a glob.
        images_only: True lets suffix and content decide when there is no `include`.
    """

    include: tuple[Glob, ...] = ()
    exclude: tuple[Glob, ...] = ()
    pattern: Glob | None = None
    images_only: bool = True

    @classmethod
    def from_globs(
        cls, include: Sequence[str] = (), exclude: Sequence[str] = (), pattern: str | None = None
    ) -> "Selection":
        """Return the selection of these globs; a pattern that ends with a suffix (`*.jp2`) admits that suffix."""
        suffix = re.search(r"\.[^./]*\Z", pattern or "")
        return cls(
            include=tuple(compile_glob(glob) for glob in include),
            exclude=tuple(compile_glob(glob) for glob in exclude),
            pattern=compile_glob(pattern, anchored=True) if pattern is not None else None,
            images_only=suffix is None or not suffix[0].strip(".*?"),
        )

    def class_of(self, from_root: str, from_top: str) -> NameClass:
        """Return what the name of a file says about it.

        Args:
            from_root: Its path relative to the input root; `include` and `exclude` are matched with it.
            from_top: Its path relative to the directory walked; the INPUT's pattern is matched with it.
        """
        if (self.pattern is not None and not self.pattern.matches(from_top)) or self._excludes(from_root):
            return NameClass.LEFT_OUT
        if self.include:
            return NameClass.PAGE if any(glob.matches(from_root) for glob in self.include) else NameClass.LEFT_OUT
        return class_of_name(from_root) if self.images_only else NameClass.PAGE

    def may_hold_pages(self, from_root: str, from_top: str) -> bool:
        """Return False when no file below the directory can be a page; arguments as for `class_of`."""
        return not self._excludes(from_root) and (self.pattern is None or self.pattern.may_match_below(from_top))

    def may_open(self, from_root: str, from_top: str) -> bool:
        """Return False when no member of the archive can be a page; arguments as for `class_of`."""
        is_named = self.pattern is not None and self.pattern.matches(from_top)
        return self.may_hold_pages(from_root, from_top) or (is_named and not self._excludes(from_root))

    def _excludes(self, name: str) -> bool:
        return any(glob.matches(name) for glob in self.exclude)
