"""Durable names: what is synced is the file and the directory that names it."""

import os
from pathlib import Path

from pipeline.errors import StorageError


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that a crash leaves the old one or the new one: temporary file, fsync, rename, fsync.

    Raises:
        StorageError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.new")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_directory(path.parent)
    except OSError as exc:
        raise StorageError(f"{path}: {exc.strerror or exc}") from exc
