"""The accounts of a run: run.json, the ledger, and the check that each paid text is still there."""

import logging
import os
import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path

import anyio.to_thread
import msgspec

from pipeline.batch.claims import choose_job
from pipeline.batch.job import ResolvedJob
from pipeline.batch.ledger_check import is_reachable, require_same_ledger
from pipeline.batch.paid_texts import find_paid_calls, require_texts
from pipeline.batch.recovery import open_budget
from pipeline.batch.summary import Summary
from pipeline.errors import StorageError, TemporaryError, UsageError
from pipeline.inputs.selection import Inputs
from pipeline.ledger.attempt_state import OpenAttempt
from pipeline.ledger.base import LedgerPlace
from pipeline.ledger.budget import Budget
from pipeline.ledger.places import find_place, place_named
from pipeline.records import rfc3339
from pipeline.shutdown import Shutdown
from pipeline.wire import replace_surrogates
from pipeline.workspace.index import Index
from pipeline.workspace.run_file import (
    Again,
    LearnedLimit,
    MeteredRun,
    RunFile,
    claim_service,
    is_copy,
    key_fingerprint,
    last_metered_run,
    require_shard,
    write_run_file,
)

logger = logging.getLogger("pagemill")


def begin_run(job: ResolvedJob, last: RunFile | None, inputs: Inputs, again: Again | None) -> RunFile:
    """Return the new run.json, not yet written; warn when the preparation settings differ from the last run's.

    Raises:
        UsageError: another service filled the workspace, or the ledger's directory cannot be used.
    """
    if last is not None and last.is_merging:
        raise UsageError(f"{job.workspace}: a merge into it was interrupted; repeat `pagemill merge` first")
    shard = require_shard(last, job.config.input.part, job.workspace)
    workspace_id = claim_service(last, job.service.name, switch=job.switch_service, workspace=job.workspace)
    _log_choices(job, last, again)
    copied_from = () if last is None else last.copied_from
    if last is not None and is_copy(last, job.workspace):
        logger.info("%s: a copy of %s; from now on its calls are counted apart", job.workspace, last.place)
        workspace_id, copied_from = secrets.token_hex(8), (*copied_from, workspace_id)
    settings = job.config.without_secrets()
    if last is not None and last.settings.get("prepare", settings["prepare"]) != settings["prepare"]:
        logger.warning("[prepare] differs from the last run; pages that are done stay as they are")
    ledger = find_place(job.config, job.service)
    root, place = str(inputs.names_root or inputs.root), os.path.realpath(job.workspace)
    return RunFile(
        workspace_id=workspace_id,
        version=_package_version(),
        service=job.service.name,
        root=root,
        ledger=None if ledger is None else ledger.name,
        ledgers=_add_ledger(() if last is None else last.ledgers, ledger),
        settings=settings,
        totals=last.totals if last is not None else {},
        pending_is_at_least=job.retry is None or last is None or last.pending_is_at_least,
        ignored=last.ignored if last is not None else {},
        stalled_runs=0 if last is None else last.stalled_runs,
        learned=LearnedLimit() if last is None else last.learned,
        again=again if again is not None or last is None else last.again,
        started=rfc3339(datetime.now(UTC)),
        place=replace_surrogates(place),  # JSON holds no bytes that are not UTF-8
        copied_from=copied_from,
        metered=last_metered_run(last),
        run_id=job.run_id,
        files=last.files if last is not None else {},
        shard=shard,
        shard_job=None if shard is None else choose_job(job, last, place, root),
        merged=() if last is None else last.merged,
        resealed=None if last is None else last.resealed,
    )


@cache
def _package_version() -> str:
    return version("pagemill")


def _log_choices(job: ResolvedJob, last: RunFile | None, again: Again | None) -> None:
    """Say which pages that are done another service, or `--again`, sends anew."""
    if again is not None and last is not None and again == last.again:
        logger.info("--again %s: goes on; pages sent since %s are not sent once more", again.glob, again.since)
    if last is not None and last.service != job.service.name:
        kept = "keep their texts" if again is None else f"are sent again when they match {again.glob}"
        message = "the service was '%s' and is now '%s': new pages go to it, pages that are done %s"
        logger.warning(message, last.service, job.service.name, kept)


@asynccontextmanager
async def open_accounts(
    job: ResolvedJob, last: RunFile | None, run_file: RunFile, index: Index, shutdown: Shutdown
) -> AsyncGenerator[tuple[Budget, list[OpenAttempt], RunFile]]:
    """Open the ledger, recover what a crash left, and check that no paid text is missing; nothing is sent before.

    Yields:
        The budget, the attempts whose outcome is lost, and run.json with the ledger's mark.

    Raises:
        UsageError: the run would count its calls elsewhere than the last one.
        LedgerError: the ledger cannot be trusted.
        StorageError: paid texts have no readable line, or lines were edited.
    """
    ledger = find_place(job.config, job.service)
    configured = job.config.budget.ledger
    check = partial(require_same_ledger, workspace=job.workspace, accept=job.accept_ledger, configured=configured)
    await anyio.to_thread.run_sync(check, last, ledger, run_file.service)
    before = last_metered_run(last)
    former = None if before is None or ledger is None else place_named(before.ledger, configured)
    if former is not None and former != ledger:
        reachable = partial(is_reachable, former, accept=job.accept_ledger)
        former = former if await anyio.to_thread.run_sync(reachable) else None
    config = job.config
    if not job.service.metered:  # a shard of the embedded engine: calls are free, and counted without a limit
        config = msgspec.structs.replace(config, budget=msgspec.structs.replace(config.budget, tier=None, quota=None))
    async with open_budget(
        ledger,
        former,
        run_file.workspace_id,
        index=index,
        config=config,
        shutdown=shutdown,
        opened=job.ledger,
    ) as (budget, uncertain):
        check_texts = partial(require_texts, pay_again=job.pay_again, accept_ledger=job.accept_ledger)
        await anyio.to_thread.run_sync(
            check_texts, job.workspace, index, find_paid_calls(budget, last, run_file.workspace_id)
        )
        yield budget, uncertain, note_ledger(run_file, budget)


def note_ledger(run_file: RunFile, budget: Budget) -> RunFile:
    """Return run.json with the mark of the run's ledger as it is now.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    mark = budget.mark()
    if mark is None or run_file.ledger is None:
        return run_file
    key = key_fingerprint(run_file.ledger)
    metered = MeteredRun(
        service=run_file.service, ledger=run_file.ledger, key=key, ledger_id=mark.id, reserved=mark.reserved
    )
    return msgspec.structs.replace(run_file, metered=metered)


def _add_ledger(known: tuple[str, ...], ledger: LedgerPlace | None) -> tuple[str, ...]:
    return known if ledger is None or ledger.name in known else (*known, ledger.name)


def write_end(workspace: Path, run_file: RunFile, summary: Summary, *, has_text: bool) -> None:
    """Write run.json at the end of a run, or warn: a full disk changes neither the exit code nor the reason."""
    ended = msgspec.structs.replace(
        run_file,
        totals={state.value: number for state, number in summary.totals.items()},
        pending_is_at_least=summary.pending_is_at_least,
        ignored=summary.ignored,
        finished=rfc3339(datetime.now(UTC)),
        exit_code=summary.exit_code,
        reason=None if summary.reason is None else replace_surrogates(summary.reason),
        files={state.value: number for state, number in summary.files.items()},
        stalled_runs=_count_stalled_runs(run_file, summary, has_text=has_text),
        calls=summary.calls,
        sent=summary.sent,
        refused=summary.refused,
        learned=LearnedLimit(
            rate_per_s=summary.learned.rate_per_s,
            in_flight=summary.learned.in_flight,
            windows=summary.learned.windows,
        ),
    )
    write_run_file_or_warn(workspace, ended)


def _count_stalled_runs(run_file: RunFile, summary: Summary, *, has_text: bool) -> int:
    """Return in how many runs in a row no call has brought a text, not even that of a tile."""
    if summary.exit_code == TemporaryError.exit_code and summary.calls and not has_text:
        return run_file.stalled_runs + 1
    return 0 if summary.calls else run_file.stalled_runs


def write_run_file_or_warn(workspace: Path, run_file: RunFile) -> None:
    """Write run.json, or warn."""
    try:
        write_run_file(workspace, run_file)
    except StorageError as exc:
        logger.warning("%s", exc)
