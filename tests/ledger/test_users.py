"""Users of one machine share a key's ledger in a directory of their group."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from pipeline.ledger.places import ledger_path
from tests.pages import write_pages
from tests.runs import KEY, ROOT

IS_ROOT = os.geteuid() == 0
FIRST, SECOND = (4001, 4002) if IS_ROOT else (os.getuid(), os.getuid())
"""Two users. Where the tests do not run as root, their user plays both: modes are tested then, rights are not."""
GROUP = 4000 if IS_ROOT else os.getgid()


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory of the group, with the set-group-ID bit."""
    with TemporaryDirectory() as directory:
        path = Path(directory)
        os.chown(path, -1, GROUP)
        path.chmod(0o2775)
        yield path


def start(uid: int, umask: str, *arguments: object) -> "subprocess.Popen[str]":
    """Start a process of a user."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.user_process", str(uid), str(GROUP), umask, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: "subprocess.Popen[str]") -> str:
    """Return the process's output; it must end well."""
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return output.strip()


@pytest.mark.parametrize(
    ("umask", "mode"),
    [
        pytest.param("002", 0o664, id="others-may-read"),
        pytest.param("007", 0o660, id="group-alone"),
    ],
)
def test_two_users_share_a_quota(shared: Path, umask: str, mode: int) -> None:
    """The second user's calls count on top of the first's; ledger, journal and lock have the directory's group."""
    ledgers = shared / "ledger"
    outputs = []
    for number, uid in enumerate((FIRST, SECOND, FIRST)):
        scans, out = shared / f"scans-{number}", shared / f"out-{uid}"
        write_pages(scans, 4 + number)
        outputs.append(finish(start(uid, umask, "run", scans, out, ledgers, 7)))
    # The first page sets of both users overlap; each has a workspace of their own.
    assert outputs == ["0 4", "8 3", "8 0"]
    path = ledger_path(ledgers, KEY, "127.0.0.1")
    for file in (path, path.with_name(f"{path.name}-journal")):
        assert (file.stat().st_mode & 0o777, file.stat().st_gid) == (mode, GROUP), file
    for directory in (ledgers, path.with_suffix(".owners")):
        assert (directory.stat().st_mode & 0o7777, directory.stat().st_gid) == (0o2777 & ~int(umask, 8), GROUP)


def test_the_owner_of_another_user_is_alive_until_it_dies(shared: Path) -> None:
    path = ledger_path(shared, KEY, "127.0.0.1")
    holder = start(FIRST, "007", "hold", path)
    assert holder.stdout is not None
    owner = holder.stdout.readline().strip()
    assert owner, holder.stderr.read() if holder.stderr is not None else ""
    lock = path.with_suffix(".owners") / f"{owner}.lock"
    assert (lock.stat().st_mode & 0o777, lock.stat().st_uid, lock.stat().st_gid) == (0o660, FIRST, GROUP)
    assert finish(start(SECOND, "007", "recover", path)) == "0"
    holder.kill()
    holder.communicate(timeout=30)
    assert finish(start(SECOND, "007", "recover", path)) == "2"
    assert not lock.exists()


def test_a_private_ledger_stays_private(shared: Path) -> None:
    """With a strict umask; and a private directory above it is left as it is."""
    private = shared / "private"
    private.mkdir()
    private.chmod(0o700)
    os.chown(private, FIRST, GROUP)
    path = ledger_path(private, KEY, "127.0.0.1")
    finish(start(FIRST, "077", "recover", path))
    assert private.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(not IS_ROOT, reason="only root can become another user; the others test modes alone")
def test_another_user_without_rights_gets_a_ledger_error(shared: Path) -> None:
    """Negative control: without the group's rights the second user cannot count, and nothing is sent."""
    scans = shared / "scans"
    write_pages(scans, 2)
    assert finish(start(FIRST, "077", "run", scans, shared / "out-1", shared / "ledger", 7)) == "0 2"
    second = start(SECOND, "077", "run", scans, shared / "out-2", shared / "ledger", 7)
    _, errors = second.communicate(timeout=120)
    assert second.returncode == 1
    assert "LedgerError" in errors
