"""The command and the environment of a child process that runs a module of this package."""

import os
import sys
from pathlib import Path

import pipeline

_SECRETS = ("PAGEMILL_OPERATOR_KEY", "PAGEMILL_API_KEY", "LLMOCR_API_KEY")


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of this package in another Python.

    `-P` keeps the current directory out of the import path: a user's own folder named `pipeline` is no module.
    """
    return [sys.executable, "-P", "-m", module, *arguments]


def child_environ(environ: "os._Environ[str] | dict[str, str]") -> dict[str, str]:
    """Return the environment for a process of ours: without keys, and with this package on the import path."""
    child = {name: value for name, value in environ.items() if name not in _SECRETS}
    root = Path(pipeline.__file__).resolve().parent.parent
    if root.name not in {"site-packages", "dist-packages"}:  # a checkout that is not installed
        child["PYTHONPATH"] = os.pathsep.join(filter(None, (str(root), child.get("PYTHONPATH"))))
    return child
