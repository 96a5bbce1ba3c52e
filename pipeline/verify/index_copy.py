"""An index beside the lines that it is derived from: is it what they would make of it?"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from pipeline.errors import StorageError
from pipeline.records import State
from pipeline.verify.evidence import Evidence
from pipeline.verify.line_checks import show_name
from pipeline.workspace.cache_database import ERRORS
from pipeline.workspace.index import Index, copy_index
from pipeline.workspace.paths import INDEX
from pipeline.workspace.tables import OtherFilesError

_HAS_LINE: Final = """CASE
  WHEN entry.state IN ('failed', 'uncertain') THEN EXISTS (
    SELECT 1 FROM failure AS line WHERE line.source = entry.source AND line.page = entry.page
    AND line.id IS entry.id AND (line.state, line.added) = (entry.state, entry.added))
  ELSE EXISTS (
    SELECT 1 FROM result AS line WHERE line.source = entry.source AND line.page = entry.page
    AND line.id = entry.id AND (line.state, line.added) = (entry.state, entry.added))
END"""
_FILES: Final = """
CREATE TABLE file_pages (source BLOB PRIMARY KEY, pages INTEGER) WITHOUT ROWID;
INSERT INTO file_pages SELECT source, min(pages) FROM copy.file GROUP BY source;
"""
_IS_HISTORY: Final = "EXISTS (SELECT 1 FROM file_pages WHERE file_pages.source = page.source AND pages < page.page)"
_PAGES_WITHOUT_LINE: Final = f"""
SELECT source, page, state FROM copy.page AS entry WHERE state <> 'pending' AND NOT {_HAS_LINE}
"""  # noqa: S608 - made of constants, as are those below
_OTHER_PAGES: Final = f"""
SELECT entry.source, entry.page,
  entry.state || ', ' || entry.added || ', retryable ' || entry.retryable || ', ' || coalesce(entry.id, 'no content'),
  page.state || ', ' || page.added || ', retryable ' || page.retryable || ', ' || coalesce(page.id, 'no content')
FROM copy.page AS entry JOIN main.page AS page USING (source, page) WHERE entry.state <> 'pending' AND {_HAS_LINE}
  AND (entry.state, entry.added, entry.retryable, entry.id) IS NOT (page.state, page.added, page.retryable, page.id)
"""  # noqa: S608
_UNKNOWN_PAGES: Final = f"""
SELECT source, page, state FROM main.page AS page WHERE NOT {_IS_HISTORY} AND NOT EXISTS (
  SELECT 1 FROM copy.page AS entry WHERE entry.source = page.source AND entry.page = page.page)
"""  # noqa: S608
_OTHER_CONTENTS: Final = """
SELECT entry.id, entry.offset, content.offset FROM copy.content AS entry LEFT JOIN main.content AS content USING (id)
WHERE entry.offset IS NOT content.offset
"""
_UNKNOWN_CONTENTS: Final = """
SELECT content.id, content.offset FROM main.content AS content
WHERE NOT EXISTS (SELECT 1 FROM copy.content AS entry WHERE entry.id = content.id)
"""
_HOLDS_RECORD: Final = "SELECT 1 FROM result WHERE id = ? AND offset = ?"
_CURRENT_PAGES: Final = f"""
SELECT page.state, count(*) FROM main.page AS page LEFT JOIN copy.page AS entry USING (source, page)
WHERE entry.state IS NOT 'pending' AND NOT {_IS_HISTORY} GROUP BY page.state
UNION ALL SELECT 'pending', count(*) FROM copy.page WHERE state = 'pending'
"""  # noqa: S608


class IndexCopy:
    """A copy of a workspace's index, which catches up with the lines as the next run would let it.

    Args:
        workspace: Its directory; only read.
        directory: Where the copy is made.
        evidence: What the lines say; the copy is attached to its database.

    Raises:
        StorageError: there is an index that cannot be read.
    """

    def __init__(self, workspace: Path, directory: Path, evidence: Evidence) -> None:
        self._evidence = evidence
        self._db = evidence.database
        self._path = copy_index(workspace, directory)
        self.problem: str | None = None
        """Why the next run will make the index anew; None when it will not."""
        self._is_legible = self._path.exists()
        if self._is_legible:
            self._open(workspace)
        if self._is_legible:
            self._db.rows("ATTACH ? AS copy", (str(self._path),))
            for statement in _FILES.split(";\n")[:-1]:
                self._db.rows(statement)

    def __repr__(self) -> str:
        return f"<IndexCopy {self._path}: {self.problem}>"

    @property
    def is_current(self) -> bool:
        """True when there is an index, and it is that of the lines."""
        return self._is_legible and self.problem is None

    def compare(self) -> Iterator[str]:
        """Yield what the index says and no line does, or lines say and the index does not."""
        if self.problem is not None:
            yield f"{INDEX}: {self.problem}; the next run makes it anew"
        if self._is_legible:
            for source, page, state in self._db.stream(_PAGES_WITHOUT_LINE):
                yield f"{show_name(source)} page {page}: counts as {state} and has no line that can be read"
        if self.is_current:
            yield from self._compare_pages()
            yield from self._compare_contents()

    def totals(self) -> dict[State, int]:
        """Return in how many pages the lines end, by state, less those that the index knows to be history."""
        if not self.is_current:
            return self._evidence.totals()
        counts = dict(self._db.rows(_CURRENT_PAGES))
        return {state: counts.get(state.value, 0) for state in State}

    def _open(self, workspace: Path) -> None:
        try:
            with closing(sqlite3.connect(self._path)) as db:
                (found,) = db.execute("PRAGMA integrity_check(1)").fetchone()
            if found != "ok":
                raise sqlite3.DatabaseError(found)
            Index.open_as_it_is(workspace, self._path).close()
        except OtherFilesError as exc:
            self.problem = str(exc)
        except (*ERRORS, StorageError) as exc:
            message = str(exc).removeprefix(f"{self._path}: ")
            self.problem = f"damaged: {' '.join(message.split())}"
            self._is_legible = False

    def _compare_pages(self) -> Iterator[str]:
        for source, page, said, meant in self._db.stream(_OTHER_PAGES):
            yield f"{INDEX}: {show_name(source)} page {page}: it says {said}; the lines say {meant}"
        for source, page, state in self._db.stream(_UNKNOWN_PAGES):
            yield f"{INDEX}: {show_name(source)} page {page}: it does not know the page; the lines say {state}"

    def _compare_contents(self) -> Iterator[str]:
        for page_id, offset, first in self._db.stream(_OTHER_CONTENTS):
            if self._evidence.damaged and (first is None or self._db.rows(_HOLDS_RECORD, (page_id, offset))):
                continue  # it was made when a line was whole that no longer is
            message = "no line has it" if first is None else f"its first record begins at byte {first}"
            yield f"{INDEX}: content {page_id} is looked for at byte {offset}; {message}"
        for page_id, offset in self._db.stream(_UNKNOWN_CONTENTS):
            yield f"{INDEX}: it does not know the content {page_id}, whose record begins at byte {offset}"
