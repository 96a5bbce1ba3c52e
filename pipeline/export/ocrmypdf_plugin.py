"""The entry point of OCRmyPDF's plugin: the hooks, where OCRmyPDF is recent enough to have them all.

OCRmyPDF loads this module at each start, in each process, wherever pagemill is installed. A hook that it does not know
would end it.
"""

from typing import Final

from ocrmypdf import __version__

__all__ = ["add_options", "check_options", "get_ocr_engine", "validate"]

_LEAST_VERSION: Final = (17, 5)
"""Engines are told the options, and these the working folder."""

if tuple(map(int, __version__.split(".")[:2])) >= _LEAST_VERSION:
    from pipeline.export.ocrmypdf_hooks import add_options, check_options, get_ocr_engine, validate
