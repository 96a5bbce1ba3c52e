"""Counts what headers do not tell: the pages of a PDF, and the calls for a file as a run would make them."""

import os
from collections import Counter
from concurrent.futures import Executor

from pipeline.batch.file_pages import count_pages, includes, open_image, page_numbers
from pipeline.batch.planning.survey import URL, Survey
from pipeline.config import Config
from pipeline.errors import PageError
from pipeline.inputs.conversion_messages import PrepareSettings
from pipeline.inputs.headers import Header, format_of_name
from pipeline.inputs.image import Converter, ImageFile, prepare_url
from pipeline.records import PageId, Payload, SourceFile, State
from pipeline.storage.key_set import KeySet
from pipeline.workspace.index import Index


class ExactCount:
    """Decides about each page as the dispatcher does; of equal contents the first needs the call.

    Args:
        survey: Where the pages are counted.
        index: Of the workspace, which is not changed; None for a new one.
        config: All settings.
        settings: How pages are made to fit.
        converter: Converts pages that do not fit.
        threads: Where files are read.
    """

    def __init__(
        self,
        survey: Survey,
        index: Index | None,
        config: Config,
        settings: PrepareSettings,
        *,
        converter: Converter,
        threads: Executor,
    ) -> None:
        self._survey = survey
        self._index = index
        self._dedup = config.prepare.dedup
        self._page_ranges = config.input.page_ranges
        self._settings = settings
        self._converter = converter
        self._threads = threads
        self._sent = KeySet()
        self._uncertain: frozenset[PageId] = frozenset()
        if config.run.at_most_once and index is not None:
            self._uncertain = index.uncertain_ids()

    def __repr__(self) -> str:
        return f"<ExactCount {self._survey!r}>"

    def close(self) -> None:
        """Forget the contents."""
        self._sent.close()

    async def add(self, file: SourceFile) -> None:
        """Count a file's pages."""
        states: Counter[State] = Counter()
        sent_bytes = 0
        image_format = format_of_name(file.name) if file.path is not None else URL
        image = open_image(file, self._settings)
        if image is not None and not includes(self._page_ranges, 1):
            await image.count(self._converter, self._threads)
        for number in page_numbers(file, image, self._page_ranges):
            try:
                payload = await self._prepare(file, image, number)
            except PageError as exc:
                self._survey.counts.unreadable[exc.name] += 1
                states[State.FAILED] += 1
                continue
            state = self._state(file, payload)
            states[state] += 1
            if state is State.PENDING:
                sent_bytes += len(payload.body)
                is_whole = payload.prep is None or payload.prep.bytes == (file.stat and file.stat.size_bytes)
                self._survey.counts.conversions += not (is_whole and count_pages(image) == 1)
        if image is not None:
            image.close()
        self._survey.add_states(file, image_format, states, sent_bytes)

    async def _prepare(self, file: SourceFile, image: ImageFile | None, number: int) -> Payload:
        if image is None:
            return prepare_url(file.name)
        return await image.prepare(number, self._converter, self._threads)

    def _state(self, file: SourceFile, payload: Payload) -> State:
        index, since = self._index, file.again_before or ""
        if index is not None:
            if index.has_result(file, payload.page, payload.id):
                return State.DONE
            record = index.find_record(payload.id) if self._dedup else None
            if record is not None and record.added >= since:
                return State.DUPLICATE
            failure = index.find_left_failure(file, payload.page, payload.id)
            if failure is not None and failure.added >= since:
                return State.FAILED
        if payload.text is not None:
            return State.SKIPPED
        if self._dedup and not self._sent.add(os.fsencode(payload.id)):
            return State.DUPLICATE
        return State.UNCERTAIN if payload.id in self._uncertain else State.PENDING


class PdfCount:
    """Counts the pages of PDFs, without rendering one.

    Args:
        survey: Where the pages are counted.
        settings: How pages are made to fit.
        converter: Opens the file in a worker process.
        threads: Where files are read.
    """

    def __init__(self, survey: Survey, settings: PrepareSettings, converter: Converter, threads: Executor) -> None:
        self._survey, self._settings = survey, settings
        self._converter, self._threads = converter, threads

    def __repr__(self) -> str:
        return f"<PdfCount {self._survey!r}>"

    async def add(self, file: SourceFile) -> None:
        """Count a file's pages, 1 for one that cannot be opened; each may need a call and a conversion."""
        image = open_image(file, self._settings)
        if image is not None:
            await image.count(self._converter, self._threads)
            image.close()
        pages = count_pages(image)
        self._survey.add_pages(file, Header("pdf", pages, conversions=pages))
