"""Puts the files of the INPUTs into another order, or takes an even sample of them.

Both need the whole listing before the first file. It is kept in a temporary SQLite file, some 300 bytes per file, so
that memory does not grow with it.
"""

import pickle
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from itertools import islice
from typing import Final

import anyio.to_thread

from pipeline.config import InputConfig
from pipeline.records import IgnoredFiles, SourceFile
from pipeline.storage.temporary import TemporaryDatabase

_FILES_PER_HOP: Final = 256
_LAST: Final = 1 << 62
"""The key of a file whose size or time is not known."""
_SCHEMA: Final = "CREATE TABLE listed (number INTEGER PRIMARY KEY, key INTEGER NOT NULL, file BLOB NOT NULL)"
_SAMPLE: Final = """
DELETE FROM listed WHERE number NOT IN (
  WITH RECURSIVE step (k) AS (SELECT 0 UNION ALL SELECT k + 1 FROM step WHERE k + 1 < ?1)
  SELECT (2 * k + 1) * ?2 / (2 * ?1) FROM step
)
"""
"""Of every n-th part of the listing, the file in its middle."""


def needs_listing(config: InputConfig) -> bool:
    """Return whether the files must all be listed before the first one is taken."""
    return config.order != "name" or config.sample is not None


async def arrange(
    files: AsyncGenerator[SourceFile | IgnoredFiles, None], config: InputConfig
) -> AsyncGenerator[SourceFile | IgnoredFiles, None]:
    """Yield the files in the order of `[input] order`, of a sample only the chosen ones; ignored files come first.

    Args:
        files: From the source, in the order of their names.
        config: Says which.
    """
    with TemporaryDatabase(_SCHEMA) as db:
        number = 0
        async with aclosing(files):
            async for file in files:
                if isinstance(file, IgnoredFiles):
                    yield file
                    continue
                db.change("INSERT INTO listed VALUES (?, ?, ?)", (number, _key(file, config), pickle.dumps(file)))
                number += 1
        if config.sample is not None and config.sample < number:
            await anyio.to_thread.run_sync(db.change, _SAMPLE, (config.sample, number))
        rows = await anyio.to_thread.run_sync(db.stream, "SELECT file FROM listed ORDER BY key, number")
        while batch := await anyio.to_thread.run_sync(_take, rows, abandon_on_cancel=True):
            for (data,) in batch:
                yield pickle.loads(data)  # noqa: S301 - from the temporary file above, which has no name


def _take(rows: Iterator[tuple[bytes]]) -> list[tuple[bytes]]:
    return list(islice(rows, _FILES_PER_HOP))


def _key(file: SourceFile, config: InputConfig) -> int:
    if file.stat is None or config.order == "name":
        return 0 if config.order == "name" else _LAST
    return file.stat.size_bytes if config.order == "smallest" else -file.stat.mtime_ns
