"""The schema of the index, and its upgrades from earlier versions."""

from types import MappingProxyType
from typing import Final

from pipeline.workspace.parts import PARTS_SCHEMA
from pipeline.workspace.pixel_table import PIXELS_SCHEMA
from pipeline.workspace.reviewed import REVIEWED_SCHEMA
from pipeline.workspace.skips import SKIPS_SCHEMA
from pipeline.workspace.text_proofs import DAMAGED_SCHEMA, FORGET_PROOFS, PROOFS_SCHEMA

SCHEMA_VERSION: Final = 9
_SINCE_3: Final = """
CREATE TABLE meta (
  source BLOB NOT NULL, page INTEGER NOT NULL, digest BLOB NOT NULL, PRIMARY KEY (source, page, digest)
) WITHOUT ROWID;
CREATE TABLE kind (
  path BLOB PRIMARY KEY, size_bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, kind TEXT NOT NULL
) WITHOUT ROWID;
"""
_FAILED_PAGE: Final = """
CREATE TABLE failed_page (
  source BLOB NOT NULL, page INTEGER NOT NULL, added TEXT NOT NULL, runs INTEGER NOT NULL, offset INTEGER NOT NULL,
  PRIMARY KEY (source, page)
) WITHOUT ROWID;
"""
_PROGRESS: Final = """
CREATE TABLE progress (
  name TEXT PRIMARY KEY, read_bytes INTEGER NOT NULL, fingerprint INTEGER NOT NULL, mtime_ns INTEGER NOT NULL
) WITHOUT ROWID;
"""
_FAILED_CONTENT: Final = "CREATE INDEX failed_content ON page (id) WHERE state = 'failed';"
SCHEMA: Final = f"""
CREATE TABLE content (id TEXT PRIMARY KEY, offset INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE page (
  source BLOB NOT NULL, page INTEGER NOT NULL, state TEXT NOT NULL, retryable INTEGER NOT NULL, added TEXT NOT NULL,
  id TEXT, in_doubt INTEGER NOT NULL DEFAULT 0, offset INTEGER,
  lacks_lines INTEGER NOT NULL DEFAULT 0, is_checked INTEGER NOT NULL DEFAULT 0,
  is_corrected INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (source, page)
) WITHOUT ROWID;
CREATE TABLE file (
  path BLOB PRIMARY KEY, source BLOB NOT NULL, size_bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
  pages INTEGER NOT NULL
) WITHOUT ROWID;
{_PROGRESS}{_SINCE_3}{_FAILED_PAGE}{PROOFS_SCHEMA}{_FAILED_CONTENT}{PARTS_SCHEMA}{SKIPS_SCHEMA}{PIXELS_SCHEMA}
{DAMAGED_SCHEMA}{REVIEWED_SCHEMA}"""
_FORGET_PAGES: Final = "DELETE FROM page WHERE state <> 'pending' OR NOT retryable;"
FORGET_LINES: Final = f"{_FORGET_PAGES} DELETE FROM content; DELETE FROM meta; DELETE FROM failed_page;"  # noqa: S608
_SINCE_4: Final = f"DROP TABLE progress;{_PROGRESS}{_FAILED_PAGE}{PROOFS_SCHEMA}{FORGET_LINES}"
_SINCE_5: Final = f"ALTER TABLE page ADD COLUMN in_doubt INTEGER NOT NULL DEFAULT 0;{_FAILED_CONTENT}"
"""Lines that were read by an earlier version say nothing of their quality."""
_READ_AGAIN: Final = "".join(f"{statement};" for statement in (*FORGET_PROOFS, "DELETE FROM progress"))
_OFFSETS: Final = f"ALTER TABLE page ADD COLUMN offset INTEGER;{FORGET_LINES}{_READ_AGAIN}"
_SINCE_6: Final = PARTS_SCHEMA + SKIPS_SCHEMA + PIXELS_SCHEMA + _OFFSETS
_SINCE_7: Final = f"ALTER TABLE page ADD COLUMN lacks_lines INTEGER NOT NULL DEFAULT 0;{FORGET_LINES}{_READ_AGAIN}"
_SINCE_8: Final = f"{DAMAGED_SCHEMA}{FORGET_LINES}{_READ_AGAIN}"
_SINCE_9: Final = f"""
ALTER TABLE page ADD COLUMN is_checked INTEGER NOT NULL DEFAULT 0;
ALTER TABLE page ADD COLUMN is_corrected INTEGER NOT NULL DEFAULT 0;{REVIEWED_SCHEMA}"""
"""No line that an earlier version has read was reviewed."""
UPGRADES: Final = MappingProxyType(
    {
        2: _SINCE_3 + _SINCE_4 + _SINCE_5 + _SINCE_6 + _SINCE_7 + _SINCE_8 + _SINCE_9,
        3: _SINCE_4 + _SINCE_5 + _SINCE_6 + _SINCE_7 + _SINCE_8 + _SINCE_9,
        4: _SINCE_5 + _SINCE_6 + _SINCE_7 + _SINCE_8 + _SINCE_9,
        5: _SINCE_6 + _SINCE_7 + _SINCE_8 + _SINCE_9,
        6: _SINCE_7 + _SINCE_8 + _SINCE_9,
        7: _SINCE_8 + _SINCE_9,
        8: _SINCE_9,
    }
)
"""By earlier version. All lines are read again, which fills the new tables and columns; files stay known."""
