"""Paid replies that could not be understood: kept as bytes beside the failure, named by attempt."""

import logging
from pathlib import Path
from typing import Final

from pipeline.errors import StorageError
from pipeline.storage.files import replace_file
from pipeline.storage.filesystems import make_directory
from pipeline.workspace.paths import REPLIES

MAX_FILES: Final = 1000
"""A service whose every reply is broken must not fill the disk; the first replies show what is wrong."""

logger = logging.getLogger("pagemill")


def reply_path(workspace: Path, attempt: str) -> Path:
    """Return where the reply of an attempt is kept."""
    return workspace / REPLIES / f"{attempt}.bin"


def keep_reply(workspace: Path, attempt: str, body: bytes) -> Path | None:
    """Write a reply durably; return its file, or None when there are MAX_FILES already.

    Args:
        workspace: The workspace's directory.
        attempt: The ledger's id of the call.
        body: The reply, without the key.

    Raises:
        StorageError: it cannot be written.
    """
    path = reply_path(workspace, attempt)
    try:
        make_directory(path.parent)
        is_full = sum(1 for _ in path.parent.iterdir()) >= MAX_FILES
    except OSError as exc:
        raise StorageError(f"{path.parent}: {exc.strerror or exc}") from exc
    if is_full:
        logger.warning(
            "%s: holds %d replies already; the reply of attempt %s is not kept", path.parent, MAX_FILES, attempt
        )
        return None
    replace_file(path, body)
    return path
