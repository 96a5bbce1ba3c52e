"""The index of a workspace as it is now, for commands that change and lock nothing."""

from collections.abc import Callable, Generator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from pipeline.errors import StorageError
from pipeline.workspace.index import Index, copy_index


@contextmanager
def open_snapshot(workspace: Path) -> Generator[Index]:
    """Open an index that has read all lines of a workspace; a run may begin or go on at any time.

    When the index has not read all lines, a copy of it reads the rest. Without space for a copy, the index is that of
    its last commit.

    Raises:
        StorageError: the workspace cannot be read.
    """
    with ExitStack() as stack:
        yield _open(stack, workspace)


def _open(stack: ExitStack, workspace: Path) -> Index:
    try:
        index = stack.enter_context(closing(Index.open_read_only(workspace)))
    except StorageError:  # it is missing, damaged or of an earlier release, or a crash cut off a commit
        return _open_copy(stack, workspace, partial(copy_index, workspace))
    if not index.is_current():
        with suppress(StorageError):
            return _open_copy(stack, workspace, index.copy_to)
    return index


def _open_copy(stack: ExitStack, workspace: Path, copy_to: Callable[[Path], Path]) -> Index:
    try:
        directory = stack.enter_context(TemporaryDirectory(prefix="pagemill-"))
        return stack.enter_context(closing(Index.open(workspace, copy_to(Path(directory)))))
    except OSError as exc:
        raise StorageError(f"{exc.filename or gettempdir()}: {exc.strerror or exc}") from exc
