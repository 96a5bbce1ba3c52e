"""The scripts of a job of shards: run by real shells with a scheduler's commands played, and parsed as YAML."""

import os
import stat
from pathlib import Path

import anyio
import pytest
import yaml

from tests.cluster.test_merge import verify
from tests.fakes import serve_fake
from tests.pages import write_pages
from tests.runs import environment, results, run_command

SBATCH = """#!/bin/sh
echo "$@" >> "$CALLS"
array=$(echo "$@" | sed -n 's/.*--array=1-\\([0-9]*\\).*/\\1/p')
before=$(echo "$@" | sed -n 's/.*SHARDS_BEFORE=\\([0-9]*\\).*/\\1/p')
for last; do :; done
if [ -n "$array" ] && [ -z "$DRY" ]; then
  i=1; while [ $i -le $array ]; do
    export SLURM_ARRAY_JOB_ID=17 SLURM_ARRAY_TASK_ID=$i SHARDS_BEFORE=$before SLURM_JOB_ID=$i
    bash "$last" >&2 || echo "failed $i" >> "$CALLS"
    i=$((i+1))
  done
elif [ -z "$array" ] && [ -z "$DRY" ]; then sh -c "$last" >&2; fi
echo 17
"""


def write_program(directory: Path, name: str, text: str) -> None:
    path = directory / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


async def print_job(kind: str, *arguments: str | Path, shards: int) -> str:
    printed = await run_command("schedule", "--print", kind, "--shards", str(shards), "--", *arguments)
    assert printed.returncode == 0, printed.stderr.decode()
    return printed.stdout.decode()


async def run_script(script: Path, directory: Path, **more: str) -> list[str]:
    """Run a script as on a login node; return the calls of sbatch and scontrol."""
    calls = directory / "calls"
    environ = environment("sk-test-0123456789abcdef", CALLS=str(calls), **more)
    environ["PATH"] = f"{directory / 'bin'}:{os.environ['PATH']}"
    ended = await anyio.run_process(["bash", str(script)], check=False, env=environ, cwd=Path.cwd())
    assert ended.returncode == 0, ended.stderr.decode()
    return calls.read_text().splitlines()


async def test_a_slurm_job_runs_its_shards_and_merges(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 9)
    write_program(tmp_path / "bin", "sbatch", SBATCH)
    write_program(tmp_path / "bin", "scontrol", '#!/bin/sh\necho scontrol "$@" >> "$CALLS"\n')
    out = tmp_path / "a name" / "out"
    out.parent.mkdir()
    script = tmp_path / "job.sh"

    async with serve_fake() as fake:
        key = tmp_path / "key"
        key.write_text("sk-test-0123456789abcdef")
        flags = ("--ledger", tmp_path / "ledger", "--api-url", fake.url, "--api-key-file", key, "-q")
        script.write_text(await print_job("slurm", "run", scans, "-o", out, *flags, shards=3))
        calls = await run_script(script, tmp_path)
    assert [call for call in calls if "failed" in call] == []
    assert "--array=1-3" in calls[0]
    assert "--dependency=afterany:17" in calls[-1]
    assert len(results(out)) == 9
    assert await verify(out) == ""


async def test_more_shards_than_an_array_takes_are_chunked(tmp_path: Path) -> None:
    write_program(tmp_path / "bin", "sbatch", SBATCH)
    script = tmp_path / "job.sh"
    script.write_text(await print_job("slurm", "run", "scans", "-o", "out", "--local", shards=2300))
    calls = await run_script(script, tmp_path, DRY="1")
    assert [call.split(" --export")[0] for call in calls[:3]] == [
        "--parsable --array=1-1000",
        "--parsable --array=1-1000",
        "--parsable --array=1-300",
    ]
    assert ["SHARDS_BEFORE=2000" in call for call in calls] == [False, False, True, False]
    assert "--dependency=afterany:17:17:17" in calls[3]


@pytest.mark.parametrize(
    ("code", "ends", "called"),
    [
        *((code, 0, "") for code in (0, 3, 8, 10)),
        *((code, 0, "requeue 4_2\n") for code in (5, 11, 143)),
        *((code, code, "") for code in (2, 7)),
    ],
)
async def test_exit_codes_are_mapped(tmp_path: Path, code: int, ends: int, called: str) -> None:
    text = await print_job("slurm", "run", "scans", "-o", "out", "--local", shards=2)
    command = next(line for line in text.splitlines() if line.endswith("& pid=$!"))
    script = tmp_path / "job.sh"
    script.write_text(text.replace(command, f"(exit {code}) & pid=$!"))
    write_program(tmp_path / "bin", "scontrol", '#!/bin/sh\necho "$@" >> "$CALLS"\n')
    environ = {**environment(None), "SLURM_ARRAY_TASK_ID": "2", "SHARDS_BEFORE": "0"}
    environ |= {"SLURM_JOB_ID": "4", "SLURM_ARRAY_JOB_ID": "4"}  # as the last task of an array has them
    environ |= {"CALLS": str(tmp_path / "calls"), "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    ended = await anyio.run_process(["bash", str(script)], check=False, env=environ)
    assert ended.returncode == ends
    calls = tmp_path / "calls"
    assert (calls.read_text() if calls.exists() else "") == called


async def test_a_kubernetes_job_has_an_index_per_shard() -> None:
    job, merge = yaml.safe_load_all(await print_job("kubernetes", "run", "it's here", "-o", "out", shards=64))
    spec = job["spec"]
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    assert (spec["completionMode"], spec["completions"]) == ("Indexed", 64)
    assert spec["backoffLimitPerIndex"] > 0
    assert spec["template"]["spec"]["restartPolicy"] == "Never"  # a podFailurePolicy demands it
    rules = {rule["action"]: rule for rule in spec["podFailurePolicy"]["rules"]}
    assert rules["Ignore"]["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    values = rules["FailIndex"]["onExitCodes"]["values"]
    assert values == sorted(values)
    assert not {0, 3, 5, 8, 10, 11} & set(values)
    (container,) = spec["template"]["spec"]["containers"]
    assert rules["FailIndex"]["onExitCodes"]["containerName"] == container["name"]
    assert container["envFrom"] == [{"secretRef": {"name": "pagemill"}}]
    shell, flag, script = container["command"]
    assert (shell, flag) == ("/bin/sh", "-c")
    assert "--api-key-file" not in script
    checked = await anyio.run_process(["sh", "-n", "-c", script], check=False)
    assert checked.returncode == 0, checked.stderr.decode()
    assert (merge["spec"]["suspend"], merge["metadata"]["name"]) == (True, "pagemill-merge")


async def test_what_shards_cannot_run_is_refused() -> None:
    for arguments in (("retry", "out"), ("run", "a", "-o", "out", "--shard", "1/2"), ("run", "-o", "out", "--", "a")):
        ended = await run_command("schedule", "--print", "slurm", "--shards", "3", "--", *arguments)
        assert ended.returncode == 2, arguments
    ended = await run_command("schedule", "--print", "slurm", "--", "run", "a", "-o", "out")
    assert (ended.returncode, b"--shards 64" in ended.stderr) == (2, True)
