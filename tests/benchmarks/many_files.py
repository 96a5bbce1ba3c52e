"""A directory of very many files: time to the first call, and a second run that changes nothing.

    python -m tests.benchmarks.many_files [FILES]

Tiny JPEGs, each of other content, in folders of 1,000, and a server on this machine that answers at once. `first call`
is the time from the start of the command to its first call; the second run is measured alone, and then under strace,
which counts the files of the directory that it opens. Exit code 1: the first call takes more than 1 s, the second run
more than 10 s, or it opens a file.
"""

import resource
import subprocess
import sys
import tempfile
import time
from multiprocessing import Process
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Final

from tests.benchmarks.fast_server import fast_server
from tests.benchmarks.usage import run_measured
from tests.inputs.images import encode, noise
from tests.runs import COMMAND, KEY, environment, results

FILES: Final = 200_000
FIRST_CALL_S, SECOND_RUN_S = 1.0, 10.0
_PER_FOLDER: Final = 1000


def write_files(scans: Path, files: int) -> None:
    """Write JPEGs that differ in a comment."""
    data = encode(noise((60, 60), "L"), "JPEG")
    for number in range(files):
        if number % _PER_FOLDER == 0:
            folder = scans / f"{number // _PER_FOLDER:04}"
            folder.mkdir(parents=True)
        comment = b"\xff\xfe\0\x0a" + number.to_bytes(8, "big")
        (folder / f"{number:07}.jpg").write_bytes(data[:2] + comment + data[2:])


def time_first_call(command: list[str], workspace: Path) -> float:
    """Return the seconds from the start of the command to its first result, and kill it."""
    begun_s = time.monotonic()
    with Popen(command, env=environment(KEY), stdout=DEVNULL, stderr=DEVNULL) as process:
        while not (workspace / "results.jsonl").exists() or not results(workspace):
            assert process.poll() is None
            time.sleep(0.005)
        first_s = time.monotonic() - begun_s
        process.kill()
    return first_s


def count_opened(command: list[str], directory: Path, scans: Path) -> int:
    """Return the number of files below `scans` that a command opens."""
    trace = directory / "trace"
    strace = ["strace", "-f", "-qq", "-e", "trace=open,openat", "-o", str(trace)]
    subprocess.run([*strace, *command], env=environment(KEY), check=True)
    with trace.open(errors="replace") as lines:
        return sum(str(scans) in line and ".jpg" in line for line in lines)


def main() -> int:
    """Print the figures; return 1 when a bound is exceeded."""
    files = int(sys.argv[1]) if len(sys.argv) > 1 else FILES
    with tempfile.TemporaryDirectory(prefix="many-files-") as name, fast_server() as url:
        directory = Path(name)
        scans = directory / "scans"
        writer = Process(target=write_files, args=(scans, files))
        writer.start()
        writer.join()

        def command(workspace: str) -> list[str]:
            options = ["--api-url", url, "--ledger", str(directory), "-qq"]
            return [*COMMAND, "run", str(scans), "-o", str(directory / workspace), *options]

        first_s = time_first_call(command("killed"), directory / "killed")
        print(f"{files:,} files: first call after {first_s:.2f} s", flush=True)
        first = run_measured(command("out"))
        print(f"first run {first.wall_s:.0f} s, {files / first.wall_s:.0f} pages/s, {first.peak_mb:.0f} MB", flush=True)
        second = run_measured(command("out"))
        print(f"second run {second.wall_s:.2f} s, {second.cpu_s:.2f} s of CPU, {second.peak_mb:.0f} MB", flush=True)
        opened = count_opened(command("out"), directory, scans)
        print(f"files opened by a second run: {opened}")
    is_sound = (first.exit_code, second.exit_code, opened) == (0, 0, 0)
    return int(not is_sound or first_s > FIRST_CALL_S or second.wall_s > SECOND_RUN_S)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.exit(main())
