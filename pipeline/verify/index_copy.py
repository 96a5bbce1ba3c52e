"""Compares a copy of the index with the lines that it was made from."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

from pipeline.errors import StorageError, one_line
from pipeline.records import State
from pipeline.storage.sqlite import ERRORS, connect
from pipeline.verify.evidence import Evidence
from pipeline.verify.line_checks import show_name
from pipeline.workspace.cache_database import DamagedDatabaseError
from pipeline.workspace.index import Index
from pipeline.workspace.page_counts import count_by_state
from pipeline.workspace.paths import INDEX
from pipeline.workspace.snapshot import copy_index
from pipeline.workspace.tables import OtherFilesError

_HAS_LINE: Final = """CASE
  WHEN indexed.state IN ('failed', 'uncertain') THEN EXISTS (
    SELECT 1 FROM failure AS line WHERE line.source = indexed.source AND line.page = indexed.page
    AND line.id IS indexed.id AND (line.state, line.added) = (indexed.state, indexed.added))
  ELSE EXISTS (
    SELECT 1 FROM result AS line WHERE line.source = indexed.source AND line.page = indexed.page
    AND line.id = indexed.id AND (line.state, line.added) = (indexed.state, indexed.added))
END"""
_FILES: Final = """
CREATE TABLE file_pages (source BLOB PRIMARY KEY, pages INTEGER) WITHOUT ROWID;
INSERT INTO file_pages SELECT source, min(pages) FROM copy.file GROUP BY source;
"""
_IS_REMOVED: Final = "EXISTS (SELECT 1 FROM file_pages WHERE file_pages.source = page.source AND pages < page.page)"
"""The page's number is above the number of pages that its file has now."""
_PAGES_WITHOUT_LINE: Final = f"""
SELECT source, page, state FROM copy.page AS indexed WHERE state <> 'pending' AND NOT {_HAS_LINE}
"""  # noqa: S608 - made of constants, as are those below
_DESCRIBE: Final = (
    "{0}.state || ', ' || {0}.added || ', retryable ' || {0}.retryable || ', in doubt ' || {0}.in_doubt || ', ' ||"
    " coalesce({0}.id, 'no content')"
)
_OTHER_PAGES: Final = f"""
SELECT indexed.source, indexed.page, {_DESCRIBE.format("indexed")}, {_DESCRIBE.format("page")}
FROM copy.page AS indexed JOIN main.page AS page USING (source, page)
WHERE indexed.state <> 'pending' AND {_HAS_LINE}
  AND (indexed.state, indexed.added, indexed.retryable, indexed.id, indexed.in_doubt)
  IS NOT (page.state, page.added, page.retryable, page.id, page.in_doubt)
"""  # noqa: S608
_UNKNOWN_PAGES: Final = f"""
SELECT source, page, state FROM main.page AS page WHERE NOT {_IS_REMOVED} AND NOT EXISTS (
  SELECT 1 FROM copy.page AS indexed WHERE indexed.source = page.source AND indexed.page = page.page)
"""  # noqa: S608
_OTHER_CONTENTS: Final = """
SELECT indexed.id, indexed.offset, content.offset
FROM copy.content AS indexed LEFT JOIN main.content AS content USING (id)
WHERE indexed.offset IS NOT content.offset
"""
_UNKNOWN_CONTENTS: Final = """
SELECT content.id, content.offset FROM main.content AS content
WHERE NOT EXISTS (SELECT 1 FROM copy.content AS indexed WHERE indexed.id = content.id)
"""
_PART: Final = "'byte ' || {0}.offset || ', ' || {0}.added || ', box ' || {0}.box"
_OTHER_PARTS: Final = f"""
SELECT indexed.source, indexed.page, indexed.tile, indexed.tiles, {_PART.format("indexed")}, {_PART.format("part")}
FROM copy.part AS indexed LEFT JOIN main.part AS part USING (id, tiles, tile)
WHERE (indexed.source, indexed.page, indexed.box, indexed.added, indexed.offset)
  IS NOT (part.source, part.page, part.box, part.added, part.offset)
"""  # noqa: S608
_UNKNOWN_PARTS: Final = f"""
SELECT source, page, tile, tiles, {_PART.format("part")} FROM main.part AS part WHERE NOT EXISTS (
  SELECT 1 FROM copy.part AS indexed WHERE (indexed.id, indexed.tiles, indexed.tile) = (part.id, part.tiles, part.tile))
"""  # noqa: S608
_HOLDS_RECORD: Final = "SELECT 1 FROM result WHERE id = ? AND offset = ?"
_CURRENT_PAGES: Final = f"""
SELECT page.state, count(*) FROM main.page AS page LEFT JOIN copy.page AS indexed USING (source, page)
WHERE indexed.state IS NOT 'pending' AND NOT {_IS_REMOVED} GROUP BY page.state
UNION ALL SELECT 'pending', count(*) FROM copy.page WHERE state = 'pending'
"""  # noqa: S608


class IndexCopy:
    """A copy of a workspace's index that has read all lines, as the next run's index will have.

    Args:
        workspace: The directory; only read.
        directory: The directory for the copy.
        evidence: The lines; the copy is attached to its database.

    Raises:
        StorageError: the index exists and cannot be copied.
    """

    def __init__(self, workspace: Path, directory: Path, evidence: Evidence) -> None:
        self._evidence = evidence
        self._db = evidence.database
        self._path = copy_index(workspace, directory)
        self.problem: str | None = None
        """Why the next run will rebuild the index; None when it will not."""
        self._is_readable = self._path.exists()
        if self._is_readable:
            self._open(workspace)
        if self._is_readable:
            self._db.rows("ATTACH ? AS copy", (str(self._path),))
            for statement in _FILES.split(";\n")[:-1]:
                self._db.rows(statement)

    def __repr__(self) -> str:
        return f"<IndexCopy {self._path}: {self.problem}>"

    @property
    def is_current(self) -> bool:
        """True when the index exists and has read these lines."""
        return self._is_readable and self.problem is None

    def compare(self) -> Iterator[str]:
        """Yield the differences between the index and the lines."""
        if self.problem is not None:
            yield f"{INDEX}: {self.problem}; the next run rebuilds it"
        if self._is_readable:
            for source, page, state in self._db.stream(_PAGES_WITHOUT_LINE):
                yield f"{show_name(source)} page {page}: counts as {state} and has no line that can be read"
        if self.is_current:
            yield from self._compare_pages()
            yield from self._compare_contents()
            yield from self._compare_parts()

    def totals(self) -> Mapping[State, int]:
        """Return the number of pages by state, without pages that a changed file no longer has."""
        if not self.is_current:
            return self._evidence.totals()
        return count_by_state(self._db.rows(_CURRENT_PAGES))

    def _open(self, workspace: Path) -> None:
        try:
            with closing(connect(self._path)) as db:
                (found,) = db.execute("PRAGMA integrity_check(1)").fetchone()
            if found != "ok":
                raise DamagedDatabaseError(self._path, found)
            Index.open_intact(workspace, self._path).close()
        except OtherFilesError as exc:
            self.problem = str(exc)
        except (*ERRORS, StorageError) as exc:
            message = exc.problem if isinstance(exc, DamagedDatabaseError) else str(exc)
            self.problem = f"damaged: {one_line(' '.join(message.split()))}"
            self._is_readable = False

    def _compare_pages(self) -> Iterator[str]:
        for source, page, indexed, expected in self._db.stream(_OTHER_PAGES):
            yield f"{INDEX}: {show_name(source)} page {page}: {indexed} in the index; by the lines {expected}"
        for source, page, state in self._db.stream(_UNKNOWN_PAGES):
            yield f"{INDEX}: {show_name(source)} page {page}: missing in the index; by the lines {state}"

    def _compare_contents(self) -> Iterator[str]:
        for page_id, offset, first in self._db.stream(_OTHER_CONTENTS):
            if self._evidence.damaged and (first is None or self._db.rows(_HOLDS_RECORD, (page_id, offset))):
                continue  # the index was made before a line was damaged
            message = "no line has it" if first is None else f"its first record begins at byte {first}"
            yield f"{INDEX}: content {page_id}: at byte {offset} in the index; {message}"
        for page_id, offset in self._db.stream(_UNKNOWN_CONTENTS):
            yield f"{INDEX}: content {page_id}: missing in the index; its first record begins at byte {offset}"

    def _compare_parts(self) -> Iterator[str]:
        for source, page, tile, tiles, indexed, expected in self._db.stream(_OTHER_PARTS):
            place = f"{show_name(source)} page {page} tile {tile} of {tiles}"
            found = "no line has it" if expected is None else f"by the lines {expected}"
            yield f"{INDEX}: {place}: {indexed} in the index; {found}"
        for source, page, tile, tiles, expected in self._db.stream(_UNKNOWN_PARTS):
            place = f"{show_name(source)} page {page} tile {tile} of {tiles}"
            yield f"{INDEX}: {place}: missing in the index; by the lines {expected}"
