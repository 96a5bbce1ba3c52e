"""Folds corrections files into a workspace: each becomes a record that keeps the original.

Records are appended and synced in groups, as those of a run, and the index follows. A correction that cannot be applied
is reported, and the others are applied. Applying the same files again adds nothing, so that a command that was killed,
or that a full disk ended, is simply repeated.
"""

import logging
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import anyio

from pipeline.correct.corrections_file import Correction
from pipeline.correct.decisions import Effect, RefusedError, decide, follow, transcribe, transcription
from pipeline.correct.order import CorrectionFiles, Line
from pipeline.errors import StorageError
from pipeline.records import Failure, Record, rfc3339
from pipeline.workspace.index import Index
from pipeline.workspace.lock import lock_workspace
from pipeline.workspace.paths import FAILURES, PARTS, RESULTS
from pipeline.workspace.repair import repair_file
from pipeline.workspace.run_file import require_workspace
from pipeline.workspace.sink import Sink, open_sink
from pipeline.workspace.source_names import decode_name, encode_name

if TYPE_CHECKING:
    from pipeline.workspace.read_position import Span

_RECORDS_PER_GROUP: Final = 64

logger = logging.getLogger("pagemill")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A line of a corrections file that was not applied.

    Attributes:
        file: The file's path.
        line: Its number, from 1.
        reason: Why.
        source: The page's source, with surrogate escapes; None when the line cannot be read.
        page: 1-based; None when the line cannot be read.
    """

    file: Path
    line: int
    reason: str
    source: str | None = None
    page: int | None = None


@dataclass(slots=True)
class Folded:
    """What corrections files did.

    Attributes:
        effects: Number of lines by what they did.
        copies: Pages of the same content and text that got a correction, too.
        refused: Number of lines that were not applied.
    """

    effects: Counter[Effect] = field(default_factory=Counter)
    copies: int = 0
    refused: int = 0


def fold(
    workspace: Path,
    paths: Sequence[Path],
    stdin: BinaryIO,
    report: Callable[[Refusal], object],
    *,
    force: bool = False,
    report_superseded: Callable[[Refusal], object] = lambda _: None,
) -> Folded:
    """Fold corrections files into a workspace.

    Args:
        workspace: The directory given to `-o`.
        paths: The files, in the order in which they are applied; `order.STDIN` stands for `stdin`.
        stdin: Read for that.
        report: Is told of each line that was not applied.
        force: True applies corrections of pages that have got another record since the person saw them.
        report_superseded: Is told of each line whose page has a later review by the same person.

    Raises:
        UsageError: there is no workspace, or a file cannot be read; nothing was changed.
        WorkspaceLockedError: a run holds the workspace; nothing was changed.
        StorageError: the workspace cannot be read or written, or its lines were edited by hand.
    """
    require_workspace(workspace)
    with CorrectionFiles(paths, stdin) as files, lock_workspace(workspace):
        was_torn = [repair_file(workspace / name) for name in (RESULTS, FAILURES, PARTS)]
        with Index.open(workspace, was_torn=any(was_torn)) as index:
            _require_unedited(workspace, index)
            folding = partial(_fold, workspace, files, index, report, report_superseded=report_superseded, force=force)
            return anyio.run(folding)


def _require_unedited(workspace: Path, index: Index) -> None:
    if edited := index.proofs.edited():
        raise StorageError(
            f"{workspace}: {len(edited)} lines were edited by hand; accept them first: pagemill correct {workspace}"
            " --reseal"
        )
    if index.damaged:
        logger.warning("%s: %d damaged lines; pagemill verify names each", workspace, len(index.damaged))


async def _fold(
    workspace: Path,
    files: CorrectionFiles,
    index: Index,
    report: Callable[[Refusal], object],
    *,
    report_superseded: Callable[[Refusal], object],
    force: bool,
) -> Folded:
    async with open_sink(workspace) as sink:
        folding = _Folding(index, sink, files, force=force)
        for line in files.lines():
            try:
                effect = await folding.apply(line.content)
            except RefusedError as exc:
                folding.result.refused += 1
                report(_refusal(line, str(exc)))
            else:
                if effect is Effect.SUPERSEDED:
                    report_superseded(_refusal(line, "the same person has reviewed it later"))
        await folding.flush()
        folding.result.effects[Effect.SUPERSEDED] += files.superseded
        return folding.result


class _Folding:
    """One call of `fold`."""

    def __init__(self, index: Index, sink: Sink, files: CorrectionFiles, *, force: bool) -> None:
        self._index = index
        self._sink = sink
        self._files = files
        self._force = force
        self._group: list[Record] = []
        """Records that are written together; their pages are not read before."""
        self.result = Folded()

    def __repr__(self) -> str:
        return f"<_Folding {self.result}>"

    async def apply(self, content: Correction | str) -> Effect:
        """Apply a correction to its page and to the copies of that; return what it does.

        Raises:
            RefusedError: it cannot be applied.
            StorageError: its record, or one before it, could not be written.
        """
        if isinstance(content, str):
            raise RefusedError(content)
        if self._group and (len(self._group) >= _RECORDS_PER_GROUP or self._is_in_group(content)):
            await self.flush()
        now = rfc3339(datetime.now(UTC))
        record, failure = self._find_page(content)
        if record is not None:
            effect, revised = decide(content, record, now, force=self._force)
        else:
            assert failure is not None
            effect, revised = Effect.TRANSCRIBED, transcribe(content, failure, now, force=self._force)
        self.result.effects[effect] += 1
        if revised is not None:
            copies = list(self._find_copies(revised, None if record is None else record.text))
            self.result.copies += len(copies)
            self._group += [revised, *copies]
        return effect

    async def flush(self) -> None:
        """Write the records of the group, and let the index follow.

        Raises:
            StorageError: they could not be written.
        """
        group, self._group = self._group, []
        spans: dict[int, Span] = {}
        problems: list[StorageError] = []

        async def append(at: int, record: Record) -> None:
            try:
                spans[at] = await self._sink.append_record(record)
            except StorageError as exc:
                problems.append(exc)

        async with anyio.create_task_group() as appends:
            for at, record in enumerate(group):
                appends.start_soon(append, at, record)
        if problems:  # the next opening of the index reads the lines that were written
            cause = problems[0].__cause__
            reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else problems[0]
            raise StorageError(
                f"{RESULTS}: {reason}; repeat the command for the corrections that are missing"
            ) from cause
        for at, span in sorted(spans.items()):
            self._index.add_record(group[at], span)
        if self._index.needs_commit:
            self._index.commit()

    def _is_in_group(self, correction: Correction) -> bool:
        """Return whether a correction may change a page of the group: its name may be normalised otherwise."""
        names = {decode_name(name) for name in _spellings(correction.source)}
        return any(record.page == correction.page and record.source in names for record in self._group)

    def _find_page(self, correction: Correction) -> tuple[Record | None, Failure | None]:
        """Return the page's last record, or its failure.

        Raises:
            RefusedError: it has neither.
        """
        page = correction.page
        for source in _spellings(correction.source):
            if (record := self._index.contents.find_page(source, page)) is not None:
                return record, None
            if (failure := self._index.find_failure(source, page)) is not None:
                return None, failure
            if (state := self._index.contents.find_state(source, page)) is not None:
                raise RefusedError(f"it is {state} and has no text, or its line is damaged")
        raise RefusedError("the workspace has no such page")

    def _find_copies(self, revised: Record, former: str | None) -> Iterator[Record]:
        """Yield the new records of pages with the content and the text of a page that was reviewed.

        Args:
            revised: The page's new record.
            former: Its text until now; None when it had failed.
        """
        for source, page in self._index.reviewed.find_copies(revised.id):
            is_itself = (source, page) == (encode_name(revised.source), revised.page)
            if is_itself or self._files.names(source, page):
                continue
            record = self._index.contents.find_page(source, page)
            failure = None if record is not None else self._index.find_failure(source, page)
            if record is not None and record.text == former:
                yield follow(record, revised)
            elif former is None and failure is not None and failure.id == revised.id:
                assert revised.review is not None
                first = revised.duplicate_of or revised.source
                yield transcription(
                    failure, revised.id, revised.text, revised.review, revised.added, duplicate_of=first
                )


def _spellings(source: bytes) -> list[bytes]:
    """Return a name, and the same one with its accents composed and apart: some programs change these."""
    spellings = dict.fromkeys([source])
    with suppress(UnicodeDecodeError):
        text = source.decode()
        spellings |= dict.fromkeys(unicodedata.normalize(form, text).encode() for form in ("NFC", "NFD"))
    return list(spellings)


def _refusal(line: Line, reason: str) -> Refusal:
    if isinstance(line.content, str):
        return Refusal(line.file, line.number, reason)
    return Refusal(line.file, line.number, reason, decode_name(line.content.source), line.content.page)
