"""From the entries of INPUTs to files, as the filesystem or an archive has them now."""

import stat
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from pipeline.config import InputConfig
from pipeline.config.duration import parse_moment
from pipeline.errors import MissingFileError, NotAnImageError, PageError, UnreadableFileError
from pipeline.inputs.archives.lookup import find_member, is_archive
from pipeline.inputs.kinds import COMMENT, OLDER, UNREADABLE, is_archive_name
from pipeline.inputs.rows import ManifestEntry
from pipeline.inputs.selection import Inputs, absolute_path
from pipeline.members import Member
from pipeline.records import FileStat, IgnoredFiles, Meta, SourceFile
from pipeline.wire import is_url


def find_file(inputs: Inputs, name: str, *, meta: Meta | None, pages: frozenset[int] | None) -> SourceFile:
    """Return the file or URL of a source name in a record, as it is now.

    Args:
        inputs: Its root is the one that source names are relative to.
        name: The source name.
        meta: Further fields of its manifest row.
        pages: Numbers of the pages to recognise, 1-based; None for all.
    """
    root = str(inputs.names_root or inputs.root)
    found = to_source_file(root, inputs, ManifestEntry(name, meta=meta))
    assert isinstance(found, SourceFile)  # it is neither a comment nor a file of a directory
    return replace(found, pages=pages)


def since_ns_of(config: InputConfig) -> int | None:
    """Return the time before which a file is left out; None for none."""
    if config.changed_since is None:
        return None
    return int(parse_moment(config.changed_since, datetime.now(UTC)).timestamp() * 1e9)


def skip_older(found: SourceFile | IgnoredFiles, since_ns: int) -> SourceFile | IgnoredFiles:
    """Return what was found, or that it is left out because it was last written before this time."""
    is_older = isinstance(found, SourceFile) and found.stat is not None and found.stat.mtime_ns < since_ns
    return IgnoredFiles(OLDER, 1) if is_older else found


def name_entry(base: str, inputs: Inputs, entry: ManifestEntry) -> str:
    """Return the source name of an entry whose name decides, relative to `base` where it is a relative path."""
    if entry.target is None or is_url(entry.target):
        return entry.target or entry.label
    return inputs.source_name(absolute_path(base, entry.target))


def to_source_file(base: str, inputs: Inputs, entry: ManifestEntry) -> SourceFile | IgnoredFiles:
    """Return the file or URL of an entry; one that cannot become a page has a `problem`, a comment is ignored."""
    if entry.target is None or is_url(entry.target):
        return SourceFile(entry.target or entry.label, None, meta=entry.meta, problem=entry.problem)
    path = Path(full := absolute_path(base, entry.target))
    found, member = _find(path, entry)
    if isinstance(found, MissingFileError):
        # A table with spaces after its commas names " a.png"; a file that has this name precedes.
        if (stripped := entry.target.strip()) not in {entry.target, ""}:
            bare = Path(absolute_path(base, stripped))
            status, member = _find(bare, replace(entry, problem=None))
            if isinstance(status, FileStat):
                return SourceFile(inputs.source_name(str(bare)), bare, status, entry.meta, member=member)
        if entry.may_be_comment:
            return IgnoredFiles(COMMENT, 1)
    if entry.undecided and isinstance(found, PageError):  # nothing says that it was a page
        return IgnoredFiles(UNREADABLE, 1)
    if isinstance(found, FileStat):
        name = inputs.source_name(full)
        return SourceFile(name, path, found, entry.meta, undecided=entry.undecided, listed=entry.listed, member=member)
    return SourceFile(inputs.source_name(full), path, None, entry.meta, found)


def _find(path: Path, entry: ManifestEntry) -> tuple[FileStat | PageError, Member | None]:
    """Return size and time of an entry, or why it has none, and its place when it is in an archive."""
    found: FileStat | Member | PageError = entry.problem or entry.member or stat_file(path)
    if isinstance(found, Member):
        return FileStat(found.size_bytes, found.mtime_ns), found
    return found, None


def stat_file(path: Path) -> FileStat | Member | PageError:
    """Return size and time of a file, or its place when it is in an archive, or why it is no file."""
    try:
        status = path.stat()
    except NotADirectoryError:
        return find_member(str(path))
    except FileNotFoundError:
        return MissingFileError("no such file")
    except OSError as exc:
        return UnreadableFileError(exc.strerror or str(exc))
    if not stat.S_ISREG(status.st_mode):
        is_directory = stat.S_ISDIR(status.st_mode)
        return UnreadableFileError("a directory, not a file" if is_directory else "not a regular file")
    if is_archive_name(path.name) and is_archive(str(path)):
        return NotAnImageError("an archive; give it to run as an INPUT, or name its members")
    return FileStat(status.st_size, status.st_mtime_ns)
