"""What a walk yields: the pages of one directory, or of a folder in an archive."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pipeline.members import Member


class Listing(NamedTuple):
    """The files and subdirectories of one directory, or a part of the files of a folder in an archive.

    Attributes:
        path: The directory.
        files: Names of the files that are or may be pages, in byte order.
        undecided: Those of them whose first bytes decide.
        folders: Names of the subdirectories to list, in descending byte order: the walk pops them from the end.
        ignored: Number of ignored files by kind.
        fault: Why the listing is incomplete; None when it is complete.
        members: For a folder in an archive, where the bytes of its `files` are.
        notes: Lines for a person, about members of an archive that are refused by name.
        is_archive: True for an archive or a folder in one.
    """

    path: str
    files: list[str]
    undecided: frozenset[str]
    folders: list[str]
    ignored: Mapping[str, int]
    fault: str | None
    members: Sequence[Member] = ()
    notes: Sequence[str] = ()
    is_archive: bool = False

    @property
    def subject(self) -> str:
        """What cannot be done when there is a fault."""
        return "cannot list the archive" if self.is_archive else "cannot list the directory"
