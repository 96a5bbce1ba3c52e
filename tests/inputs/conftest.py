"""Fixtures of the tests of image files."""

from pathlib import Path

import pytest


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return the path of a test's image; its suffix is that of no format."""
    return tmp_path / "page.dat"
