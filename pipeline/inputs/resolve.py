"""Finds what each INPUT of the command line is: a directory, a file, a glob, a manifest, stdin or a URL."""

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from pipeline.errors import UnreadableFileError, UsageError
from pipeline.inputs.archives.lookup import find_member, has_members_below, is_archive, split_path
from pipeline.inputs.directory import walk_directory
from pipeline.inputs.kinds import (
    HEAD_BYTES,
    NO_PAGE_SUFFIXES,
    PAGE_SUFFIXES,
    SYSTEM_FOLDER,
    SYSTEM_FOLDERS,
    is_text,
    kind_of_name,
    suffix_of,
)
from pipeline.inputs.manifest import MANIFEST_SUFFIXES, manifest_reader
from pipeline.inputs.rows import ManifestEntry
from pipeline.inputs.selection import (
    FileUrlError,
    Input,
    Inputs,
    Selection,
    SetAside,
    absolute_path,
    is_file_url,
    parse_input,
    path_of_url,
    split_glob,
)
from pipeline.inputs.shard_rows import SHARD_SUFFIX, read_shard_rows
from pipeline.members import Member
from pipeline.storage.files import read_head, require_descriptor
from pipeline.wire import is_url

BLOCK_BYTES: Final = 64 * 1024
_EXAMINED_ROWS: Final = 10_000
"""A list of this many missing files is a list all the same; a text of this many lines is rare."""


def resolve_inputs(
    inputs: Sequence[str], *, cwd: Path | None, column: str | None = None, workspace: Path | None = None
) -> Inputs:
    """Return the kind and path of each INPUT, and their common root.

    Globs are listed up to their first match, and manifests are read up to the first row that shows that they are
    some. An INPUT that is no page and no manifest, as `run *` names them, is set aside when it is beside others.

    Args:
        inputs: As given on the command line; `-` is stdin.
        cwd: The absolute directory that relative INPUTs are relative to; None when it no longer exists.
        column: The column of manifests that names the page; None for the first of the known ones.
        workspace: The run's own workspace; it holds no INPUT.

    Raises:
        UsageError: an INPUT does not exist, cannot be read, matches nothing or is not supported, or all of them were
            set aside; the message names it.
        NoDescriptorsError: the process has no file descriptor left.
    """
    if not inputs:
        raise UsageError("no INPUT given")
    found = [_locate(text, cwd, column, workspace) for text in inputs]
    items = [item for item in found if isinstance(item, Input)]
    set_aside = [item for item in found if isinstance(item, SetAside)]
    if not items:
        raise UsageError(f"{set_aside[0].text}: {set_aside[0].reason}")
    wanted = [item for item in items if not _is_system_folder(item)]
    if wanted:
        reason = "a system folder; name it alone to read it"
        set_aside += [SetAside(item.text, SYSTEM_FOLDER, reason) for item in items if item not in wanted]
    kept = wanted or items
    bases = [item.base for item in kept if item.kind != "url"]
    root = Path(os.path.commonpath(bases or [str(cwd or "/")]))
    return Inputs(root=root, items=tuple(kept), workspace=workspace, set_aside=tuple(set_aside))


def _is_system_folder(item: Input) -> bool:
    return item.kind == "directory" and Path(item.path).name.casefold() in SYSTEM_FOLDERS


def _locate(text: str, cwd: Path | None, column: str | None, workspace: Path | None) -> Input | SetAside:
    if (item := parse_input(text, str(cwd or "/"))) is not None and (cwd is not None or item.kind == "url"):
        return item
    try:
        name = path_of_url(text) if is_file_url(text) else text
    except FileUrlError as exc:
        raise UsageError(f"{text}: {exc}") from exc
    if cwd is None and not name.startswith("/"):
        raise UsageError(f"{text}: the current directory no longer exists")
    path = absolute_path(str(cwd), name)
    try:
        mode = Path(path).stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as exc:
        if isinstance(exc, NotADirectoryError) and (inside := _locate_in_archive(text, path)) is not None:
            return inside
        glob = split_glob(name)
        if glob is None or name != text:
            raise UsageError(f"{text}: no such file or directory") from exc
        return _locate_glob(text, absolute_path(str(cwd), glob[0]), glob[1])
    except OSError as exc:
        raise UsageError(f"{text}: {exc.strerror}") from exc
    if stat.S_ISDIR(mode):
        if workspace is not None and path == str(workspace):
            return SetAside(text, None, "the workspace of this run holds no INPUT")
        return Input(text, "directory", path, path)
    return _locate_file(text, path, column, is_regular=stat.S_ISREG(mode))


def _locate_in_archive(text: str, path: str) -> Input | None:
    """Return the INPUT of a path through an archive: a member or a folder of it; names are relative to its directory.

    Raises:
        UsageError: the archive cannot be read.
    """
    found = find_member(path)
    if isinstance(found, Member):
        return Input(text, "file", str(Path(os.fsdecode(found.archive)).parent), path)
    if isinstance(found, UnreadableFileError):
        raise UsageError(f"{text}: {found}")
    return Input(text, "directory", _real_folder(path), path) if has_members_below(path) else None


def _real_folder(path: str) -> str:
    """Return the directory that holds the archive on the way of a path; other paths unchanged."""
    found = split_path(path)
    return path if found is None else str(Path(found[0]).parent)


def _locate_file(text: str, path: str, column: str | None, *, is_regular: bool) -> Input | SetAside:
    suffix = suffix_of(path)
    if suffix == ".parquet":
        raise UsageError(f"{text}: .parquet is not supported yet")
    if is_regular and suffix == SHARD_SUFFIX:
        return Input(text, "shard", read_shard_rows(Path(path))[0], path)
    if is_regular and suffix not in {*MANIFEST_SUFFIXES, *PAGE_SUFFIXES, *NO_PAGE_SUFFIXES} and is_archive(path):
        return Input(text, "directory", str(Path(path).parent), path)
    if is_regular and suffix in MANIFEST_SUFFIXES:
        try:
            found = _examine_manifest(text, path, column)
        except OSError as exc:
            require_descriptor(exc)
            raise UsageError(f"{text}: {exc.strerror}") from exc
        return Input(text, "manifest", str(Path(path).parent), path) if found is None else found
    if is_regular and suffix not in PAGE_SUFFIXES and _is_text(Path(path)):
        reason = f"a text, and no manifest ({' '.join(MANIFEST_SUFFIXES)})"
        return SetAside(text, kind_of_name(path), reason)
    return Input(text, "file", str(Path(path).parent), path)


def _is_text(path: Path) -> bool:
    try:
        return is_text(read_head(path, HEAD_BYTES))
    except OSError:  # an unreadable page
        return False


def _locate_glob(text: str, prefix: str, pattern: str) -> Input:
    # Follow links and ignore the configuration: only a glob that matches nothing in any case is a mistake.
    listings = walk_directory(prefix, Inputs(Path(prefix), ()), Selection.from_globs(pattern=pattern), follow=True)
    if not any(listing.files for listing in listings):
        raise UsageError(f"{text}: no such file, and as a pattern it matches no image")
    return Input(text, "glob", prefix if Path(prefix).is_dir() else _real_folder(prefix), prefix, pattern)


# --- Is it a manifest? -----------------------------------------------------------------------------------------------


def _examine_manifest(text: str, path: str, column: str | None) -> SetAside | None:
    """Return None for a manifest, else why the file is none.

    A table is one by its header, JSON lines by their fields. Any text has lines: it is a list when one of them names an
    existing file or a URL, or most end with the suffix of an image (their disk may not be mounted), or there is none.

    Raises:
        UsageError: a table has no column of the name that was given.
        OSError: the file cannot be read.
    """
    suffix = suffix_of(path)
    if suffix == ".txt":
        return _examine_list(text, path)
    entries = _read_entries(text, path, column)
    if suffix != ".jsonl":
        try:
            next(entries, None)
        except UsageError as exc:
            if column is not None:
                raise
            return SetAside(text, suffix, str(exc).removeprefix(f"{text}: "))
        return None
    first: ManifestEntry | None = None
    for _, entry in zip(range(_EXAMINED_ROWS), entries, strict=False):
        first = first or entry
        if entry.target is not None:
            return None
    return None if first is None else SetAside(text, suffix, f"no line names a page (the first: {first.problem})")


def _examine_list(text: str, path: str) -> SetAside | None:
    lines, images = 0, 0
    base = str(Path(path).parent)
    for entry in _read_entries(text, path, None):
        lines += 1
        if lines > _EXAMINED_ROWS:
            return None
        if entry.target is not None:
            if is_url(entry.target) or _is_file(base, entry.target):
                return None
            images += suffix_of(entry.target) in PAGE_SUFFIXES
    if 2 * images > lines or not lines:
        return None
    reason = "its line names no existing file" if lines == 1 else f"none of its {lines} lines names an existing file"
    return SetAside(text, ".txt", reason)


def _is_file(base: str, target: str) -> bool:
    for name in dict.fromkeys((target, target.strip())):
        try:
            if not stat.S_ISDIR(Path(path := absolute_path(base, name)).stat().st_mode):
                return True
        except NotADirectoryError:
            if isinstance(find_member(path), Member):
                return True
        except (OSError, ValueError):
            continue
    return False


def _read_entries(text: str, path: str, column: str | None) -> Iterator[ManifestEntry]:
    """Yield the entries of a manifest, block by block; UsageError for a table without a usable header."""
    reader = manifest_reader(suffix_of(path), text, column)
    with Path(path).open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            yield from reader.feed(block)
    yield from reader.close()
