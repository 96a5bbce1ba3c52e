"""What people have corrected and checked since a report was built, for its pages that are open in browsers.

The lines that were added to results.jsonl are read when a page asks, so that it learns of corrections whoever folded
them in: this server, another one, or `pagemill correct`.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import orjson

from pipeline.errors import StorageError
from pipeline.review import CORRECTION
from pipeline.workspace.joined_lines import parse_lines
from pipeline.workspace.line_stream import LineStream
from pipeline.workspace.paths import RESULTS
from pipeline.workspace.read_position import ReadPosition, Span
from pipeline.workspace.result_lines import ResultLine, parse_whole_result
from pipeline.workspace.source_names import decode_name, name_fields

KEPT_BYTES: Final = 32 * 1024 * 1024
"""Of all reviews together, as JSON; beyond that the oldest are forgotten, and pages are told so."""
_ANSWER_BYTES: Final = 1024 * 1024
_MARK: Final = b'"review"'
"""Is in each line of a reviewed page: others are not parsed."""


def results_bytes(workspace: Path) -> int:
    """Return the size of a workspace's records, with those in segments; 0 when it has none.

    Raises:
        UsageError: a segment is compressed, and the package for that is not installed.
        StorageError: they cannot be read.
    """
    try:
        with closing(LineStream(workspace / RESULTS)) as stream:
            return stream.size_bytes
    except FileNotFoundError:
        return 0
    except OSError as exc:
        raise StorageError(f"{workspace / RESULTS}: {exc.strerror or exc}") from exc


class Reviews:
    """The last review of each page since a report was built; of bounded size. Used from any thread.

    Args:
        workspace: The directory given to `-o`.
        start: `results_bytes` before the report was built.
        kept_bytes: Most bytes that are kept.
        first: The first review has the number after this one. A page that asks with a lower one has asked another
            server, which may not have told all.
    """

    def __init__(self, workspace: Path, start: int, kept_bytes: int = KEPT_BYTES, first: int = 0) -> None:
        self._position = ReadPosition(workspace / RESULTS)
        self._position.end = start
        self._fingerprint = self._position.fingerprint()
        self._kept_bytes = kept_bytes
        self._bytes = 0
        self._first = self._last = first
        self._forgotten = 0
        """Number of the last review that was forgotten."""
        self._reviews: OrderedDict[tuple[bytes, int], tuple[int, bytes]] = OrderedDict()
        """By page: its number, and its fields as JSON; in the order of the numbers."""
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Reviews {len(self._reviews)} of {self._last}, {self._bytes} bytes>"

    def find(self, after: int, *, is_waiting: bool = False) -> bytes:
        """Return the reviews with higher numbers, as JSON.

        Args:
            after: `last` of the answer before; 0 for a page that has asked nothing yet.
            is_waiting: Corrections wait to be folded in.

        Returns:
            `reviews`, each with `source`, `source_b64`, `page`, `id`, `text`, `corrected`, `checked`, `by`, `browser`,
            `at` and `added`; `last`, the number to ask with next; `more`: there are more by now; `missed`: some since
            were forgotten, or told by another server alone; `waiting`, as given.

        Raises:
            StopError: a segment is compressed, and the package for that is not installed.
            OSError: the records cannot be read.
        """
        with self._lock:
            self._read()
            found: list[bytes] = []
            last, size, is_more = after, 0, False
            for number, review in self._reviews.values():
                if number <= after:
                    continue
                if is_more := bool(found) and size + len(review) > _ANSWER_BYTES:
                    break
                found.append(review)
                last, size = number, size + len(review)
            last = last if is_more else self._last
            missed = after < self._forgotten or 0 < after < self._first or after > self._last
        head = orjson.dumps({"last": last, "more": is_more, "missed": missed, "waiting": is_waiting})
        return b'%b,"reviews":[%b]}' % (head[:-1], b",".join(found))

    def _read(self) -> None:
        """Read the lines that were added."""
        if self._position.fingerprint() != self._fingerprint:  # another program, or --reseal, wrote the file anew
            self._position.end = results_bytes(self._position.path.parent)
            self._last += 1
            self._forgotten = self._last
        for _, line in parse_lines(self._reviewed_lines(), parse_whole_result):
            if isinstance(line, ResultLine) and line.review is not None:
                self._keep(line)
        self._fingerprint = self._position.fingerprint()

    def _reviewed_lines(self) -> Iterator[tuple[Span, bytes]]:
        for span, line in self._position.unread_lines():
            if _MARK in line:
                yield span, line
            self._position.add(span)

    def _keep(self, line: ResultLine) -> None:
        key = line.source_bytes(), line.page
        self._last += 1
        if (former := self._reviews.pop(key, None)) is not None:
            self._bytes -= len(former[1])
        review = orjson.dumps(_fields(line))
        self._reviews[key] = self._last, review
        self._bytes += len(review)
        while self._bytes > self._kept_bytes:
            _, (self._forgotten, oldest) = self._reviews.popitem(last=False)
            self._bytes -= len(oldest)


def _fields(line: ResultLine) -> dict[str, Any]:
    assert line.review is not None
    return {
        **{name: value for name, value in name_fields("source", decode_name(line.source_bytes())).items() if value},
        "page": line.page,
        "id": line.id,
        "text": line.text,
        "corrected": line.text_from == CORRECTION,
        "checked": line.review.checked is not None,
        "by": line.review.by,
        "browser": line.review.browser,
        "at": line.review.at,
        "added": line.added,
    }
