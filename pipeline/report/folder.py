"""The folder of a report: `index.html` names a directory with the rest, so that replacing it replaces the report.

A build writes a directory of its own beside the last one. What a killed build leaves is removed by the next one.
"""

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, Self

from pipeline.errors import StorageError, UsageError
from pipeline.inputs.kinds import REPORT_MARK
from pipeline.storage.files import read_head, replace_file
from pipeline.workspace.lock import NO_LOCKS

INDEX: Final = "index.html"
MARK: Final = REPORT_MARK
"""Says that a folder is a report, and of which workspace."""

_BUILD: Final = "build-"
_LOCK: Final = ".build.lock"
_BEGUN: Final = frozenset({_LOCK, f".{MARK}.new"})
"""Files of a build that a kill or a full disk has ended before the folder had its mark."""


class ReportFolder:
    """A folder that holds a report, or will; a context manager that lets one build at a time write it.

    Args:
        path: The folder.
        workspace_id: Of the workspace that it shows.
    """

    def __init__(self, path: Path, workspace_id: str) -> None:
        self.path = path
        self._workspace_id = workspace_id
        self.build = path / f"{_BUILD}{secrets.token_hex(4)}"
        """The directory of this build."""
        self._context = ExitStack()
        self._is_shown = False

    def __repr__(self) -> str:
        return f"<ReportFolder {self.path}>"

    def __enter__(self) -> Self:
        """Begin a build.

        Raises:
            UsageError: it holds something else, or the report of another workspace, or another build writes it.
            StorageError: it cannot be written.
        """
        _require_report(self.path, self._workspace_id)
        create_folder(self.path)
        with ExitStack() as context:
            context.enter_context(lock_file(self.path / _LOCK, waits=False))
            replace_file(self.path / MARK, json.dumps({"workspace": self._workspace_id}).encode())
            create_folder(self.build)
            self._context = context.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """End the build; one that is not shown is removed, and the last one stays."""
        if not self._is_shown:
            shutil.rmtree(self.build, ignore_errors=True)
        self._context.close()

    def finish(self, html: bytes) -> None:
        """Show this build instead of the last one, which is removed.

        Raises:
            StorageError: the page cannot be written.
        """
        sync_folder(self.build)
        replace_file(self.path / INDEX, html)
        self._is_shown = True
        self._remove_builds(but=self.build.name)

    def _remove_builds(self, but: str) -> None:
        for entry in self.path.glob(f"{_BUILD}*"):
            if entry.name != but:
                shutil.rmtree(entry, ignore_errors=True)


@contextmanager
def lock_file(path: Path, *, waits: bool) -> Generator[None]:
    """Hold the lock of a file in a report's folder; on a filesystem without locks nothing is held.

    Args:
        path: The file, made when it is missing.
        waits: True waits for another holder's end.

    Raises:
        UsageError: another process holds it.
        StorageError: the file cannot be opened.
    """
    try:
        file = path.open("ab")
    except OSError as exc:
        raise StorageError(f"{path}: {exc.strerror or exc}") from exc
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if waits else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise UsageError(f"{path.parent}: another report is being written there; wait for its end") from exc
        except OSError as exc:
            if exc.errno not in NO_LOCKS:
                raise StorageError(f"{path}: {exc.strerror or exc}") from exc
        yield


def is_report_of(path: Path, workspace_id: str) -> bool:
    """Return whether a folder holds the report of a workspace."""
    try:
        return path.joinpath(MARK).exists() and _read_mark(path) == workspace_id
    except UsageError:
        return False


def create_folder(path: Path) -> None:
    """Make a folder, where it is missing.

    Raises:
        StorageError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise StorageError(f"{path}: {exc.strerror or exc}") from exc


def write_file(path: Path, content: bytes) -> None:
    """Write a file of a report that no browser reads yet.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        path.write_bytes(content)
    except OSError as exc:
        raise StorageError(f"{path}: {exc.strerror or exc}") from exc


def list_names(folder: Path) -> dict[str, str]:
    """Return the names of the files in a folder by their stems; those that begin with a dot are left out."""
    try:
        names = [entry.name for entry in folder.iterdir() if not entry.name.startswith(".")]
    except OSError:
        return {}
    return {name.partition(".")[0]: name for name in names}


def sync_folder(folder: Path) -> None:
    """Sync the files of a folder, and its names."""
    for path in (*folder.iterdir(), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _require_report(path: Path, workspace_id: str) -> None:
    """Return when a folder can hold the report: it is missing, empty, or a report of this workspace."""
    try:
        if not path.exists() or (path.is_dir() and {entry.name for entry in path.iterdir()} <= _BEGUN):
            return
    except OSError as exc:
        raise UsageError(f"{path}: {exc}") from exc
    if _read_mark(path) != workspace_id:
        raise UsageError(f"{path}: holds the report of another workspace; name another folder")


def _read_mark(path: Path) -> object:
    """Return the id of the workspace whose report a folder holds.

    Raises:
        UsageError: it holds something else, or cannot be read.
    """
    try:
        mark = json.loads(read_head(path / MARK, 4096)) if path.is_dir() and (path / MARK).exists() else None
    except (OSError, ValueError) as exc:
        raise UsageError(f"{path}: {exc}") from exc
    if not isinstance(mark, dict):
        raise UsageError(f"{path}: holds something else than a report; name another folder, or an empty one")
    return mark.get("workspace")
