"""Counts the pages of a plan's INPUTs: by listings and headers, or each as a run would prepare it."""

import os
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final, NoReturn

import anyio
import anyio.to_thread
from tqdm import tqdm

from pipeline.batch.files import mark_again
from pipeline.batch.job import prepare_settings
from pipeline.batch.listing import add_ignored
from pipeline.batch.ordering import arrange, needs_listing
from pipeline.batch.planning.exact import ExactCount, PdfCount
from pipeline.batch.planning.survey import Counts, Survey
from pipeline.config import Config
from pipeline.errors import StopError
from pipeline.inputs import source
from pipeline.inputs.image import open_converter
from pipeline.inputs.selection import Inputs
from pipeline.records import IgnoredFiles, SourceFile, rfc3339
from pipeline.service import Service
from pipeline.workspace.index import Index
from pipeline.workspace.run_file import RunFile, order_again

_FILES_PER_HOP: Final = 64


@dataclass(frozen=True, slots=True)
class PlanJob:
    """What is planned.

    Attributes:
        inputs: As in `Job`, as strings.
        workspace: The directory that the run would fill; None for a new one.
        service: The service that it would call.
        config: All settings.
        exact: True reads, hashes and prepares every page that is not settled.
        stdin: As in `Job`.
        null_separated: As in `Job`.
        again: As in `Job`.
        again_reviewed: As in `Job`.
        bar: True draws a progress bar on stderr.
        any_service: True when the service need not be the one that filled the workspace: with `--switch-service`, and
            without a key, which a plan does not need.
        pay_again: As in `Job`.
        accept_ledger: As in `Job`.
    """

    inputs: Sequence[str]
    workspace: Path | None
    service: Service
    config: Config
    exact: bool = False
    stdin: BinaryIO | None = None
    null_separated: bool = False
    again: str | None = None
    again_reviewed: bool = False
    bar: bool = False
    any_service: bool = False
    pay_again: bool = False
    accept_ledger: bool = False


async def count_pages(job: PlanJob, inputs: Inputs, index: Index | None, last: RunFile | None) -> Counts:
    """Take each file of the INPUTs once.

    Args:
        job: What is planned.
        inputs: Its INPUTs.
        index: Of the workspace; None for a new one.
        last: The workspace's run.json; None for a new one.
    """
    settings = prepare_settings(job.config)
    has_repeats = len(inputs.items) > 1 or inputs.items[0].kind in {"manifest", "stdin"}
    reads_all = job.exact and job.config.input.changed_by == "sha256"
    survey = Survey(index, job.config, settings, has_repeats=has_repeats, reads_all=reads_all)
    files = source.walk(inputs, job.config.input, stdin=job.stdin, null_separated=job.null_separated)
    files = arrange(files, job.config.input) if needs_listing(job.config.input) else files
    again = order_again(last, job.service.name, job.again, rfc3339(datetime.now(UTC)))
    files = files if again is None else mark_again(files, again)
    threads = ThreadPoolExecutor(max(2, os.cpu_count() or 2), "plan")
    bar: tqdm[NoReturn] = tqdm(unit="file", file=sys.stderr, dynamic_ncols=True, disable=not job.bar)
    try:
        with bar:
            async with aclosing(files), open_converter(settings) as converter:
                root = str(inputs.names_root or inputs.root)
                exact = ExactCount(survey, index, job.config, settings, converter=converter, threads=threads, root=root)
                pdfs = PdfCount(survey, settings, converter, threads)
                with closing(survey), closing(exact):
                    async for batch in _in_batches(files, survey.counts.ignored):
                        await _count_batch(survey, exact if job.exact else pdfs, batch)
                        bar.update(len(batch))
                        bar.set_postfix_str(f"{survey.counts.calls} calls", refresh=False)
    finally:
        threads.shutdown(wait=False)
    return survey.counts


async def _in_batches(
    files: AsyncGenerator[SourceFile | IgnoredFiles, None], ignored: Counter[str]
) -> AsyncGenerator[list[SourceFile], None]:
    batch: list[SourceFile] = []
    async for item in files:
        if isinstance(item, IgnoredFiles):
            add_ignored(ignored, item.kind, item.number)
            continue
        batch.append(item)
        if len(batch) == _FILES_PER_HOP:
            yield batch
            batch = []
    if batch:
        yield batch


async def _count_batch(survey: Survey, count: ExactCount | PdfCount, batch: Sequence[SourceFile]) -> None:
    is_enough = isinstance(count, PdfCount)
    left = await anyio.to_thread.run_sync(_count_by_header, survey, batch, is_enough, abandon_on_cancel=True)
    if not left:
        return
    errors: list[StopError] = []
    at_once = anyio.CapacityLimiter(max(2, os.cpu_count() or 2))

    async def add(file: SourceFile) -> None:
        try:
            async with at_once:
                await count.add(file)
        except StopError as exc:  # raised here, it would arrive in an exception group
            errors.append(exc)

    async with anyio.create_task_group() as tasks:
        for file in left:
            tasks.start_soon(add, file)
    if errors:
        raise errors[0]


def _count_by_header(survey: Survey, batch: Sequence[SourceFile], is_enough: bool) -> list[SourceFile]:  # noqa: FBT001
    """Count what names, times and headers tell; return the files for which that is not enough."""
    left = []
    for file in batch:
        if survey.settle(file):
            continue
        if is_enough or survey.needs_look(file):
            header = survey.read(file)
            if header.ignored is not None:
                continue
            if is_enough and header.is_counted:
                survey.add_pages(file, header)
                continue
        left.append(file)
    return left
