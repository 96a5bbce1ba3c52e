"""What a user's INPUT means: paths and their names, URLs, globs; which files of a tree are pages."""

import fnmatch
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from pipeline.errors import UsageError
from pipeline.wire import is_url

IMAGE_SUFFIXES: Final = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".webp", ".bmp", ".dib", ".tif", ".tiff")
"""What makes a file in a directory a page, unless `include` globs decide; compared in lower case."""


InputKind = Literal["directory", "file", "glob", "manifest", "stdin", "url"]


@dataclass(frozen=True, slots=True)
class Input:
    """One INPUT of the command line.

    Attributes:
        text: As it was given.
        kind: What it is.
        base: The absolute directory that its names and relative entries are seen from.
        path: What to list or read, absolute; the URL itself for a URL.
        pattern: Of a glob, relative to `base`.
    """

    text: str
    kind: InputKind
    base: str
    path: str = ""
    pattern: str | None = None


@dataclass(frozen=True, slots=True)
class Inputs:
    """All INPUTs of a run.

    Attributes:
        root: The directory that all INPUTs share; include and exclude globs are relative to it.
        items: In the order given.
        names_root: What the names of files are relative to; None is `root`.
    """

    root: Path
    items: tuple[Input, ...]
    names_root: Path | None = None

    def name(self, path: str) -> str:
        """Return what a file at this absolute path is called in records: relative below the root, else absolute."""
        root = str(self.names_root or self.root)
        return "." if path == root else below(root, path)


def absolute(base: str, path: str) -> str:
    """Return the path as `os.path.abspath` would from this absolute directory; links stay as they are named."""
    # POSIX gives two leading slashes a meaning of their own; here they would make two names of one file.
    return "/" + os.path.normpath(join(base, path)).lstrip("/")


def below(directory: str, path: str) -> str:
    """Return the absolute path relative to the directory if it lies below it, else as it is."""
    return path.removeprefix(join(directory, ""))


def join(directory: str, path: str) -> str:
    """Return the path seen from the directory, an absolute path as it is."""
    return path if path.startswith("/") else f"{directory.rstrip('/')}/{path}"


def parse_input(text: str, cwd: str) -> Input | None:
    """Return stdin or a URL, which the text alone tells; None for an INPUT that has to be looked for on the disk.

    Raises:
        UsageError: the text can be no INPUT.
    """
    # An empty INPUT is a shell variable that was never set; read as a path it would be the whole current directory.
    fault = find_fault(text) if text else "an INPUT is empty"
    if fault is not None:
        raise UsageError(f"{text}: {fault}" if text else fault)
    if text == "-":
        return Input(text, "stdin", cwd)
    return Input(text, "url", cwd, text) if is_url(text) else None


def find_fault(target: str) -> str | None:
    """Return why no page can be behind this path or URL, or None when one can."""
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


@dataclass(frozen=True, slots=True)
class Glob:
    """A pattern over `/`-separated paths; a part of None stands for `**`, any number of directories.

    Matched as a set of positions in the pattern, so that several `**` cost no backtracking.
    """

    parts: tuple[re.Pattern[str] | None, ...]

    def matches(self, path: str) -> bool:
        """Return whether the whole relative path matches."""
        if len(self.parts) == 2 and self.parts[0] is None and self.parts[1] is not None:
            return self.parts[1].match(path.rpartition("/")[2]) is not None
        return len(self.parts) in self._positions(path)

    def may_match_below(self, directory: str) -> bool:
        """Return whether some path below this directory can match; False allows to leave the directory out."""
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
    """Return a glob with `*`, `?`, `[…]` within a name and `**` across directories; case counts.

    Args:
        pattern: A `/` at its end means all that is below the directory.
        anchored: False lets a pattern without `/` (but for one at the end) match the base name at any depth.
    """
    names = [name for name in pattern.split("/") if name not in {"", "."}]
    parts = [None if name == "**" else re.compile(fnmatch.translate(name)) for name in names]
    if parts and not anchored and "/" not in pattern.rstrip("/"):
        parts.insert(0, None)
    if parts and pattern.endswith("/"):
        parts.append(None)
    return Glob(tuple(parts))


def split_glob(text: str) -> tuple[str, str] | None:
    """Return (fixed prefix, pattern): the pattern starts at the first name with `*`, `?` or `[`; None without any."""
    names = text.split("/")
    first = next((i for i, name in enumerate(names) if any(char in name for char in "*?[")), None)
    if first is None:
        return None
    return "/".join(names[:first]) or text[: text.startswith("/")], "/".join(names[first:])


@dataclass(frozen=True, slots=True)
class Selection:
    """Which files of a tree are pages, and which directories are worth listing.

    Attributes:
        include: When there are any, they decide instead of the suffix.
        exclude: Win over everything; prune directories.
        pattern: The INPUT itself when it is a glob.
        images_only: Whether, without `include`, only known image suffixes are pages.
    """

    include: tuple[Glob, ...] = ()
    exclude: tuple[Glob, ...] = ()
    pattern: Glob | None = None
    images_only: bool = True

    @classmethod
    def of(cls, include: Sequence[str] = (), exclude: Sequence[str] = (), pattern: str | None = None) -> "Selection":
        """Return the selection that these globs make; a pattern that spells a suffix (`*.jp2`) admits that suffix."""
        suffix = re.search(r"\.[^./]*\Z", pattern or "")
        return cls(
            include=tuple(compile_glob(glob) for glob in include),
            exclude=tuple(compile_glob(glob) for glob in exclude),
            pattern=compile_glob(pattern, anchored=True) if pattern is not None else None,
            images_only=suffix is None or not suffix[0].strip(".*?"),
        )

    def takes(self, name: str, local: str) -> bool:
        """Return whether the file is a page.

        Args:
            name: Relative to the input root: what `include` and `exclude` see.
            local: Relative to the tree's top: what the INPUT's own pattern sees.
        """
        if self.include:
            wanted = any(glob.matches(name) for glob in self.include)
        else:
            wanted = not self.images_only or name.lower().endswith(IMAGE_SUFFIXES)
        return wanted and (self.pattern is None or self.pattern.matches(local)) and not self._excludes(name)

    def descends(self, name: str, local: str) -> bool:
        """Return whether the directory can hold pages; arguments as for `takes`."""
        return not self._excludes(name) and (self.pattern is None or self.pattern.may_match_below(local))

    def _excludes(self, name: str) -> bool:
        return any(glob.matches(name) for glob in self.exclude)
