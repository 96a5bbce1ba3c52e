"""Counts the pages of the INPUTs by state, format and size, and the calls that they need.

Of a file that is settled nothing is opened; of every other its header is read, or, for an exact count, its pages are
prepared as a run prepares them (`exact`).
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from pipeline.batch.file_pages import includes
from pipeline.batch.triage import needs_head, read_kind, settle_kind
from pipeline.config import Config
from pipeline.errors import PageError
from pipeline.inputs.conversion_messages import PrepareSettings
from pipeline.inputs.headers import Header, format_of_name, read_header
from pipeline.records import SourceFile, State, rfc3339
from pipeline.skipped import SMALLER, Skipped
from pipeline.storage.temporary import KeySet
from pipeline.workspace.index import Index
from pipeline.workspace.inventory import FileState, KnownPage
from pipeline.workspace.source_names import encode_name
from pipeline.workspace.tables import FINAL_STATES

URL: Final = "url"
SIZES_BYTES: Final = (100_000, 1_000_000, 10_000_000, 100_000_000)
"""Bounds of the classes of file sizes; the last class has none."""


@dataclass(slots=True)
class FormatCount:
    """Files, pages, bytes and calls of one format."""

    files: int = 0
    pages: int = 0
    bytes: int = 0
    calls: int = 0


@dataclass(slots=True)
class Counts:
    """What the INPUTs hold.

    Attributes:
        files: Files that are pages, by what has become of them; URLs count as files.
        pages: Pages by the state that they will have before a call: `pending` ones need one.
        by_name: Pages that count as done by their name and the file's time; a run reads these files again.
        conversions: Pages to be sent that must be decoded and encoded again.
        skipped: Pages that are not sent, by reason; those that were skipped before included.
        unreadable: Pages that are sure to fail before a call, by class.
        formats: By format.
        sizes: Files by class of size: the index in `SIZES_BYTES`.
        bytes_to_send: Size of the request bodies; of pages that are converted, at most.
        ignored: Files that hold no page, by kind.
        more_calls: Calls beyond one per page, for the further tiles of long pages.
        limited_calls: Calls for the first `--limit` files that are not settled.
        is_limited: True when there are more such files.
    """

    files: Counter[FileState] = field(default_factory=Counter)
    pages: Counter[State] = field(default_factory=Counter)
    by_name: int = 0
    conversions: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    unreadable: Counter[str] = field(default_factory=Counter)
    formats: dict[str, FormatCount] = field(default_factory=dict)
    sizes: Counter[int] = field(default_factory=Counter)
    bytes_to_send: int = 0
    ignored: Counter[str] = field(default_factory=Counter)
    more_calls: int = 0
    limited_calls: int = 0
    is_limited: bool = False

    @property
    def calls(self) -> int:
        """Calls that the pages need: one each, and those for the further tiles of long pages."""
        return self.pages[State.PENDING] + self.more_calls

    def add_file(self, image_format: str, state: FileState, size_bytes: int) -> FormatCount:
        """Count a file; return the count of its format."""
        self.files[state] += 1
        self.sizes[sum(size_bytes >= bound for bound in SIZES_BYTES)] += 1
        count = self.formats.setdefault(image_format, FormatCount())
        count.files += 1
        count.bytes += size_bytes
        return count


class Survey:
    """Takes each file of the INPUTs once.

    Args:
        index: Of the workspace, which is not changed; None for a new one.
        config: All settings.
        settings: How pages are made to fit.
        has_repeats: True when a file may be named twice: by rows of manifests, or by several INPUTs.
        reads_all: True when also files of the same size and time are read.
    """

    def __init__(
        self,
        index: Index | None,
        config: Config,
        settings: PrepareSettings,
        *,
        has_repeats: bool = False,
        reads_all: bool = False,
    ) -> None:
        self._index = index
        self._settings = settings
        self._at_most_once = config.run.at_most_once
        self._names = KeySet() if has_repeats else None
        self._reads_all = reads_all
        self._may_take = config.run.limit
        self._excluded = frozenset(config.input.exclude_kinds)
        self._page_ranges = config.input.page_ranges
        self.counts = Counts()

    def __repr__(self) -> str:
        return f"<Survey {self.counts.calls} calls>"

    def close(self) -> None:
        """Forget the names."""
        if self._names is not None:
            self._names.close()

    def settle(self, file: SourceFile) -> bool:
        """Count a file that needs no look: one that is unmodified, named before, or cannot be opened. Blocks."""
        if self._names is not None and not self._names.add(encode_name(file.name)):
            return True  # a later row of a manifest: its fields are recorded without a call
        size_bytes = 0 if file.stat is None else file.stat.size_bytes
        settled = self._settled_states(file)
        if settled is not None:
            count = self.counts.add_file(_format_of(file), FileState.UNMODIFIED, size_bytes)
            self.counts.pages.update(settled)
            count.pages += sum(settled.values())
            if settled.get(State.SKIPPED) and self._index is not None:
                self.counts.skipped.update(self._index.skips.count(encode_name(file.name)))
            return True
        if file.problem is not None:
            name = file.problem.name if isinstance(file.problem, PageError) else type(file.problem).__name__
            self.add_pages(file, Header(_format_of(file), failing={name: 1}))
            return True
        if file.is_url:
            self.add_pages(file, Header(URL))
            return True
        return False

    def needs_look(self, file: SourceFile) -> bool:
        """Return whether the first bytes of a file decide about it."""
        return needs_head(file, self._excluded)

    def read(self, file: SourceFile) -> Header:
        """Return what a file's header says; one that is no page is counted as ignored. Blocks."""
        kind = self._known_kind(file) or read_kind(file, self._excluded)
        header = read_header(file, self._settings) if kind is None else Header(kind, ignored=kind)
        if header.ignored is not None:
            self.counts.ignored[header.ignored] += 1
        return header

    def add_pages(self, file: SourceFile, header: Header) -> None:
        """Count the pages of a file by its header; those that may fail in their decoder count as calls."""
        states, more_calls = self._states(file, header)
        if states.total() == header.pages:  # else those that fail may be among the pages that are left out
            failing = min(states[State.PENDING], sum(header.failing.values()))
            states[State.PENDING] -= failing
            states[State.FAILED] += failing
            self.counts.unreadable.update(header.failing)
        calls = states[State.PENDING]
        self.counts.conversions += min(calls, header.conversions)
        size_bytes = 0 if file.stat is None else file.stat.size_bytes
        per_page = min(size_bytes // header.pages, self._settings.limits.max_bytes)
        sent_bytes = calls * body_bytes(per_page) if file.path is not None else 0
        self.add_states(file, header.format, states, sent_bytes, more_calls)

    def add_states(
        self, file: SourceFile, image_format: str, states: Mapping[State, int], sent_bytes: int, more_calls: int = 0
    ) -> None:
        """Count a file whose pages have these states, and need this many calls beyond one per pending page."""
        size_bytes = 0 if file.stat is None else file.stat.size_bytes
        state = FileState.NEW if self._index is None else self._index.inventory.file_state(file)
        count = self.counts.add_file(image_format, state, size_bytes)
        self.counts.pages.update(states)
        self.counts.bytes_to_send += sent_bytes
        count.pages += sum(states.values())
        calls = states.get(State.PENDING, 0) + more_calls
        self.counts.more_calls += more_calls
        count.calls += calls
        if self._may_take is not None and self._may_take <= 0:
            self.counts.is_limited = True
        else:
            self._may_take = None if self._may_take is None else self._may_take - 1
            self.counts.limited_calls += calls

    def _settled_states(self, file: SourceFile) -> Mapping[State, int] | None:
        if self._index is None or (self._reads_all and not file.is_url):
            return None
        return self._index.settled_states(file, keep_uncertain=self._at_most_once)

    def _known_kind(self, file: SourceFile) -> str | None:
        is_asked_for = self._index is not None and self.needs_look(file)
        kind = self._index.inventory.kind_of(file) if is_asked_for and self._index is not None else None
        return None if kind is None else settle_kind(file, kind, self._excluded)

    def _states(self, file: SourceFile, header: Header) -> tuple[Counter[State], int]:
        """Return the number of a file's pages by state, and the calls of the pending ones beyond one for each."""
        index, pages = self._index, header.pages
        known = {} if index is None else index.inventory.pages_of(file)
        skipped = {} if index is None else index.skips.find(encode_name(file.name))
        without = frozenset[int]() if index is None else index.positioned.find_without(encode_name(file.name))
        stat = None if index is None else index.inventory.stat_of(file)
        states: Counter[State] = Counter()
        more = 0
        for number in range(1, pages + 1):
            if pages > 1 and not includes(self._page_ranges, number):
                continue
            page = known.get(number)
            is_same = page is not None and (file.is_url or (stat == file.stat if stat else _is_older(file, page)))
            is_known = page is not None and is_same and number not in without
            state = self._state(file, page, skipped.get(number)) if page and is_known else State.PENDING
            if state is State.PENDING and number in header.smaller:
                state = State.SKIPPED
                self.counts.skipped[SMALLER] += 1
            elif state is State.SKIPPED:
                self.counts.skipped[skipped[number].reason] += 1
            states[state] += 1
            if state is State.PENDING and number in header.tiles:
                tiles = header.tiles[number]
                more += tiles - 1 - (0 if index is None else index.parts.count(file, number, tiles))
            self.counts.by_name += stat is None and not file.is_url and state.value in FINAL_STATES
        return states, more

    def _state(self, file: SourceFile, page: KnownPage, skipped: Skipped | None) -> State:
        """Return the state of a page whose content is that of its record or failure."""
        is_asked_for = self._index is not None and not self._index.reviewed.is_recent(
            page.added, file, is_reviewed=page.is_reviewed
        )
        is_left = page.state is State.FAILED and not page.retryable
        is_kept = page.state is State.UNCERTAIN and self._at_most_once
        if page.state is State.SKIPPED and self._index is not None and not self._index.skips.covers(skipped):
            return State.PENDING
        if (page.state.value in FINAL_STATES or is_left) and not is_asked_for:
            return page.state
        return State.UNCERTAIN if is_kept else State.PENDING


def body_bytes(image_bytes: int) -> int:
    """Return the size of a request's body with an image of this size, which is in base64."""
    return 4 * -(-image_bytes // 3) + 200


def _format_of(file: SourceFile) -> str:
    return URL if file.is_url else format_of_name(file.name)


def _is_older(file: SourceFile, page: KnownPage) -> bool:
    """Return whether a file was last written before its page was recorded: the record is of this content."""
    if file.stat is None:
        return False
    return rfc3339(datetime.fromtimestamp(file.stat.mtime_ns / 1e9, UTC)) < page.added
