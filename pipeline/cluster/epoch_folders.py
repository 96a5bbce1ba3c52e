"""OUT/work: the workspaces of the attempts at each shard, one directory per epoch, such as OUT/work/000007/e0002.

An attempt never writes where another one may still write. It begins with the lines that those before it have left: the
proof of what was paid. A directory appears under its name once it holds them all.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from pipeline.errors import StorageError
from pipeline.storage.filesystems import make_directory, sync_directory
from pipeline.wire import replace_surrogates
from pipeline.workspace.checksums import is_intact
from pipeline.workspace.paths import DEFERRED, FAILURES, PARTS, REPLIES, RESULTS
from pipeline.workspace.read_position import read_lines
from pipeline.workspace.run_file import read_run_file, write_run_file

FOLDER: Final = "work"


def find_epochs(out: Path, shard: int) -> list[Path]:
    """Return the workspaces of a shard's attempts, oldest first."""
    return sorted((out / FOLDER / f"{shard:06}").glob("e[0-9]*"), key=epoch_of)


def epoch_of(workspace: Path) -> int:
    """Return the epoch of an attempt's workspace."""
    return int(workspace.name[1:])


def find_newest(out: Path, shard: int) -> Path | None:
    """Return the workspace of the last attempt that has begun one: it holds all that those before it have left."""
    return next((path for path in reversed(find_epochs(out, shard)) if read_run_file(path) is not None), None)


def make_epoch(out: Path, shard: int, epoch: int) -> Path:
    """Return the new workspace of an attempt, with the readable lines of all former ones.

    Raises:
        StorageError: it cannot be written, or a former one cannot be read.
    """
    folder = out / FOLDER / f"{shard:06}"
    target = folder / f"e{epoch:04}"
    aside = folder / f".e{epoch:04}.new"
    try:
        make_directory(folder)
        for left in folder.glob(".e*.new"):  # of attempts that were killed
            shutil.rmtree(left, ignore_errors=True)
        aside.mkdir()
        _inherit(find_epochs(out, shard), aside, target)
        sync_directory(aside)
        aside.rename(target)
        sync_directory(folder)
    except OSError as exc:
        raise StorageError(f"{target}: {exc.strerror or exc}") from exc
    return target


def _inherit(former: Sequence[Path], aside: Path, target: Path) -> None:
    for name in (RESULTS, FAILURES, PARTS, DEFERRED):
        lines = _unique_lines(path / name for path in former)
        if lines:
            with (aside / name).open("wb") as file:
                file.writelines(lines)
                file.flush()
                os.fsync(file.fileno())
    for path in former:
        with suppress(FileNotFoundError):
            shutil.copytree(path / REPLIES, aside / REPLIES, dirs_exist_ok=True)
    for path in reversed(former):
        if (run_file := read_run_file(path)) is not None:
            # The id stays: the calls of all attempts are those of one workspace.
            place = replace_surrogates(os.path.realpath(target))
            write_run_file(aside, msgspec.structs.replace(run_file, place=place))
            return


def _unique_lines(paths: Iterator[Path]) -> list[bytes]:
    """Return the lines of a shard's attempts, each once, in their order; a line that was cut off is left out."""
    lines = dict[bytes, None]()
    for path in paths:
        for each in read_lines(path):
            if is_intact(each.line.removesuffix(b"\n")):
                lines[each.line.removesuffix(b"\n") + b"\n"] = None
    return list(lines)
