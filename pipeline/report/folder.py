"""The folder of a report: `index.html` names a directory with the rest, so that replacing it replaces the report.

A build writes a directory of its own beside the last one. What a killed build leaves is removed by the next one.
"""

import json
import os
import secrets
import shutil
from pathlib import Path
from typing import Final

from pipeline.errors import StorageError, UsageError
from pipeline.inputs.kinds import REPORT_MARK
from pipeline.storage.files import read_head, replace_file

INDEX: Final = "index.html"
MARK: Final = REPORT_MARK
"""Says that a folder is a report, and of which workspace; no run takes its pictures for pages."""

_BUILD: Final = "build-"


class ReportFolder:
    """A folder that holds a report, or will.

    Args:
        path: The folder.
        workspace_id: Of the workspace that it shows.

    Raises:
        UsageError: it holds something else, or the report of another workspace.
        StorageError: it cannot be written.
    """

    def __init__(self, path: Path, workspace_id: str) -> None:
        self.path = path
        _require_report(path, workspace_id)
        create_folder(path)
        replace_file(path / MARK, json.dumps({"workspace": workspace_id}).encode())
        self.build = path / f"{_BUILD}{secrets.token_hex(4)}"
        """The directory of this build."""
        create_folder(self.build)

    def __repr__(self) -> str:
        return f"<ReportFolder {self.path}>"

    def finish(self, html: bytes) -> None:
        """Show this build instead of the last one, which is removed.

        Raises:
            StorageError: the page cannot be written.
        """
        sync_folder(self.build)
        replace_file(self.path / INDEX, html)
        self._remove_builds(but=self.build.name)

    def abandon(self) -> None:
        """Remove this build, and leave the last one."""
        shutil.rmtree(self.build, ignore_errors=True)

    def _remove_builds(self, but: str) -> None:
        for entry in self.path.glob(f"{_BUILD}*"):
            if entry.name != but:
                shutil.rmtree(entry, ignore_errors=True)


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
        if not path.exists() or (path.is_dir() and not any(path.iterdir())):
            return
        mark = json.loads(read_head(path / MARK, 4096)) if path.is_dir() and (path / MARK).exists() else None
    except (OSError, ValueError) as exc:
        raise UsageError(f"{path}: {exc}") from exc
    if not isinstance(mark, dict):
        raise UsageError(f"{path}: holds something else than a report; name another folder, or an empty one")
    if mark.get("workspace") != workspace_id:
        raise UsageError(f"{path}: holds the report of another workspace; name another folder")
