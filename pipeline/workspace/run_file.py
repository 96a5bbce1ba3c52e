"""run.json: the workspace's id and service, and the settings, ledgers and totals of its last run."""

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import orjson

from pipeline.config.database_url import is_database_url
from pipeline.config.shard import Shard
from pipeline.errors import UsageError
from pipeline.records import rfc3339
from pipeline.storage.files import replace_file, require_descriptor
from pipeline.workspace.paths import RUN


class Again(msgspec.Struct, frozen=True):
    """What `--again` asked for, until a run has done all of it.

    Attributes:
        glob: Pages whose source name matches are sent again.
        since: When it was first asked for, RFC 3339: pages that were sent after that are done.
    """

    glob: str
    since: str


class MeteredRun(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run counted its calls.

    Attributes:
        service: The service that was called.
        ledger: Path of the ledger.
        key: Fingerprint of the API key, or of the host that takes none; it does not reveal the key.
        ledger_id: The ledger's id; None in a run.json of release 0.2 or earlier.
        reserved: Number of calls that the ledger had ever reserved.
    """

    service: str
    ledger: str
    key: str
    ledger_id: str | None = None
    reserved: int = 0


class LearnedLimit(msgspec.Struct, frozen=True, kw_only=True):
    """The limit of the account that a run's calls met; without values, none.

    Attributes:
        rate_per_s: Calls per second.
        in_flight: Calls at once.
        windows: Pairs of calls permitted and the length of their window in seconds.
    """

    rate_per_s: float | None = None
    in_flight: int | None = None
    windows: tuple[tuple[int, float], ...] = ()


class MergedWorkspace(msgspec.Struct, frozen=True, kw_only=True):
    """A workspace whose lines were merged into this one.

    Attributes:
        workspace_id: Its id: its calls carry it in the ledger.
        shard: Its shard; None for a workspace of whole INPUTs.
        place: Its absolute path.
        until: RFC 3339: its lines were whole up to this moment of its own clock; calls made later are not in here.
        texts: Number of its calls whose texts are in here.
        was_cut_off: Its last run was killed and left calls unsettled, which its next run settles.
        pending_is_at_least: More pages of it are pending than it has listed.
    """

    workspace_id: str = msgspec.field(name="workspace")
    shard: str | None = None
    place: str | None = None
    until: str = ""
    texts: int = 0
    was_cut_off: bool = False
    pending_is_at_least: bool = False


class RunFile(msgspec.Struct, frozen=True, kw_only=True):
    """The content of run.json.

    Attributes:
        workspace_id: Ledger rows of this workspace carry this id.
        version: pagemill's version.
        service: The service that fills the workspace: "vendor", "embedded" or a host.
        root: The input root of the first run; source names in records are relative to it.
        ledger: Path of the last run's ledger; None when that run kept none.
        ledgers: Paths of all ledgers that count calls of this workspace; a new key or `--ledger` adds one.
        settings: The last run's configuration without secrets.
        totals: Number of pages by state.
        finished: When the last run ended, RFC 3339; None during a run, and after a crash.
        exit_code: The last run's exit code.
        pending_is_at_least: True until a run has listed its INPUTs to their end: more pages are pending than `totals`
            and the index say.
        ignored: Files of the last run's INPUTs that hold no page, by kind.
        stalled_runs: Runs in a row that ended as temporary although they called, without one text.
        again: What `--again` asked for, and no run has finished; None for nothing.
        started: When the last run began, RFC 3339.
        place: The workspace's absolute path: when it still holds this workspace, another directory is a copy.
        copied_from: The ids of the workspaces that this one was copied from, oldest first.
        metered: Where the last run that kept a ledger counted its calls.
        calls: Calls of the last run that count against the quota.
        sent: All its calls.
        refused: Those that were refused for now, and do not count.
        learned: The limit that they met; during a run, what the run before it had learned.
        run_id: The last run's id; None in a run.json of release 0.2 or earlier.
        reason: Why the last run stopped early; None when it did not.
        files: Files of the last run's INPUTs by what had become of them: new, changed, unmodified, gone.
        shard: The part of the INPUTs that its runs take, such as "2/7"; None for all of them.
        shard_job: The job that the shard is of; None for no shard.
        merged: The workspaces that were merged into this one, by path.
        is_merging: True while `merge` writes the lines: a run must not begin.
        resealed: When edited lines were last accepted, RFC 3339; their `added` does not say that they changed.
    """

    workspace_id: str = msgspec.field(name="workspace")
    version: str
    service: str
    root: str | None = None
    ledger: str | None = None
    ledgers: tuple[str, ...] = ()
    settings: Mapping[str, Any] = {}
    totals: Mapping[str, int] = {}
    finished: str | None = None
    exit_code: int | None = None
    pending_is_at_least: bool = False
    ignored: Mapping[str, int] = {}
    stalled_runs: int = 0
    again: Again | None = None
    started: str | None = None
    place: str | None = None
    copied_from: tuple[str, ...] = ()
    metered: MeteredRun | None = None
    calls: int = 0
    sent: int = 0
    refused: int = 0
    learned: LearnedLimit = LearnedLimit()
    run_id: str | None = None
    reason: str | None = None
    files: Mapping[str, int] = {}
    shard: str | None = None
    shard_job: str | None = None
    merged: tuple[MergedWorkspace, ...] = ()
    is_merging: bool = False
    resealed: str | None = None

    def section(self, name: str) -> Mapping[str, Any]:
        """Return a section of the last run's settings; an empty one when the settings lack it."""
        section = self.settings.get(name)
        return section if isinstance(section, dict) else {}


def read_run_file(workspace: Path) -> RunFile | None:
    """Return the content of run.json; None for a new workspace.

    Raises:
        UsageError: run.json exists and cannot be read.
    """
    path = workspace / RUN
    try:
        return msgspec.json.decode(path.read_bytes(), type=RunFile)
    except FileNotFoundError:
        return None
    except OSError as exc:
        require_descriptor(exc)
        raise UsageError(f"{path}: {exc.strerror or exc}") from exc
    except msgspec.DecodeError as exc:
        raise UsageError(f"{path}: {exc}; delete it to let pagemill forget which service filled the workspace") from exc


def write_run_file(workspace: Path, run: RunFile) -> None:
    """Replace run.json as a whole.

    Raises:
        StorageError: it cannot be written.
    """
    replace_file(workspace / RUN, orjson.dumps(msgspec.to_builtins(run), option=orjson.OPT_INDENT_2) + b"\n")


def note_resealing(workspace: Path) -> None:
    """Note in run.json that lines are resealed now; a run must not hold the workspace.

    Raises:
        UsageError: there is no run.json, or it cannot be read.
        StorageError: it cannot be written.
    """
    write_run_file(
        workspace, msgspec.structs.replace(require_workspace(workspace), resealed=rfc3339(datetime.now(UTC)))
    )


def require_workspace(workspace: Path) -> RunFile:
    """Return the content of run.json.

    Raises:
        UsageError: the directory has no run.json, or it cannot be read.
    """
    try:
        run = read_run_file(workspace) if workspace.is_dir() else None
    except OSError as exc:
        raise UsageError(f"{workspace}: {exc.strerror}") from exc
    if run is None:
        raise UsageError(f"{workspace}: not a workspace (no {RUN} in it)")
    return run


def claim_service(last: RunFile | None, service: str, *, switch: bool, workspace: Path) -> str:
    """Return the workspace's id when this service may fill it; a new id for a new workspace.

    Raises:
        UsageError: another service filled the workspace, and `--switch-service` was not given.
    """
    if last is None:
        return secrets.token_hex(8)
    if last.service != service and not switch:
        hint = " (is the API key missing?)" if service == "embedded" else ""
        raise UsageError(
            f"{workspace}: filled by the service '{last.service}', this run would use '{service}'{hint}; use another "
            "workspace, or --switch-service: new pages go to this service then, and with --again all that are done"
        )
    return last.workspace_id


def require_shard(last: RunFile | None, part: Shard | None, workspace: Path) -> str | None:
    """Return a run's part of the INPUTs, such as "2/7", when it is that of the runs before it.

    Raises:
        UsageError: another part filled the workspace.
    """
    shard = None if part is None else str(part)
    if last is not None and last.shard != shard:
        filled = "runs without --shard" if last.shard is None else f"shard {last.shard}"
        this = "takes all files" if shard is None else f"is shard {shard}"
        raise UsageError(f"{workspace}: filled by {filled}, this run {this}; each shard has an OUT of its own")
    return shard


def order_again(last: RunFile | None, service: str, glob: str | None, now: str) -> Again | None:
    """Return what is sent again: an order that an earlier run with the same service left unfinished goes on.

    Args:
        last: The last run's run.json.
        service: This run's service.
        glob: From `--again`; None when it is not given.
        now: RFC 3339.
    """
    if glob is None:
        return None
    left = last.again if last is not None and last.service == service else None
    return left if left is not None and left.glob == glob else Again(glob, now)


def is_copy(last: RunFile, workspace: Path) -> bool:
    """Return whether the workspace of this run.json still exists elsewhere; both may be filled from now on."""
    if last.place is None:
        return False
    try:
        if Path(last.place).samefile(workspace):
            return False
        original = read_run_file(Path(last.place))
    except (OSError, UsageError):
        return False
    return original is not None and original.workspace_id == last.workspace_id


def last_metered_run(last: RunFile | None) -> MeteredRun | None:
    """Return where the last run that kept a ledger counted its calls; None when no run did."""
    if last is None or last.metered is not None or last.ledger is None:
        return None if last is None else last.metered
    return MeteredRun(service=last.service, ledger=last.ledger, key=key_fingerprint(last.ledger))


def key_fingerprint(ledger: str) -> str:
    """Return the fingerprint of the key of a ledger: its name ends with a hash of the key."""
    key = ledger.rpartition("#")[2] if is_database_url(ledger) else Path(ledger).stem
    return key[:12]


def choose_root(last: RunFile | None, root: Path) -> Path:
    """Return the directory that source names are relative to.

    All runs use the same one: with another root, one file would have two names.

    Args:
        last: The last run's run.json.
        root: The input root of this run; returned when no run recorded a root, or the recorded one no longer exists.
    """
    if last is None or last.root is None or not Path(last.root).is_dir():
        return root
    return Path(last.root)
