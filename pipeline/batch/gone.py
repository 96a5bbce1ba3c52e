"""Files that the workspace knows and that are no longer in the folders of the INPUTs."""

import os
from itertools import islice
from pathlib import PurePosixPath

from pipeline.errors import MissingFileError
from pipeline.inputs.archives.lookup import find_member
from pipeline.inputs.selection import Inputs
from pipeline.workspace.inventory import Inventory

_FORGOTTEN_AT_ONCE = 1000


def count_gone(inventory: Inventory, inputs: Inputs, known: int, *, forget: bool = False) -> int:
    """Return the number of files that are gone; blocks.

    Where the walk has met as many files as the index knows, none is gone; else the directories are listed once more.

    Args:
        inventory: Knows the files whose pages have all ended once.
        inputs: Only what is below their folders can be gone.
        known: Files that a complete walk has found and the index knows.
        forget: True lets the index forget them, so that they are gone once.

    Raises:
        StorageError: the index cannot be read or written.
    """
    folders = _top_folders(inputs)
    if len(inputs.items) == 1 and folders and inventory.count_files(folders[0]) == known:
        return 0
    gone = 0
    for folder in folders:
        paths = inventory.gone_files(folder)
        while batch := list(islice(paths, _FORGOTTEN_AT_ONCE)):
            missing = [path for path in batch if isinstance(find_member(os.fsdecode(path)), MissingFileError)]
            gone += len(missing)
            if forget:
                inventory.forget_files(missing)
    return gone


def _top_folders(inputs: Inputs) -> list[str]:
    """Return the absolute paths of the folders that are below no other one."""
    paths = {PurePosixPath(item.path) for item in inputs.items if item.kind == "directory"}
    return [str(path) for path in sorted(paths) if paths.isdisjoint(path.parents)]
