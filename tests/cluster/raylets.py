"""A Ray cluster of the tests: its nodes are processes on loopback; one may be killed as a machine that loses power."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import orjson

from pipeline.cluster.ray_engine import EXPECTED
from tests.cluster.namespaces import Machines
from tests.runs import ROOT, environment

_MARK = "PAGEMILL_TEST_NODE"


class Raylets:
    """The nodes of a cluster.

    Args:
        directory: A short path, as sockets are in it.
        machines: Where each node runs; None for loopback.
    """

    def __init__(self, directory: Path, machines: Machines | None = None) -> None:
        self._directory = directory
        self._machines = machines
        self._marks: list[str] = []
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"{self._host(0)}:{free.getsockname()[1]}"

    def start(self, ocr: int) -> int:
        """Start a node with so many units of `ocr`; return its number, 0 for the head."""
        number, (_, _, port) = len(self._marks), self.address.partition(":")
        mark = f"{self._directory}/{number}"
        self._marks.append(mark)
        where = ["--head", "--port", port, "--include-dashboard=false"] if not number else ["--address", self.address]
        command = [] if self._machines is None else [*self._machines.inside(number + 1)]
        command += [
            sys.executable,
            "-m",
            "ray.scripts.scripts",
            "start",
            *where,
            "--node-ip-address",
            self._host(number),
        ]
        command += ["--num-cpus", "1", "--resources", orjson.dumps({"ocr": ocr}).decode()]
        command += ["--object-store-memory", "80000000", "--disable-usage-stats"]
        if not number:
            command += ["--temp-dir", str(self._directory)]
        environ = {**environment(None), **EXPECTED, _MARK: mark, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            command, env=environ, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"ray start: {done.stdout}{done.stderr}")
        return number

    def kill(self, number: int) -> None:
        """Kill all processes of a node at once."""
        for pid in self._pids(self._marks[number]):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def close(self) -> None:
        """Kill all nodes."""
        for number in range(len(self._marks)):
            while self._pids(self._marks[number]):
                self.kill(number)

    def _host(self, number: int) -> str:
        return "127.0.0.1" if self._machines is None else self._machines.address(number + 1)

    @staticmethod
    def _pids(mark: str) -> list[int]:
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                is_zombie = (process / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
                if not is_zombie and f"{_MARK}={mark}\0".encode() in (process / "environ").read_bytes():
                    found.append(int(process.name))
        return found


@contextmanager
def run_raylets(*ocr: int, machines: Machines | None = None) -> Iterator[Raylets]:
    """Run a cluster for the block, of nodes with so many units of `ocr`, on loopback or each on a machine."""
    directory = Path(tempfile.mkdtemp(prefix="pm-ray-", dir="/tmp"))
    raylets = Raylets(directory, machines)
    try:
        for number in ocr:
            raylets.start(number)
        yield raylets
    finally:
        raylets.close()
        shutil.rmtree(directory, ignore_errors=True)
