"""Walks a directory and its subdirectories, in the same order every time."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from pipeline.inputs.selection import Inputs, Selection, join_path, relative_path


class Listing(NamedTuple):
    """The pages and subdirectories of one directory.

    Attributes:
        path: The directory.
        files: Names of the files that are pages, in byte order.
        folders: Names of the subdirectories to list, in descending byte order: the walk pops them from the end.
        fault: Why the listing is incomplete; None when it is complete.
    """

    path: str
    files: list[str]
    folders: list[str]
    fault: str | None


def walk_directory(top: str, inputs: Inputs, selection: Selection, *, follow: bool) -> Iterator[Listing]:
    """List one directory per step, depth first: a directory before its subdirectories.

    Args:
        top: Absolute path of the directory to walk.
        inputs: `include` and `exclude` globs are relative to their root.
        selection: Which files are pages, and which directories are listed.
        follow: True follows symbolic links.
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
    files: list[str] = []
    folders: list[str] = []
    fault = None
    from_root, from_top = (relative_path(base, join_path(path, "")) for base in (str(inputs.root), top))
    try:
        with os.scandir(path) as children:
            for child in children:
                if child.name.startswith("."):
                    continue
                kind = _kind(child, follow=follow)
                if kind == "directory" and selection.may_hold_pages(from_root + child.name, from_top + child.name):
                    folders.append(child.name)
                elif kind == "file" and selection.is_page(from_root + child.name, from_top + child.name):
                    files.append(child.name)
    except OSError as exc:
        fault = exc.strerror or str(exc)
    files.sort(key=os.fsencode)
    folders.sort(key=os.fsencode, reverse=True)
    return Listing(path, files, folders, fault)


def _kind(child: "os.DirEntry[str]", *, follow: bool) -> Literal["directory", "file", "other"]:
    try:
        if child.is_dir(follow_symlinks=follow):
            return "directory"
        if child.is_file(follow_symlinks=follow):
            return "file"
        if follow and child.is_symlink():
            child.stat()
    except OSError:  # a link that leads nowhere, or to itself, counts as a missing page instead of being skipped
        return "file"
    return "other"
