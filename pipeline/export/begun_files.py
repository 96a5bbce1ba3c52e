"""The files that an export has written since it last committed its notes: what is left when it is killed."""

import os
from pathlib import Path
from typing import Final, Self

_NAME: Final = ".pagemill-export.begun"


class BegunFiles:
    """A list of paths in the folder of an export, which a killed process leaves there; a context manager.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self._path = root / _NAME
        listed = self._path.read_bytes() if self._path.exists() else b""
        self.left = [os.fsdecode(path) for path in listed.split(b"\n")[:-1]]
        """Relative paths of the files that a killed export has written, or was about to write, without noting them."""
        self._file = self._path.open("ab", buffering=0)

    def __repr__(self) -> str:
        return f"<BegunFiles {self._path}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        is_noted = os.fstat(self._file.fileno()).st_size == 0
        self._file.close()
        if is_noted:
            self._path.unlink(missing_ok=True)

    def add(self, path: str) -> None:
        """Add a file that is about to be written."""
        self._file.write(os.fsencode(f"{path}\n"))

    def clear(self) -> None:
        """Forget the files: they are noted."""
        self._file.truncate(0)
