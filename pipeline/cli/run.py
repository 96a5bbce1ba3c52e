"""`pagemill run`: recognise the pages of the inputs into a workspace."""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from pipeline.batch.job import Job
from pipeline.batch.runner import run
from pipeline.cli.help import GroupedOption
from pipeline.cli.help import command as as_command
from pipeline.cli.options import input_options, setting
from pipeline.cli.plan import make_job as make_plan_job
from pipeline.cli.plan import plan_and_report
from pipeline.cli.running import (
    LIMITS,
    OUTPUT,
    Runner,
    call_options,
    limit_options,
    make_job,
    operation_options,
    output_options,
    run_and_report,
)
from pipeline.errors import UsageError
from pipeline.exit_codes import EXIT_CODES

_INPUTS = "Inputs"


@as_command(
    "run",
    click.Argument(["inputs"], nargs=-1, required=True, metavar="INPUT...", type=click.Path(allow_dash=True)),
    GroupedOption(
        ["-o", "--output"],
        required=True,
        type=click.Path(path_type=Path, file_okay=False),
        metavar="OUT",
        help="Workspace: the directory of the results.  [required]",
        heading=OUTPUT,
    ),
    *input_options(_INPUTS),
    GroupedOption(
        ["--again"],
        is_flag=False,
        flag_value="*",
        metavar="[GLOB]",
        help="Send pages again that are done: all, or those whose name matches. Their former records stay. A run with "
        "the same GLOB goes on where an interrupted one stopped.",
        heading=_INPUTS,
    ),
    GroupedOption(
        ["--again-reviewed"],
        is_flag=True,
        help="With --again, also send pages whose text a person has corrected or checked; it is replaced.",
        heading=_INPUTS,
    ),
    GroupedOption(
        ["-n", "--dry-run"],
        is_flag=True,
        help="Say what this run would send, as `pagemill plan` does, and send nothing; needs no key.",
        heading=_INPUTS,
    ),
    *limit_options(),
    setting("run.at_most_once", heading=LIMITS),
    setting("cluster.address", heading=LIMITS),
    *call_options(),
    *output_options(),
    *operation_options(),
    help="Recognise the pages of INPUT: directories, ZIP and TAR archives, files, globs, manifests (.txt .csv .tsv "
    ".jsonl), http(s) URLs, or - for paths on stdin. Running it again resumes: pages that are done are not sent again.",
    examples=(
        "pagemill run sample_data -o out                     # the embedded engine, no key needed",
        "pagemill run scans/ -o paid --tier basic            # the service, 1,000 calls per month",
        "find scans -name '*.tif' -print0 | pagemill run - -0 -o paid --tier basic",
        "pagemill run scans/ -o paid --tier basic -n         # what it would send; nothing is sent",
        "pagemill run manifest.csv -o paid --tier pro --max-calls 200 --max-duration 8h",
    ),
    exit_codes=tuple(EXIT_CODES),
)
def command(inputs: tuple[str, ...], output: Path, config_file: Path | None, **options: Any) -> int:
    """Run `pagemill run`: print the summary, or the plan of a dry run, and return the exit code."""
    if options["again_reviewed"] and options["again"] is None:
        raise UsageError("--again-reviewed: it adds pages to those of --again, which is not given")
    if options["dry_run"]:
        return plan_and_report(make_plan_job(inputs, output, config_file, options), as_json=options["as_json"])

    def prepare() -> Job:
        job = make_job(output, config_file, options)
        null_separated = options["null_separated"]
        return replace(
            job,
            inputs=inputs,
            stdin=sys.stdin.buffer,
            null_separated=null_separated,
            again=options["again"],
            again_reviewed=options["again_reviewed"],
        )

    return run_and_report(prepare, as_json=options["as_json"], choose=_choose_runner)


def _choose_runner(job: Job) -> Runner:
    """Return what runs a job: this machine, or a cluster."""
    if job.config is None or job.config.cluster.address is None:
        return run
    from pipeline.cluster.driver import run_on_cluster  # noqa: PLC0415 - only with --cluster
    from pipeline.cluster.ray_engine import RayEngine  # noqa: PLC0415

    return partial(run_on_cluster, engine=RayEngine(job.config.cluster))
