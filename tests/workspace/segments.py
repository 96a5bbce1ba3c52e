"""Workspaces whose records are in several files, plain and compressed."""

import threading
from collections.abc import Sequence
from pathlib import Path

from pipeline.workspace.compression import compress_segments
from pipeline.workspace.paths import RESULTS
from pipeline.workspace.segments import next_number, segment_name


def close_file(workspace: Path) -> Path:
    """Rename results.jsonl to the next segment, and return that; an empty file takes its place, as in a run."""
    segment = workspace / segment_name(number := next_number(workspace), number, compressed=False)
    (workspace / RESULTS).rename(segment)
    (workspace / RESULTS).touch()
    return segment


def compress(workspace: Path, joined_bytes: int = 0) -> None:
    """Compress all plain segments, each by itself unless several have so few bytes together."""
    compress_segments(workspace, joined_bytes, threading.Event())


def put_segments(workspace: Path, contents: Sequence[bytes], *, compressed: bool = False) -> None:
    """Write each content but the last one as a segment, and the last one as results.jsonl."""
    workspace.mkdir(exist_ok=True)
    for content in contents[:-1]:
        (workspace / RESULTS).write_bytes(content)
        close_file(workspace)
    (workspace / RESULTS).write_bytes(contents[-1])
    if compressed:
        compress(workspace)


def names(workspace: Path) -> list[str]:
    """Return the names of the files of records."""
    return sorted(path.name for path in workspace.glob("*results*"))
