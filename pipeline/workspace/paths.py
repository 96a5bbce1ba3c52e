"""Names of the files in a workspace.

Beside these, `repair` names the files that hold lines of a failed disk (`.rescued-…`) and torn lines (`.broken-…`).
"""

from typing import Final

RESULTS: Final = "results.jsonl"
"""One line per record."""

FAILURES: Final = "failures.jsonl"
"""One line per failure."""

PARTS: Final = "parts.jsonl"
"""One line per finished tile of a page that takes several calls; the page's record follows when all are there."""

DEFERRED: Final = "deferred.jsonl"
"""One line per page of a shard that another one recognises; no other workspace has it."""

REPLIES: Final = "replies"
"""Directory of the paid replies that could not be understood, one file per attempt."""

INDEX: Final = "index.sqlite3"
"""Rebuilt from the files above when it is missing, outdated or damaged."""

RUN: Final = "run.json"
"""The workspace's id and service, and the settings and totals of the last run."""

PROGRESS: Final = "progress.json"
"""The counters of the run that is under way."""

LOCK: Final = ".lock"
"""Locked exclusively by a run, shared by `verify`."""

BALLAST: Final = ".ballast"
"""Disk space that a run frees when the disk is full."""

FORMER_BALLAST: Final = ".reserve"
"""The ballast of release 0.1; a crash may have left one."""
