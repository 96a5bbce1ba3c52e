"""The report's data: script files that browsers load from `file://`, too, each a call of `pagemill.add`.

A file's value is JSON within a string: browsers parse that faster than a literal, and keep less of it. Pages are
numbered from 0 in the order of the files; a file holds some thousand pages' columns, or about a megabyte of texts or of
details, and `index.js` says with which page each file begins.
"""

from pathlib import Path
from typing import Any, Final

import orjson

from pipeline.report.folder import write_file

_PAGES_PER_FILE: Final = 5000
_FILE_BYTES: Final = 1_000_000
_ESCAPES: Final = (
    (b"<", b"\\u003c"),  # no text ends a script, or begins a comment in it
    ("\u2028".encode(), b"\\u2028"),
    ("\u2029".encode(), b"\\u2029"),
)


def data_script(kind: str, number: int, value: bytes) -> bytes:
    """Return the script that hands a value to the page.

    Args:
        kind: Such as "texts".
        number: Of the file, from 0.
        value: JSON.
    """
    literal = orjson.dumps(value.decode())
    for character, escape in _ESCAPES:
        literal = literal.replace(character, escape)
    return b'pagemill.add("%b",%d,%b);\n' % (kind.encode(), number, literal)


class Series:
    """Files of one kind, filled one after another.

    Args:
        folder: Where they are.
        kind: Such as "texts".
        per_file: Entries of a file at most; None for as many as `_FILE_BYTES` hold.
    """

    def __init__(self, folder: Path, kind: str, per_file: int | None = None) -> None:
        self._folder, self._kind, self._per_file = folder, kind, per_file
        self._body = bytearray()
        """Of the next file; each result of orjson alone would hold a buffer of 4 kB or more."""
        self._held = self._count = 0
        self.begins: list[int] = []
        """The first page of each file."""

    def __repr__(self) -> str:
        return f"<Series {self._kind}: {len(self.begins)} files, {self._count} entries>"

    def add(self, value: Any) -> None:  # noqa: ANN401 - a JSON value
        """Add the entry of the next page.

        Raises:
            StorageError: a file cannot be written.
        """
        entry = orjson.dumps(value)
        if self._held and self._is_full(len(entry)):
            self.close()
        if self._held:
            self._body += b","
        else:
            self.begins.append(self._count)
        self._body += entry
        self._held += 1
        self._count += 1

    def close(self) -> None:
        """Write the last file.

        Raises:
            StorageError: it cannot be written.
        """
        if not self._held:
            return
        number = len(self.begins) - 1
        script = data_script(self._kind, number, b"".join((b"[", self._body, b"]")))
        write_file(self._folder / f"{self._kind}-{number:04}.js", script)
        self._body.clear()
        self._held = 0

    def _is_full(self, entry_bytes: int) -> bool:
        if self._per_file is not None:
            return self._held >= self._per_file
        return len(self._body) + entry_bytes > _FILE_BYTES


class DataFiles:
    """The data files of a report.

    Args:
        folder: Where they are written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pages = Series(folder, "pages", _PAGES_PER_FILE)
        self._texts = Series(folder, "texts")
        self._details = Series(folder, "details")
        self.count = 0
        """Pages so far."""

    def __repr__(self) -> str:
        return f"<DataFiles {self._folder} {self.count} pages>"

    def add(self, row: list[Any], text: str, details: dict[str, Any]) -> None:
        """Add a page.

        Args:
            row: What the list of pages needs.
            text: Its text.
            details: What its own view needs, beside the text.

        Raises:
            StorageError: a file cannot be written.
        """
        self._pages.add(row)
        self._texts.add(text)
        self._details.add(details)
        self.count += 1

    def close(self, about: dict[str, Any]) -> None:
        """Write the rest, and the file that says what there is.

        Args:
            about: What the page should know of the workspace.

        Raises:
            StorageError: a file cannot be written.
        """
        for series in (self._pages, self._texts, self._details):
            series.close()
        begins = {"pages": self._pages.begins, "texts": self._texts.begins, "details": self._details.begins}
        value = orjson.dumps({**about, "count": self.count, "begins": begins})
        write_file(self._folder / "index.js", data_script("index", 0, value))
