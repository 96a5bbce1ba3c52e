"""The files of a directory tree, one directory after another, in an order that never changes."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from pipeline.inputs.selection import Inputs, Selection, below, join


class Listing(NamedTuple):
    """What a directory holds.

    Attributes:
        path: The directory.
        files: Names of those that are pages, in byte order.
        folders: Names of those to go down into, in descending order: they are used up from the end.
        fault: Why it could not be listed to its end; None when it could.
    """

    path: str
    files: list[str]
    folders: list[str]
    fault: str | None


def walk_directory(top: str, inputs: Inputs, selection: Selection, *, follow: bool) -> Iterator[Listing]:
    """List one directory a step: its files, and later those below each of its directories.

    Args:
        top: Absolute.
        inputs: Their root is what the selection's globs are relative to.
        selection: Which files are pages, and which directories are worth listing.
        follow: Whether links are followed.
    """
    path = top
    above: frozenset[tuple[int, int]] = frozenset()
    unfinished: list[tuple[str, list[str], frozenset[tuple[int, int]]]] = []
    while True:
        # A link to a directory that we are in has no end, and all below it is listed already.
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
        path = join(parent, folders.pop())


def _identify(path: str) -> tuple[int, int] | None:
    try:
        status = Path(path).stat()
    except OSError:  # listing it will say what is wrong
        return None
    return status.st_dev, status.st_ino


def _list_directory(path: str, top: str, inputs: Inputs, selection: Selection, *, follow: bool) -> Listing:
    files: list[str] = []
    folders: list[str] = []
    fault = None
    here, local = (below(base, join(path, "")) for base in (str(inputs.root), top))
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                kind = _kind(entry, follow=follow)
                if kind == "directory" and selection.descends(here + entry.name, local + entry.name):
                    folders.append(entry.name)
                elif kind == "file" and selection.takes(here + entry.name, local + entry.name):
                    files.append(entry.name)
    except OSError as exc:
        fault = exc.strerror or str(exc)
    files.sort(key=os.fsencode)
    folders.sort(key=os.fsencode, reverse=True)
    return Listing(path, files, folders, fault)


def _kind(entry: "os.DirEntry[str]", *, follow: bool) -> Literal["directory", "file", "other"]:
    try:
        if entry.is_dir(follow_symlinks=follow):
            return "directory"
        if entry.is_file(follow_symlinks=follow):
            return "file"
        if follow and entry.is_symlink():
            entry.stat()
    except OSError:  # a link to nothing, or to itself: a page that is missing, not one that never was
        return "file"
    return "other"
