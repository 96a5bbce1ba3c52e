"""What all tests share: a home of their own, and no key of the person who runs them."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("pagemill", deadline=None)
settings.load_profile("pagemill")


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests away from the user's ledgers, configuration and keys."""
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
