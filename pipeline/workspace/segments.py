"""The files that hold the records: closed segments, and results.jsonl, which alone is appended to.

A segment is named by its number, from 1: `results-000001.jsonl`; compressed, `results-000001.jsonl.zst`. Several that
were compressed together are named by the first and the last: `results-000002-000005.jsonl.zst`. A file is complete when
it has its name. So a file whose numbers another one covers is what a crash left after that other one was complete.
"""

import re
from dataclasses import dataclass
from os import listdir
from pathlib import Path
from typing import Final

from pipeline.workspace.paths import RESULTS

_PREFIX: Final = "results-"
_NAME: Final = re.compile(r"results-(?P<first>\d{6,})(?:-(?P<last>\d{6,}))?\.jsonl(?P<zstd>\.zst)?")


@dataclass(frozen=True, slots=True)
class Segment:
    """A closed part of the records.

    Attributes:
        first: Its number, or that of the first segment that it holds.
        last: That of the last one.
        name: The file's name.
    """

    first: int
    last: int
    name: str

    @property
    def is_compressed(self) -> bool:
        """Whether the file is compressed."""
        return self.name.endswith(".zst")


def segment_name(first: int, last: int, *, compressed: bool) -> str:
    """Return the name of the file that holds these segments."""
    numbers = f"{first:06}" if first == last else f"{first:06}-{last:06}"
    return f"results-{numbers}.jsonl{'.zst' if compressed else ''}"


def find_segments(workspace: Path) -> list[Segment]:
    """Return the segments in their order, without those that others cover; none for a missing directory.

    Raises:
        OSError: the directory cannot be listed.
    """
    return [segment for segment, is_covered in _list_segments(workspace) if not is_covered]


def find_covered(workspace: Path) -> list[Segment]:
    """Return the files whose segments other files hold, too."""
    return [segment for segment, is_covered in _list_segments(workspace) if is_covered]


def next_number(workspace: Path) -> int:
    """Return the number of the segment that is closed next."""
    return max((segment.last for segment, _ in _list_segments(workspace)), default=0) + 1


def has_results(workspace: Path) -> bool:
    """Return whether a workspace has a file of records."""
    return (workspace / RESULTS).exists() or bool(find_segments(workspace))


def sum_file_sizes(workspace: Path) -> int:
    """Return the bytes that the records take on the disk."""
    names = [RESULTS, *(segment.name for segment in find_segments(workspace))]
    return sum((workspace / name).stat().st_size for name in names if (workspace / name).exists())


def _list_segments(workspace: Path) -> list[tuple[Segment, bool]]:
    try:
        names = listdir(workspace)  # noqa: PTH208 - three times as fast
    except FileNotFoundError:
        return []
    found = [match for name in names if name.startswith(_PREFIX) and (match := _NAME.fullmatch(name))]
    segments = [Segment(int(match["first"]), int(match["last"] or match["first"]), match[0]) for match in found]
    segments.sort(key=lambda segment: (segment.first, -segment.last, not segment.is_compressed))
    listed, covered = [], 0
    for segment in segments:
        listed.append((segment, segment.last <= covered))
        covered = max(covered, segment.last)
    return listed
