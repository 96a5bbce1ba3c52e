"""The command and the environment of a child process that runs a module of this package."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pipeline
from pipeline.config import OPERATOR_KEY_VARIABLE

_SECRET_VARIABLES: Final = frozenset({OPERATOR_KEY_VARIABLE, "PAGEMILL_API_KEY", "LLMOCR_API_KEY"})


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of this package in another Python process.

    `-P` keeps the current directory off the import path, where a user's folder named `pipeline` would be imported.
    """
    return [sys.executable, "-P", "-m", module, *arguments]


def child_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a child process: without API keys, and with this package on the import path."""
    child = {name: value for name, value in environ.items() if name not in _SECRET_VARIABLES}
    root = Path(pipeline.__file__).resolve().parent.parent
    if root.name not in {"site-packages", "dist-packages"}:  # a checkout that is not installed
        child["PYTHONPATH"] = os.pathsep.join(filter(None, (str(root), child.get("PYTHONPATH"))))
    return child
