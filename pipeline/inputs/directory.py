"""Walks a directory and its subdirectories, in the same order every time."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from pipeline.inputs.archives.entries import NotAnArchiveError
from pipeline.inputs.archives.walk import list_archive
from pipeline.inputs.kinds import (
    OTHER_SHARD,
    OUTPUT_FOLDER,
    OUTPUT_MARKS,
    SPECIAL_FILE,
    SYMLINK,
    SYSTEM_FOLDER,
    SYSTEM_FOLDERS,
    UNREADABLE,
    NameClass,
    is_archive_name,
    kind_of_name,
)
from pipeline.inputs.listings import Listing
from pipeline.inputs.selection import Inputs, Selection, join_path, relative_path
from pipeline.storage.files import require_descriptor

_Kind = Literal["folder", "folder link", "file", "link", "broken link", "broken file", "special"]
_FOLDERS: Final = ("folder", "folder link")


def walk_directory(top: str, inputs: Inputs, selection: Selection, *, follow: bool) -> Iterator[Listing]:
    """List one directory per step, depth first: a directory before its subdirectories. Archives are directories.

    Args:
        top: Absolute path of the directory, of the archive or of the folder in an archive to walk.
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
            try:
                listing = _list_directory(path, top, inputs, selection, follow=follow)
            except NotADirectoryError as exc:
                yield from _list_archive(path, top, inputs, selection, exc)
            else:
                unfinished.append((path, listing.folders, above | {key} if key else above))
                yield listing
        else:
            yield Listing(path, [], frozenset(), [], _count_one(path, SYMLINK, inputs), None)
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


@dataclass(slots=True)
class _Found:
    """What a directory holds, as far as it was scanned."""

    listed: list[tuple[str, NameClass]] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    is_output: bool = False


def _list_directory(path: str, top: str, inputs: Inputs, selection: Selection, *, follow: bool) -> Listing:
    found, fault = _Found(), None
    try:
        _scan(path, top, inputs, selection, found, follow=follow)
    except NotADirectoryError:
        raise
    except OSError as exc:
        require_descriptor(exc)
        fault = exc.strerror or str(exc)
    if found.is_output and path != top:  # one that is named as an INPUT is read
        return Listing(path, [], frozenset(), [], _count_one(path, OUTPUT_FOLDER, inputs), fault)
    undecided = frozenset(name for name, says in found.listed if says is NameClass.UNDECIDED)
    files = sorted((name for name, _ in found.listed), key=os.fsencode)
    found.folders.sort(key=os.fsencode, reverse=True)
    return Listing(path, files, undecided, found.folders, found.ignored, fault)


def _scan(path: str, top: str, inputs: Inputs, selection: Selection, found: _Found, *, follow: bool) -> None:
    from_root, from_top = (relative_path(base, join_path(path, "")) for base in (str(inputs.root), top))
    workspace = None if inputs.workspace is None else relative_path(path, str(inputs.workspace))
    with os.scandir(path) as children:
        for child in children:
            name = child.name
            if name.startswith(".") or name == workspace:
                found.is_output |= name in OUTPUT_MARKS
                continue
            kind = _kind(child, follow=follow)
            if kind in _FOLDERS and not selection.may_hold_pages(from_root + name, from_top + name):
                continue
            if kind == "file" and is_archive_name(name):  # listing it tells whether it is one
                found.folders += [name] if selection.may_open(from_root + name, from_top + name) else []
                continue
            says = NameClass.PAGE if kind in _FOLDERS else selection.class_of(from_root + name, from_top + name)
            if says is NameClass.LEFT_OUT:
                continue
            why = _ignored_kind(name, kind, says)
            if kind == "folder" and why is None:
                found.folders.append(name)
            elif inputs.shard is not None and not inputs.takes(inputs.source_name(join_path(path, name))):
                if why is None:
                    found.ignored[OTHER_SHARD] += 1
            elif why is not None:
                found.ignored[why] += 1
            else:
                found.listed.append((name, says))


def _list_archive(
    path: str, top: str, inputs: Inputs, selection: Selection, error: NotADirectoryError
) -> Iterator[Listing]:
    """List an archive, or a folder in one; a file that has only the name of an archive is listed as a file."""
    if not inputs.takes(inputs.source_name(path)):
        yield Listing(path, [], frozenset(), [], {OTHER_SHARD: 1}, None)
        return
    try:
        yield from list_archive(path, top, inputs, selection)
    except NotAnArchiveError:
        folder, _, name = path.rpartition("/")
        says = selection.class_of(relative_path(str(inputs.root), path), relative_path(top, path))
        if path == top:
            yield Listing(path, [], frozenset(), [], {}, error.strerror)
        elif says is not NameClass.LEFT_OUT:
            undecided = frozenset([name] if says is NameClass.UNDECIDED else [])
            yield Listing(folder, [name], undecided, [], {}, None)


def _count_one(path: str, kind: str, inputs: Inputs) -> dict[str, int]:
    """Count a folder that every shard meets in one of them."""
    return {kind: 1} if inputs.takes(inputs.source_name(path)) else {}


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
