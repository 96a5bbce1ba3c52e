"""Decides by the first bytes of files: whether one is a page, and whether its format is left out."""

import logging
from collections.abc import Collection

import anyio.to_thread

from pipeline.inputs.archives.holding import streamed_archive
from pipeline.inputs.archives.lookup import head_of
from pipeline.inputs.headers import format_of_name
from pipeline.inputs.kinds import HEAD_BYTES, UNREADABLE, format_of, ignored_kind
from pipeline.records import SourceFile
from pipeline.workspace.inventory import PAGE, Inventory

logger = logging.getLogger("pagemill")


class Triage:
    """Decides by the first bytes whether a file is a page; each file is opened once while it stays the same.

    Args:
        inventory: Remembers the decisions.
        excluded: Formats that are left out.
    """

    def __init__(self, inventory: Inventory, excluded: Collection[str] = ()) -> None:
        self._inventory = inventory
        self._excluded = frozenset(excluded)

    def __repr__(self) -> str:
        return f"<Triage without {sorted(self._excluded)}>"

    async def ignored_kind(self, file: SourceFile) -> str | None:
        """Return the kind under which the file is ignored; None for a page.

        Raises:
            NoDescriptorsError: the process has no file descriptor left.
            StorageError: the index failed.
        """
        if not needs_head(file, self._excluded):
            return None
        kind = self._inventory.kind_of(file)
        if kind is None or (kind == PAGE and self._excluded):  # an earlier run did not note the format
            kind = await self._look(file)
        return settle_kind(file, kind, self._excluded)

    async def _look(self, file: SourceFile) -> str:
        if not file.undecided and streamed_archive(file) is not None:
            return f"{PAGE} {format_of_name(file.name)}"  # its bytes come in their turn only
        try:
            head = await anyio.to_thread.run_sync(head_of, file, HEAD_BYTES, abandon_on_cancel=True)
        except OSError as exc:
            logger.debug("%s: cannot be read: %s", file.name, exc.strerror or exc)
            return UNREADABLE if file.undecided else PAGE
        kind = kind_of_head(file, head, self._excluded)
        self._inventory.add_kind(file, kind)
        return kind


def needs_head(file: SourceFile, excluded: Collection[str]) -> bool:
    """Return whether the first bytes of a file decide about it."""
    return file.undecided or (file.listed and bool(excluded) and file.problem is None)


def kind_of_head(file: SourceFile, head: bytes, excluded: Collection[str]) -> str:
    """Return the kind to remember: of an ignored file, or `PAGE`, with the format where formats are left out."""
    if file.undecided and (kind := ignored_kind(file.name, head)) is not None:
        return kind
    found = format_of(head) if excluded else None
    return PAGE if found is None else f"{PAGE} {found}"


def settle_kind(file: SourceFile, kind: str, excluded: Collection[str]) -> str | None:
    """Return the kind under which a file is ignored, from the kind that was remembered; None for a page."""
    page, _, found = kind.partition(" ")
    if page != PAGE:
        return kind
    return f"excluded {found}" if file.listed and found in excluded else None


def read_kind(file: SourceFile, excluded: Collection[str]) -> str | None:
    """Return the kind under which a file is left out by its format, from its first bytes; None for any other. Blocks.

    Raises:
        NoDescriptorsError: the process has no file descriptor left.
    """
    if not file.listed or not excluded or file.problem is not None:
        return None
    if streamed_archive(file) is not None:
        found: str | None = format_of_name(file.name)
    else:
        try:
            found = format_of(head_of(file, HEAD_BYTES))
        except OSError:
            return None
    return f"excluded {found}" if found in excluded else None
