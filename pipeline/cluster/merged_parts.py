"""The workspaces that are merged: opened, held, and checked to fit together."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import StorageError, UsageError
from pipeline.workspace.line_stream import find_missing
from pipeline.workspace.lock import share_workspace
from pipeline.workspace.repair import find_rescues
from pipeline.workspace.run_file import RunFile, read_run_file, require_workspace


@dataclass(frozen=True, slots=True)
class Part:
    """A workspace that is merged.

    Attributes:
        path: Its directory.
        run_file: Its run.json.
    """

    path: Path
    run_file: RunFile


def open_parts(stack: ExitStack, paths: Sequence[Path], target: Path, *, are_held: bool = False) -> list[Part]:
    """Return the workspaces, which no run can begin to fill as long as the stack is open; each one once.

    Args:
        stack: Holds the locks.
        paths: The workspaces.
        target: The merged workspace.
        are_held: True when the caller knows that no run fills them, so that they need no lock.

    Raises:
        UsageError: there is none, one is no workspace, or one is the target.
        WorkspaceLockedError: a run holds one.
        StorageError: lines of one are not in its files: a run must repair it first.
    """
    parts: dict[str, Part] = {}
    for path in paths:
        if _is_same(path, target):
            raise UsageError(f"{path}: it is OUT itself; its lines stay in it anyway")
        require_workspace(path)
        if not are_held:
            stack.enter_context(share_workspace(path))
        run_file = require_workspace(path)
        if run_file.is_merging:
            raise StorageError(f"{path}: a merge into it was interrupted; repeat that first")
        if rescues := find_rescues(path):
            raise StorageError(f"{path}: {rescues[0].name} holds lines of a failed disk; run once into it first")
        if missing := find_missing(path):
            raise StorageError(f"{path}: {missing[0]} is missing; restore it first")
        parts.setdefault(run_file.workspace_id, Part(path, run_file))
    if not parts:
        raise UsageError("merge: name the workspaces to be merged")
    return list(parts.values())


def _is_same(path: Path, target: Path) -> bool:
    try:
        return path.samefile(target)
    except OSError:
        return False


def require_alike(parts: Sequence[Part], target: Path) -> None:
    """Return when the workspaces hold texts of one service and operation, with names relative to one root.

    Raises:
        UsageError: they do not; the message names two that differ.
    """
    last = read_run_file(target)
    if last is not None and last.shard is not None:
        raise UsageError(f"{target}: it is shard {last.shard}; merge into a workspace of its own")
    known = [*([] if last is None else [Part(target, last)]), *parts]
    first = known[0]
    for other in known[1:]:
        for name, one, two in (
            ("service", first.run_file.service, other.run_file.service),
            ("input root", first.run_file.root, other.run_file.root),
            ("operation", _operation(first.run_file), _operation(other.run_file)),
        ):
            if one != two:
                raise UsageError(f"{first.path} and {other.path}: not the same {name}: {one} and {two}")


def _operation(run_file: RunFile) -> str:
    return "advanced-recognition" if run_file.section("run").get("positions") else "text-recognition"
