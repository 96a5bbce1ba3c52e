"""What a run does: the job as its caller describes it, and with its defaults resolved."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO

import msgspec

from pipeline.batch.observers import Observer, new_run_id
from pipeline.batch.retry import RetrySelection
from pipeline.config import Config, load_config, user_config_dir
from pipeline.config.duration import parse_moment
from pipeline.inputs.conversion_messages import PrepareSettings
from pipeline.inputs.text_direction import require_model
from pipeline.ledger.budget import check_spread
from pipeline.ledger.opened import OpenLedger
from pipeline.remote.embedded import embedded_service
from pipeline.remote.endpoint import choose_service, fit_to_engine
from pipeline.remote.proxies import Proxy, choose_proxy
from pipeline.service import Service
from pipeline.storage.zstd_frames import require_zstd
from pipeline.wire import Limits
from pipeline.workspace.skips import SkipRule


@dataclass(frozen=True, slots=True)
class JobShard:
    """A run's part of a larger job, whose INPUT is a shard file: the parts of one job share their claims.

    Attributes:
        job: The job's id.
        number: 1-based.
    """

    job: str
    number: int


@dataclass(frozen=True, slots=True)
class Job:
    """What a run does.

    Attributes:
        inputs: Directories, files, globs, manifests, URLs, or "-" for paths on stdin; one alone need not be in a list.
            Not used when `retry` is given.
        workspace: Directory of the results.
        service: Which API is called. None chooses by settings and environment, as the command line does: the vendor's
            with a key, the embedded engine without one.
        config: All settings. None loads them as the command line does: user's file, ./pagemill.toml, environment.
        switch_service: True lets another service than before fill the workspace.
        accept_ledger: True lets the run count its calls in another ledger, or with another key, than the last run.
        pay_again: True sends pages again whose paid texts have no readable line any more.
        stdin: Where "-" reads paths from.
        null_separated: True when those end with NUL.
        bar: True draws a progress bar on stderr.
        retry: Recognise these pages, which failed in earlier runs, instead of the inputs.
        again: Glob of source names: pages of the inputs that are done are sent again; None for no page.
        again_reviewed: True sends those again, too, whose text a person has corrected or checked.
        observers: Who watches the run: see `pipeline.observers`.
        run_id: The run's id, a UUID; None makes a random one.
        job_shard: The part of a larger job that the run does; None for a job of its own.
        ledger: The key's ledger, when the caller has opened it with this run as its owner; None lets the run open it.
        start_embedded: Starts the embedded engine for the duration of its context.
    """

    inputs: Sequence[str | Path] | str | Path
    workspace: str | Path
    service: Service | None = None
    config: Config | None = None
    switch_service: bool = False
    accept_ledger: bool = False
    pay_again: bool = False
    stdin: BinaryIO | None = None
    null_separated: bool = False
    bar: bool = False
    retry: RetrySelection | None = None
    again: str | None = None
    again_reviewed: bool = False
    observers: Sequence[Observer] = ()
    run_id: str | None = None
    job_shard: JobShard | None = None
    ledger: OpenLedger | None = None
    start_embedded: Callable[[Config], AbstractAsyncContextManager[Service]] = embedded_service


@dataclass(frozen=True, slots=True)
class ResolvedJob:
    """A job without open questions.

    Attributes:
        inputs: As in `Job`, as strings.
        workspace: Directory of the results.
        service: Which API is called; without a base URL until it is started.
        start_service: Starts it; None when it needs no start.
        config: All settings, fitted to the service.
        switch_service: As in `Job`.
        accept_ledger: As in `Job`.
        pay_again: As in `Job`.
        stdin: As in `Job`.
        null_separated: As in `Job`.
        bar: As in `Job`.
        retry: As in `Job`.
        again: As in `Job`.
        again_reviewed: As in `Job`.
        run_id: The run's id.
        job_shard: As in `Job`.
        ledger: As in `Job`.
        proxy: The proxy of the calls; None for none.
    """

    inputs: tuple[str, ...]
    workspace: Path
    service: Service
    start_service: Callable[[], AbstractAsyncContextManager[Service]] | None
    config: Config
    switch_service: bool
    accept_ledger: bool
    pay_again: bool
    stdin: BinaryIO | None
    null_separated: bool
    bar: bool
    retry: RetrySelection | None
    again: str | None
    again_reviewed: bool
    run_id: str
    job_shard: JobShard | None
    ledger: OpenLedger | None
    proxy: Proxy | None

    def with_shard(self, shard: str | None) -> "ResolvedJob":
        """Return the job as one of a shard, "2/7"; None for no shard."""
        config = msgspec.structs.replace(self.config, input=msgspec.structs.replace(self.config.input, shard=shard))
        return replace(self, config=config)


def resolve_job(job: Job, environ: Mapping[str, str]) -> ResolvedJob:
    """Return the job with its service chosen, and its settings fitted to that.

    Raises:
        UsageError: a setting, the service's URL, the proxy's URL or the key is wrong, or an extra is not installed.
    """
    inputs = [job.inputs] if isinstance(job.inputs, str | Path) else job.inputs
    config = job.config if job.config is not None else load_config(environ=environ, user_dir=user_config_dir())
    service = job.service if job.service is not None else choose_service(config, environ)
    if (when := config.input.changed_since) is not None:  # "2d" before the same moment for all parts of the run
        moment = parse_moment(when, datetime.now(UTC)).isoformat()
        config = msgspec.structs.replace(config, input=msgspec.structs.replace(config.input, changed_since=moment))
    prepare_settings(config)  # before the workspace is created, when an extra is missing
    if config.output.compression == "zstd":
        require_zstd("[output] compression")
    is_embedded = not service.metered and not service.base_url
    config = fit_to_engine(config) if is_embedded else config
    check_spread(config, service)
    return ResolvedJob(
        inputs=tuple(os.fspath(item) for item in inputs),
        workspace=Path(job.workspace),
        service=service,
        start_service=partial(job.start_embedded, config) if is_embedded else None,
        config=config,
        switch_service=job.switch_service,
        accept_ledger=job.accept_ledger,
        pay_again=job.pay_again,
        stdin=job.stdin,
        null_separated=job.null_separated,
        bar=job.bar,
        retry=job.retry,
        again=job.again,
        again_reviewed=job.again_reviewed,
        run_id=job.run_id if job.run_id is not None else new_run_id(),
        job_shard=job.job_shard,
        ledger=job.ledger,
        proxy=choose_proxy(service.base_url, config.api.proxy, environ) if service.metered else None,
    )


def prepare_settings(config: Config) -> PrepareSettings:
    """Return how pages are made to fit, from the configuration.

    Raises:
        UsageError: a setting needs an extra that is not installed.
    """
    prepare = config.prepare
    if prepare.auto_rotate:
        require_model()
    limits = Limits(prepare.min_edge_px, prepare.max_edge_px, prepare.max_bytes)
    return PrepareSettings(
        limits,
        prepare.jpeg_quality,
        prepare.orient,
        prepare.max_pixels,
        prepare.pdf_dpi,
        uses_text_layer=prepare.text_layer == "use",
        skips_blank=prepare.skip_blank,
        skips_below_px=prepare.skip_smaller_px,
        records_size=prepare.dedup == "pixels" or config.run.positions,
        auto_rotate=prepare.auto_rotate,
        deskew=prepare.deskew,
        contrast=prepare.contrast,
    )


def skip_rule(config: Config) -> SkipRule:
    """Return which pages a run skips, from the configuration."""
    return SkipRule(config.prepare.skip_blank, config.prepare.skip_smaller_px)
