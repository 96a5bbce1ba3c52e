"""The text of a job of shards: a SLURM script that submits itself in arrays, or Kubernetes Jobs; pure.

A shard's exit codes decide what its scheduler does: 0, 3, 8 and 10 are a success, 5 is tried again, all others need a
person. Sources: sbatch(1), "--array", "--signal", "--requeue"; slurm.conf(5), MaxArraySize (1001 by default);
Kubernetes, "Jobs": completionMode, backoffLimitPerIndex, podFailurePolicy, which needs restartPolicy Never.
"""

import json
import math
import shlex
from dataclasses import dataclass
from typing import Final

from pipeline.cli.units import SUCCESSES, Night
from pipeline.errors import UsageError

LARGEST_ARRAY: Final = 1000
_LARGEST_JOB: Final = 100_000
"""Most completions of an Indexed Job."""
_RETRY: Final = (5, 11)
"""Exit codes of a moment: no API; a former attempt, on a node that was thought dead, still holds the workspace."""
_NO_RETRY: Final = (1, 2, 7, 9, 12)
"""Exit codes that running again would not change."""
_RETRIES: Final = 5


@dataclass(frozen=True, slots=True)
class ArrayJob:
    """A job of shards.

    Attributes:
        night: The command that each shard runs, and its surroundings.
        output: The merged workspace; the shards' workspaces are in the directory `<output>.parts`.
        shards: Their number.
        image: The container's image, for Kubernetes.
        volume: The PersistentVolumeClaim that is mounted as the working directory.
        shares_ledger: The ledger is one that several machines can share.
    """

    night: Night
    output: str
    shards: int
    image: str
    volume: str
    shares_ledger: bool

    @property
    def parts(self) -> str:
        """The directory of the shards' workspaces."""
        return f"{self.output}.parts"


def _shard_lines(job: ArrayJob, program: str, *, retry: str, ended: str) -> list[str]:
    """Return the lines of a POSIX shell that run shard $I, pass SIGTERM on, and map its exit code."""
    arguments = job.night.command[len(_program_of(job)) :]
    key = "" if job.night.key_file is None else f" --api-key-file {shlex.quote(job.night.key_file)}"
    good = "|".join(str(code) for code in (0, *SUCCESSES))
    command = f'{program} {shlex.join(arguments)}{key} -o {shlex.quote(job.parts)}/"$I" --shard "$I/{job.shards}"'
    return [
        f"mkdir -p {shlex.quote(job.parts)}",
        f"{command} & pid=$!",
        "trap 'kill -TERM $pid' TERM",
        "wait $pid; code=$?",
        'while kill -0 $pid 2>/dev/null; do wait $pid; code=$?; done  # a signal ends "wait" first',
        'case "$code" in',
        f"  {good}) exit 0 ;;  # {_describe_successes()}",
        f"  {'|'.join(map(str, _RETRY))}) {retry} ;;  # 5: the API is unreachable; 11: the workspace is held",
        f"  143) {ended} ;;  # stopped in order; what is done stays",
        "esac",
        'exit "$code"',
    ]


def _describe_successes() -> str:
    return "3: some pages failed; 8: the quota is used up; 10: a planned stop"


def slurm_script(job: ArrayJob) -> str:
    """Return a script that `bash` runs on a login node: it submits itself in arrays, and then the merge."""
    night, program = job.night, shlex.join(_program_of(job))
    # One task of an array has the array's own number as SLURM_JOB_ID, and would requeue all of them.
    again = 'scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID" && exit 0; exit $code'
    requeue = f'[ "${{SLURM_RESTART_COUNT:-0}}" -lt {_RETRIES} ] && {again}'
    shard = _shard_lines(job, program, retry=requeue, ended=again)
    merge = f"{program} merge {shlex.quote(job.parts)}/* -o {shlex.quote(job.output)}"
    return "\n".join(
        [
            "#!/bin/bash",
            f"#SBATCH --job-name={night.name}",
            "#SBATCH --ntasks=1",
            "#SBATCH --requeue",
            "#SBATCH --open-mode=append",
            f"#SBATCH --signal=B:TERM@{math.ceil(night.drain_s) + 30}",
            f"#SBATCH --output={night.name}-%A_%a.log",
            f"# Run it with bash on a login node: it submits {job.shards} shards in arrays of at most {LARGEST_ARRAY},",
            "# and the merge. Submit it again to go on: shards that are done end at once. Options such as --time and",
            "# --partition are added above, or to the sbatch calls below.",
            *_ledger_note(job, "#"),
            "set -u",
            f"cd {shlex.quote(night.directory)} || exit 2",
            'if [ -z "${SLURM_ARRAY_TASK_ID:-}" ]; then',
            '  after=""',
            f"  for ((offset = 0; offset < {job.shards}; offset += {LARGEST_ARRAY})); do",
            f"    last=$(({job.shards} - offset)); [ $last -gt {LARGEST_ARRAY} ] && last={LARGEST_ARRAY}",
            '    id=$(sbatch --parsable --array="1-$last" --export="ALL,SHARDS_BEFORE=$offset" "$0") || exit',
            '    after="$after:${id%%;*}"',
            "  done",
            f'  exec sbatch --job-name={night.name}-merge --dependency="afterany$after" --wrap {shlex.quote(merge)}',
            "fi",
            "I=$((SHARDS_BEFORE + SLURM_ARRAY_TASK_ID))",
            *shard,
            "",
        ]
    )


def _program_of(job: ArrayJob) -> list[str]:
    """Return the words before the command's own arguments: the program, or the interpreter and its module."""
    words = list(job.night.command)
    return words[: words.index("run")]


def _ledger_note(job: ArrayJob, mark: str) -> list[str]:
    if job.shares_ledger:
        return []
    return [f"{mark} Shards on several machines need one ledger: PAGEMILL_LEDGER=postgresql://… in their environment."]


def kubernetes_manifest(job: ArrayJob) -> str:
    """Return an Indexed Job with a shard per index, and a suspended Job that merges.

    Raises:
        UsageError: one Job has no room for so many shards.
    """
    if job.shards > _LARGEST_JOB:
        raise UsageError(f"--shards {job.shards}: a Job of Kubernetes has at most {_LARGEST_JOB} indexes")
    name = job.night.name.replace("_", "-").lower()
    lines = _shard_lines(job, "pagemill", retry='exit "$code"', ended="exit 143")
    script = "\n".join(["I=$((JOB_COMPLETION_INDEX + 1))", *lines])
    merge = f"exec pagemill merge {shlex.quote(job.parts)}/* -o {shlex.quote(job.output)}"
    spec = [
        "  completionMode: Indexed",
        f"  completions: {job.shards}",
        f"  parallelism: {min(job.shards, 10)}",
        f"  backoffLimitPerIndex: {_RETRIES}",
        f"  maxFailedIndexes: {job.shards}",
        "  podFailurePolicy:",
        "    rules:",
        "    - action: Ignore  # a node that was drained",
        "      onPodConditions:",
        "      - type: DisruptionTarget",
        '        status: "True"',
        "    - action: FailIndex",
        "      onExitCodes:",
        "        containerName: pagemill",
        "        operator: In",
        f"        values: [{', '.join(map(str, _NO_RETRY))}]",
    ]
    return "\n".join(
        [
            f"# Secret, once: kubectl create secret generic {name} --from-file=PAGEMILL_API_KEY=api-key",
            f"# Then: kubectl apply -f FILE; once job/{name} has ended:",
            f'#   kubectl patch job/{name}-merge --type=merge -p \'{{"spec":{{"suspend":false}}}}\'',
            *_ledger_note(job, "#"),
            *_job(job, name, spec, script),
            "---",
            *_job(job, f"{name}-merge", ["  suspend: true", "  backoffLimit: 0"], merge),
            "",
        ]
    )


def _job(job: ArrayJob, name: str, spec: list[str], script: str) -> list[str]:
    secret = job.night.name.replace("_", "-").lower()
    return [
        "apiVersion: batch/v1",
        "kind: Job",
        "metadata:",
        f"  name: {name}",
        "spec:",
        *spec,
        "  template:",
        "    spec:",
        "      restartPolicy: Never",
        f"      terminationGracePeriodSeconds: {math.ceil(job.night.drain_s)}",
        "      containers:",
        "      - name: pagemill",
        f"        image: {_text(job.image)}",
        f"        workingDir: {_text(job.night.directory)}",
        f"        command: [/bin/sh, -c, {_text(script)}]",
        "        envFrom:",
        "        - secretRef:",
        f"            name: {secret}",
        "        volumeMounts:",
        "        - name: work",
        f"          mountPath: {_text(job.night.directory)}",
        "      volumes:",
        "      - name: work",
        "        persistentVolumeClaim:",
        f"          claimName: {_text(job.volume)}",
    ]


def _text(text: str) -> str:
    """Return a text as YAML takes it: a string of JSON is one of YAML."""
    return json.dumps(text)
