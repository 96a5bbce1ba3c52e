"""Walks a directory and its subdirectories, in the same order every time."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Literal, NamedTuple

from pipeline.inputs.kinds import (
    SPECIAL_FILE,
    SYMLINK,
    SYSTEM_FOLDER,
    SYSTEM_FOLDERS,
    UNREADABLE,
    NameClass,
    kind_of_name,
)
from pipeline.inputs.selection import Inputs, Selection, join_path, relative_path
from pipeline.storage.files import require_descriptor

_Kind = Literal["folder", "folder link", "file", "link", "broken link", "broken file", "special"]
_FOLDERS: Final = ("folder", "folder link")


class Listing(NamedTuple):
    """The files and subdirectories of one directory.

    Attributes:
        path: The directory.
        files: Names of the files that are or may be pages, in byte order.
        undecided: Those of them whose first bytes decide.
        folders: Names of the subdirectories to list, in descending byte order: the walk pops them from the end.
        ignored: Number of ignored files by kind.
        fault: Why the listing is incomplete; None when it is complete.
    """

    path: str
    files: list[str]
    undecided: frozenset[str]
    folders: list[str]
    ignored: Mapping[str, int]
    fault: str | None


def walk_directory(top: str, inputs: Inputs, selection: Selection, *, follow: bool) -> Iterator[Listing]:
    """List one directory per step, depth first: a directory before its subdirectories.

    Args:
        top: Absolute path of the directory to walk.
        inputs: `include` and `exclude` globs are relative to their root; their workspace is not listed.
        selection: Which files are pages, and which directories are listed.
        follow: True follows symbolic links.

    Raises:
        NoDescriptorsError: the process has no file descriptor left.
    """
    path = top
    above: frozenset[tuple[int, int]] = frozenset()
    unfinished: list[tuple[str, list[str], frozenset[tuple[int, int]]]] = []
    while True:
        # A link to a directory above is not followed: it has no end, and the files below it are listed anyway.
        key = _identify(path) if follow else None
        if key is None or key not in above:
            listing = _list_directory(path, top, inputs, selection, follow=follow)
            unfinished.append((path, listing.folders, above | {key} if key else above))
            yield listing
        else:
            yield Listing(path, [], frozenset(), [], {SYMLINK: 1}, None)
        while unfinished and not unfinished[-1][1]:
            unfinished.pop()
        if not unfinished:
            return
        parent, folders, above = unfinished[-1]
        path = join_path(parent, folders.pop())


def _identify(path: str) -> tuple[int, int] | None:
    try:
        status = Path(path).stat()
    except OSError:  # listing the directory reports it
        return None
    return status.st_dev, status.st_ino


def _list_directory(path: str, top: str, inputs: Inputs, selection: Selection, *, follow: bool) -> Listing:
    listed: list[tuple[str, NameClass]] = []
    folders: list[str] = []
    ignored: Counter[str] = Counter()
    fault = None
    from_root, from_top = (relative_path(base, join_path(path, "")) for base in (str(inputs.root), top))
    workspace = None if inputs.workspace is None else relative_path(path, str(inputs.workspace))
    try:
        with os.scandir(path) as children:
            for child in children:
                name = child.name
                if name.startswith(".") or name == workspace:
                    continue
                kind = _kind(child, follow=follow)
                if kind in _FOLDERS and not selection.may_hold_pages(from_root + name, from_top + name):
                    continue
                says = NameClass.PAGE if kind in _FOLDERS else selection.class_of(from_root + name, from_top + name)
                if says is NameClass.LEFT_OUT:
                    continue
                if (why := _ignored_kind(name, kind, says)) is not None:
                    ignored[why] += 1
                elif kind == "folder":
                    folders.append(name)
                else:
                    listed.append((name, says))
    except OSError as exc:
        require_descriptor(exc)
        fault = exc.strerror or str(exc)
    undecided = frozenset(name for name, says in listed if says is NameClass.UNDECIDED)
    files = sorted((name for name, _ in listed), key=os.fsencode)
    folders.sort(key=os.fsencode, reverse=True)
    return Listing(path, files, undecided, folders, ignored, fault)


def _kind(child: "os.DirEntry[str]", *, follow: bool) -> _Kind:
    try:
        if child.is_dir(follow_symlinks=follow):
            return "folder"
        if child.is_file(follow_symlinks=follow):
            return "file"
        if not follow and child.is_symlink():
            return "folder link" if child.is_dir() else "link"
        if child.is_symlink():
            child.stat()
    except OSError:
        return "broken link" if child.is_symlink() else "broken file"
    return "special"


def _ignored_kind(name: str, kind: _Kind, says: NameClass) -> str | None:
    """Return the kind under which a directory's child is counted as ignored; None when it is listed."""
    match kind:
        case "folder":
            return SYSTEM_FOLDER if name.casefold() in SYSTEM_FOLDERS else None
        case "file":
            return kind_of_name(name) if says is NameClass.IGNORED else None
        case "broken link" | "broken file" if says is NameClass.PAGE:
            return None  # a missing or unreadable page
        case "broken file":
            return UNREADABLE
        case "special":
            return SPECIAL_FILE
        case "link" | "folder link" | "broken link":
            return SYMLINK
