"""The index of a workspace as it is now, for commands that change and lock nothing."""

import shutil
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Final

from pipeline.errors import StorageError
from pipeline.workspace.index import Index
from pipeline.workspace.paths import INDEX

_LARGE_BYTES: Final = 32 * 1024 * 1024
"""An index whose copy takes too long for `status`: some 200,000 pages."""


@contextmanager
def open_snapshot(workspace: Path, *, copies_large: bool = True, notices_edits: bool = False) -> Generator[Index]:
    """Open an index that has read all lines of a workspace; a run may begin or go on at any time.

    When the index has not read all lines, a copy of it reads the rest. Without space for a copy, the index is that of
    its last commit.

    Args:
        workspace: The directory.
        copies_large: False takes a large index as of its last commit, at most some hundred pages ago during a run.
        notices_edits: True reads all lines anew when another program has written their files, as a run does.

    Raises:
        StorageError: the workspace cannot be read.
    """
    with ExitStack() as stack:
        yield _open(stack, workspace, copies_large=copies_large, notices_edits=notices_edits)


def _open(stack: ExitStack, workspace: Path, *, copies_large: bool, notices_edits: bool) -> Index:
    try:
        index = stack.enter_context(closing(Index.open_read_only(workspace)))
        is_behind = not index.is_current() or (notices_edits and index.may_be_edited())
        reads_on = is_behind and (copies_large or (workspace / INDEX).stat().st_size < _LARGE_BYTES)
        if not reads_on:
            index.keep_counts()
            return index
    except StorageError:  # it is missing, damaged or of an earlier release, or a crash cut off a commit
        return _open_copy(stack, workspace, partial(copy_index, workspace))
    with suppress(StorageError):
        return _open_copy(stack, workspace, index.copy_to)
    index.keep_counts()
    return index


def _open_copy(stack: ExitStack, workspace: Path, copy_to: Callable[[Path], Path]) -> Index:
    try:
        directory = stack.enter_context(TemporaryDirectory(prefix="pagemill-"))
        return stack.enter_context(closing(Index.open(workspace, copy_to(Path(directory)))))
    except OSError as exc:
        raise StorageError(f"{exc.filename or gettempdir()}: {exc.strerror or exc}") from exc


def copy_index(workspace: Path, directory: Path) -> Path:
    """Copy the index of a workspace that no run holds; return the copy's path, which does not exist without an index.

    Raises:
        StorageError: the index cannot be copied.
    """
    try:
        for name in (INDEX, f"{INDEX}-journal"):  # a journal that a crash left belongs to the index
            with suppress(FileNotFoundError):
                shutil.copyfile(workspace / name, directory / name)
    except OSError as exc:
        raise StorageError(f"{exc.filename}: {exc.strerror or exc}") from exc
    return directory / INDEX
