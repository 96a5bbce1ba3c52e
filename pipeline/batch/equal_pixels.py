"""Finds pages of equal pixels: the same scan saved twice, with other metadata or in another lossless format.

Only pages of one size can be equal, so a page is decoded and hashed once a second content of its size turns up; the
first one of a size is hashed then, from its file. What cannot be compared (a file that is gone or has changed, a page
of a PDF, of a URL, of more than 8 bits per channel) is equal to none.
"""

import os
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from pipeline.batch.page import Page
from pipeline.errors import ConversionError
from pipeline.inputs.conversion_messages import HashPixels, PixelsHashed, PrepareSettings
from pipeline.inputs.image import Converter
from pipeline.members import Member
from pipeline.records import PageId
from pipeline.shutdown import Shutdown
from pipeline.workspace.pixel_table import UNREADABLE, PixelTable
from pipeline.workspace.source_names import encode_name


class EqualPixels:
    """Compares the pixels of pages.

    Args:
        table: What is known of other pages.
        converter: Decodes and hashes pages.
        settings: How pages are made to fit.
        root: The directory that source names are relative to.
        shutdown: Ends a comparison early; None for none.
    """

    def __init__(
        self,
        table: PixelTable,
        converter: Converter,
        settings: PrepareSettings,
        root: str,
        shutdown: Shutdown | None = None,
    ) -> None:
        self._table = table
        self._converter = converter
        self._settings = settings
        self._root = root
        self._shutdown = shutdown

    def __repr__(self) -> str:
        return f"<EqualPixels {self._table!r}>"

    async def find(self, page: Page) -> tuple[Page, tuple[PageId, ...]]:
        """Return a page, with the hash of its pixels if it was compared, and the contents that equal it.

        Of two pages that are compared at the same time, the one that returns first is not equal to the other.

        Raises:
            ShuttingDownError: the run is ending.
        """
        payload = page.payload
        if payload.pixels is None or page.file.path is None:
            return page, ()
        size = payload.pixels
        source = encode_name(page.file.name)
        # A member of an archive is hashed while it is at hand: later, its archive would have to be read for it.
        if page.file.member is None and not self._table.has_others(size, payload.id):
            self._table.add(payload.id, source, payload.page, size)
            return page, ()
        path = os.fsencode(page.file.path)
        digest = await self._hash(path, payload.sha256 or "", payload.page, page.file.member)
        if digest == UNREADABLE:
            return page, ()
        for other in self._table.unhashed(size):
            if other.id != payload.id:
                sha256 = other.id.removeprefix("sha256:").partition("#")[0]
                path = os.fsencode(Path(self._root, os.fsdecode(other.source)))
                found = await self._hash(path, sha256, other.page, None)
                self._table.set_hash(other, size, found)
        pixels = f"{size}:{digest}"
        equal = tuple(other for other in self._table.find(size, digest) if other != payload.id)
        self._table.add(payload.id, source, payload.page, pixels)
        return replace(page, payload=replace(payload, pixels=pixels)), equal

    async def _hash(self, path: bytes, sha256: str, number: int, member: Member | None) -> str:
        task = HashPixels(path, sha256, number, self._settings, member)
        try:
            with nullcontext() if self._shutdown is None else self._shutdown.cancels_unsent():
                result = await self._converter.run(task, key=sha256)
        except ConversionError:
            return UNREADABLE
        return result.sha256 if isinstance(result, PixelsHashed) else UNREADABLE
