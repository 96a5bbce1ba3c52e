"""The directory given to `-o`: who holds it, which service filled it, and what the last run left."""

import errno
import fcntl
import secrets
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson
from filelock import FileLock, Timeout

from pipeline.errors import StorageError, UsageError, WorkspaceLockedError
from pipeline.storage.files import replace_file
from pipeline.storage.filesystems import make_directory

RUN: Final = "run.json"
LOCK: Final = ".lock"
_NO_LOCKS: Final = frozenset({errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK})


class RunFile(msgspec.Struct, frozen=True, kw_only=True):
    """What run.json holds.

    Attributes:
        workspace: The workspace's id; the ledger knows its calls by it.
        version: Of pagemill.
        service: Which service filled the workspace: "vendor", "embedded" or a host.
        root: What the names in its records are relative to: the input root of its first run.
        ledger: Where the ledger of the last run lies; None when it kept none.
        ledgers: Where every ledger lies that has counted calls of this workspace: keys and places change.
        settings: The last run's configuration without secrets.
        totals: How many pages stand in each state.
        finished: When the last run ended, RFC 3339; None while one is under way, or after a crash.
        exit_code: Of the last run.
    """

    workspace: str
    version: str
    service: str
    root: str | None = None
    ledger: str | None = None
    ledgers: tuple[str, ...] = ()
    settings: Mapping[str, Any] = {}
    totals: Mapping[str, int] = {}
    finished: str | None = None
    exit_code: int | None = None

    def section(self, name: str) -> Mapping[str, Any]:
        """Return a section of the last run's settings; an empty one when it is not there."""
        section = self.settings.get(name)
        return section if isinstance(section, dict) else {}


def read_run_file(workspace: Path) -> RunFile | None:
    """Return what the last run left; None for a new workspace.

    Raises:
        UsageError: run.json is there and cannot be read.
    """
    path = workspace / RUN
    try:
        return msgspec.json.decode(path.read_bytes(), type=RunFile)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as exc:
        raise UsageError(f"{path}: {exc}; delete it to let pagemill forget which service filled the workspace") from exc


def write_run_file(workspace: Path, run: RunFile) -> None:
    """Replace run.json as a whole.

    Raises:
        StorageError: it cannot be written.
    """
    replace_file(workspace / RUN, orjson.dumps(msgspec.to_builtins(run), option=orjson.OPT_INDENT_2) + b"\n")


def claim_service(last: RunFile | None, service: str, *, switch: bool, workspace: Path) -> str:
    """Return the workspace's id when the service may fill it.

    Raises:
        UsageError: another service filled it and the switch was not asked for.
    """
    if last is None:
        return secrets.token_hex(8)
    if last.service != service and not switch:
        raise UsageError(
            f"{workspace}: filled by the service '{last.service}', this run would use '{service}'; "
            "--switch-service allows it (is the API key missing?)"
        )
    return last.workspace


def choose_root(last: RunFile | None, root: Path) -> Path:
    """Return what names are relative to: the same directory in every run, or one file would have several names.

    Args:
        last: What the last run left.
        root: The input root of this run; taken over when there is no other yet, or that one has moved away.
    """
    if last is None or last.root is None or not Path(last.root).is_dir():
        return root
    return Path(last.root)


@contextmanager
def hold_workspace(workspace: Path) -> Generator[None]:
    """Make the directory when it is missing, and hold its lock.

    Raises:
        UsageError: it cannot be made.
        WorkspaceLockedError: another run holds it.
    """
    try:
        make_directory(workspace)
        # Where there is no flock, a lock file of another kind would outlive a crash, and keep nobody out after it.
        lock = FileLock(workspace / LOCK, fallback_to_soft=False)
        lock.acquire(timeout=0)
    except Timeout as exc:
        raise WorkspaceLockedError(f"{workspace}: another run holds this workspace, or verify reads it") from exc
    except OSError as exc:
        reason = "its filesystem has no locks" if exc.errno in _NO_LOCKS else exc.strerror or exc
        raise UsageError(f"{workspace}: {reason}") from exc
    try:
        yield
    finally:
        lock.release()


@contextmanager
def watch_workspace(workspace: Path) -> Generator[None]:
    """Keep runs out of a workspace without writing to it; several may watch.

    Raises:
        WorkspaceLockedError: a run holds it.
        StorageError: its lock cannot be read.
    """
    with ExitStack() as stack:
        try:
            lock = stack.enter_context((workspace / LOCK).open("rb"))
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except (FileNotFoundError, NotADirectoryError):
            pass  # no run was ever here, as in a copy without the hidden files
        except BlockingIOError as exc:
            raise WorkspaceLockedError(f"{workspace}: a run holds this workspace") from exc
        except OSError as exc:
            raise StorageError(f"{workspace / LOCK}: {exc.strerror or exc}") from exc
        yield


def require_workspace(workspace: Path) -> RunFile:
    """Return the workspace's run.json.

    Raises:
        UsageError: there is no workspace.
    """
    run = read_run_file(workspace) if workspace.is_dir() else None
    if run is None:
        raise UsageError(f"{workspace}: not a workspace (no {RUN} in it)")
    return run
