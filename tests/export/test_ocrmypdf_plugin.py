"""The entry point of OCRmyPDF's plugin."""

import importlib
from importlib.metadata import entry_points

import ocrmypdf
import pytest

from pipeline.export import ocrmypdf_plugin

HOOKS = {"add_options", "check_options", "get_ocr_engine", "validate"}


def test_ocrmypdf_finds_the_hooks() -> None:
    [found] = [point.load() for point in entry_points(group="ocrmypdf") if point.name == "pagemill"]
    assert vars(found).keys() >= HOOKS


@pytest.mark.parametrize("version", ["16.13.0", "17.4.2", "17.0"])
def test_an_older_ocrmypdf_gets_no_hook_that_it_does_not_know(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ocrmypdf, "__version__", version)
    for hook in HOOKS:
        monkeypatch.delattr(ocrmypdf_plugin, hook)
    assert not vars(importlib.reload(ocrmypdf_plugin)).keys() & HOOKS
