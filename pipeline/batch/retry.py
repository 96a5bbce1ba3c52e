"""Pages that failed before, as files to dispatch again: `pagemill retry`."""

from collections.abc import AsyncGenerator, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Final

import anyio.to_thread

from pipeline.errors import BadManifestEntryError
from pipeline.inputs.archives.holding import place_in_archive, streamed_archive
from pipeline.inputs.entries import find_file
from pipeline.inputs.selection import Inputs
from pipeline.records import SourceFile, State
from pipeline.workspace.index import Index
from pipeline.workspace.worklist import FailedPage

_FILES_PER_HOP: Final = 64


@dataclass(frozen=True, slots=True)
class RetrySelection:
    """Which failed pages are tried again.

    Attributes:
        errors: Classes of failures; none stands for all except uncertain pages, whose calls may have been billed.
        before: Only failures before this moment, RFC 3339; None for all.
    """

    errors: frozenset[str] = frozenset()
    before: str | None = None

    def includes(self, page: FailedPage) -> bool:
        """Return whether a failed page is tried again; a row of a manifest that names no page has nothing to send."""
        failure = page.failure
        if failure.error == BadManifestEntryError.name:
            return False
        is_wanted = failure.error in self.errors if self.errors else failure.state is not State.UNCERTAIN
        return is_wanted and (self.before is None or failure.added < self.before)


async def retry_files(index: Index, inputs: Inputs, selection: RetrySelection) -> AsyncGenerator[SourceFile, None]:
    """Yield the files of the failed pages, each with the numbers of these pages.

    Args:
        index: Knows the failed pages.
        inputs: Its root is the one that source names are relative to.
        selection: Which pages.
    """
    files = _find_files(index, inputs, selection)
    while batch := await anyio.to_thread.run_sync(lambda: list(islice(files, _FILES_PER_HOP)), abandon_on_cancel=True):
        for file in batch:
            yield file


async def count_retries(index: Index, selection: RetrySelection) -> int:
    """Return the number of files that `retry_files` would yield."""
    sources = groupby(filter(selection.includes, index.worklist()), key=lambda page: page.failure.source)
    return await anyio.to_thread.run_sync(lambda: sum(1 for _ in sources))


def _find_files(index: Index, inputs: Inputs, selection: RetrySelection) -> Iterator[SourceFile]:
    """Yield the files by name, but the members of a compressed TAR in its order, which takes one pass over it."""
    for archive, files in groupby(_find_by_name(index, inputs, selection), key=streamed_archive):
        yield from _order(files, is_streamed=archive is not None)


def _order(files: Iterable[SourceFile], *, is_streamed: bool) -> Iterable[SourceFile]:
    return sorted(files, key=place_in_archive) if is_streamed else files


def _find_by_name(index: Index, inputs: Inputs, selection: RetrySelection) -> Iterator[SourceFile]:
    chosen = filter(selection.includes, index.worklist())
    for source, group in groupby(chosen, key=lambda page: page.failure.source):
        failures = [page.failure for page in group]
        # The content of a page without an id could not be read: the number of the file's pages is not known.
        is_whole = any(failure.id is None for failure in failures)
        pages = None if is_whole else frozenset(failure.page for failure in failures)
        yield find_file(inputs, source, meta=failures[-1].meta, pages=pages)
