"""Fixtures of the fault tests."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.faults.scene import PAGES, Scene, open_scene
from tests.pages import write_pages


@pytest.fixture
async def scene(scans: Path, tmp_path: Path) -> AsyncGenerator[Scene]:
    """Fifty pages and their server; the scene's directory contains nothing else."""
    write_pages(scans, PAGES)
    directory = tmp_path / "scene"
    directory.mkdir()
    async with open_scene(scans, directory) as opened:
        yield opened
