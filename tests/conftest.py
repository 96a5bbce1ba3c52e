"""Fixtures of all tests: an empty home directory, an environment without the user's settings, directories of pages."""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from pipeline.storage import filesystems
from tests.engine_server import engine_server  # noqa: F401 - importing a fixture registers it for all tests
from tests.postgres import postgres_server  # noqa: F401

settings.register_profile("pagemill", deadline=None)
settings.load_profile("pagemill")

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored, and every run would inherit that


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every test away from the user's ledgers, configuration and keys."""
    home = tmp_path_factory.mktemp("home")
    for name in list(os.environ):
        if name.startswith(("PAGEMILL_", "LLMOCR_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """An empty directory for pages."""
    directory = tmp_path / "scans"
    directory.mkdir()
    return directory


@pytest.fixture
def network_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that the mount table lists as an NFS mount."""
    mounted = tmp_path / "far away"
    mounted.mkdir()
    name = str(mounted).replace(" ", "\\040")
    lines = ["27 1 254:0 / / rw - ext4 /dev/vda rw", f"40 27 0:50 / {name} rw,relatime shared:9 - nfs4 host:/x rw"]
    (tmp_path / "mountinfo").write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(filesystems, "_MOUNTINFO", tmp_path / "mountinfo")
    return mounted


@pytest.fixture
def as_nobody() -> Iterator[Path]:
    """Yield a directory, and run the test as an ordinary user: root may do what permissions forbid."""
    uid = os.geteuid()
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        if uid == 0:
            os.seteuid(65534)
        try:
            yield Path(name)
        finally:
            if uid == 0:
                os.seteuid(0)
