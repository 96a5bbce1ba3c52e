"""Files that `--html` writes."""

import stat
from pathlib import Path
from typing import Final

from pipeline.errors import UsageError
from pipeline.storage.files import read_head

_BEGIN: Final = b"<!doctype html>"


def require_page_file(path: Path) -> None:
    """Return when the file can be replaced by a page: there is none, or it is empty, or a page of HTML already.

    A slip such as `--html out/results.jsonl`, or `--html /dev/stdout`, must not cost a file.

    Raises:
        UsageError: it is anything else, or its directory does not exist.
    """
    try:
        if not path.parent.is_dir():
            raise UsageError(f"{path}: its directory does not exist")
        if not path.exists():
            return
        if not stat.S_ISREG(path.stat().st_mode):
            raise UsageError(f"{path}: not a regular file, which a page could replace")
        head = read_head(path, len(_BEGIN))
    except OSError as exc:
        raise UsageError(f"{path}: {exc.strerror or exc}") from exc
    if head and head.lower() != _BEGIN:
        raise UsageError(f"{path}: holds something else than a page of HTML; use another name, or remove it")
