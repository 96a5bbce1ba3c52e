"""Serves a report on this machine: pictures are made on demand, and corrections are saved at once.

A correction is on disk beside the report before it is folded into the workspace, so that none is lost while a run holds
the workspace, or when this process is killed.
"""

import asyncio
import io
import logging
import os
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from pipeline.batch.page_images import ImageReader
from pipeline.correct.corrections_file import parse_correction
from pipeline.correct.folding import Refusal, fold
from pipeline.errors import PageError, StopError, StorageError, UsageError, WorkspaceLockedError
from pipeline.inputs.content import MAX_FILE_BYTES, read_content
from pipeline.report.build import Built, ShownPage
from pipeline.report.changes import Changes, is_content
from pipeline.report.folder import lock_file
from pipeline.report.pictures import PictureKind
from pipeline.report.reviews import Reviews
from pipeline.web.loopback import ChangedPictureError, ServedPicture, Site, serving
from pipeline.workspace.run_file import require_workspace

WAITING: Final = "waiting-corrections.jsonl"
"""Corrections that are not folded in yet, beside the report."""

REFUSED: Final = "refused-corrections.jsonl"
"""Those that could not be applied."""

_LOCK: Final = ".corrections.lock"
_RETRY_S: Final = 5.0
_MEDIA_TYPES: Final = {
    ".avif": "image/avif",
    ".bmp": "image/bmp",
    ".gif": "image/gif",
    ".png": "image/png",
    ".apng": "image/apng",
    ".webp": "image/webp",
}
"""By suffix; any other file is a JPEG."""

logger = logging.getLogger("pagemill")


class Inbox:
    """Takes corrections for a workspace.

    Args:
        workspace: The directory given to `-o`.
        report: The report's folder.
    """

    def __init__(self, workspace: Path, report: Path) -> None:
        self._workspace, self._report = workspace, report
        self._path = report / WAITING

    def __repr__(self) -> str:
        return f"<Inbox {self._path}>"

    @property
    def is_empty(self) -> bool:
        """True when all corrections are folded in."""
        return not self._path.exists()

    def add(self, line: bytes) -> dict[str, str]:
        """Put a correction on disk, and fold it in.

        Args:
            line: One correction.

        Returns:
            `state`: saved, waiting or refused; and the `reason`.

        Raises:
            ValueError: it is no correction.
            StorageError: the correction cannot be put on disk.
        """
        line = line.strip()
        correction = "more than one line" if b"\n" in line else parse_correction(line)
        if isinstance(correction, str):
            raise ValueError(correction)  # noqa: TRY004 - the text says why it is none
        with self._locked():
            with storage_errors(self._path):
                append_line(self._path, line)
            try:
                refusals = self._fold()
            except WorkspaceLockedError:
                return {"state": "waiting", "reason": "a run holds the workspace, and it is folded in when that ends"}
            except StopError as exc:
                logger.warning("%s", exc)
                return {"state": "waiting", "reason": str(exc)}
        own = [reason for refused, reason in refusals if refused == line]
        return {"state": "refused", "reason": own[-1]} if own else {"state": "saved", "reason": ""}

    def fold(self) -> list[tuple[bytes, str]]:
        """Fold in what waits; return the lines that were refused, and why.

        Raises:
            WorkspaceLockedError: a run holds the workspace.
            StopError: the workspace cannot be written.
        """
        if self.is_empty:
            return []
        with self._locked():
            return self._fold()

    def _locked(self) -> AbstractContextManager[None]:
        """Hold what waits against other servers and builds, which would remove a line that they have not read."""
        return lock_file(self._report / _LOCK, waits=True)

    def _fold(self) -> list[tuple[bytes, str]]:
        if self.is_empty:  # another process has folded it in
            return []
        refusals: list[Refusal] = []
        fold(self._workspace, [self._path], io.BytesIO(), refusals.append, report_superseded=refusals.append)
        with storage_errors(self._report):  # the next fold finds nothing new in what stays
            lines = self._path.read_bytes().split(b"\n")
            refused = [(lines[refusal.line - 1], refusal.reason) for refusal in refusals]
            for line, reason in refused:
                logger.warning("a correction was not applied: %s; it is in %s", reason, self._report / REFUSED)
                append_line(self._report / REFUSED, line)
            self._path.unlink()
        return refused


@contextmanager
def storage_errors(path: Path) -> Generator[None]:
    """Raise the errors of the operating system as a `StorageError` of a path."""
    try:
        yield
    except OSError as exc:
        raise StorageError(f"{exc.filename or path}: {exc.strerror or exc}") from exc


def append_line(path: Path, line: bytes) -> None:
    """Append a line to a file, durably; one that a full disk or a kill has cut short is ended first."""
    with path.open("ab+") as file:
        if file.tell() > 0:
            file.seek(-1, os.SEEK_END)
            line = line if file.read() == b"\n" else b"\n" + line
        file.write(line + b"\n")
        file.flush()
        os.fsync(file.fileno())


class _Pictures:
    """Finds the pictures of a report's pages."""

    def __init__(
        self, pages: list[ShownPage], reader: ImageReader | None, changes: Changes, threads: ThreadPoolExecutor
    ) -> None:
        self._pages, self._reader, self._changes, self._threads = pages, reader, changes, threads

    def __repr__(self) -> str:
        return f"<_Pictures of {len(self._pages)} pages>"

    async def find(self, number: int) -> ServedPicture | None:
        """Return the picture of a page, by its number in the report.

        Raises:
            ChangedPictureError: the page's file has changed since it was read.
        """
        if number >= len(self._pages):
            return None
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._read, self._pages[number])

    def _read(self, page: ShownPage) -> ServedPicture | None:
        picture = self._read_file(page) if page.kind is PictureKind.FILE else self._make(page)
        if picture is not None:
            return picture
        with suppress(PageError):
            if self._changes.has_changed(self._changes.find(page.source), page.id):
                raise ChangedPictureError
        return None

    def _read_file(self, page: ShownPage) -> ServedPicture | None:
        if page.path is None:
            return None
        try:
            read = read_content(os.fsencode(page.path), None, MAX_FILE_BYTES)
        except PageError:
            return None
        return _served(read.content, page.path.suffix.lower()) if is_content(page.id, read.sha256) else None

    def _make(self, page: ShownPage) -> ServedPicture | None:
        if page.kind is not PictureKind.SENT or page.id is None or self._reader is None:
            return None
        for _, image in self._reader.read([(page, page)]):
            return None if image is None else _served(image.data, image.suffix)
        return None


def _served(data: bytes, suffix: str) -> ServedPicture:
    return ServedPicture(data, _MEDIA_TYPES.get(suffix, "image/jpeg"))


@asynccontextmanager
async def serving_report(workspace: Path, report: Path, built: Built, port: int) -> AsyncGenerator[str]:
    """Serve a report until the block ends; yield its URL.

    Args:
        workspace: The directory given to `-o`.
        report: The report's folder.
        built: The report, with its pages: what is reviewed in later records, these show without a new report.
        port: 0 takes a free one.

    Raises:
        UsageError: the port cannot be bound.
    """
    # A page of an earlier server asks with that one's numbers, which are lower.
    reviews = Reviews(workspace, built.start_bytes, first=time.time_ns() // 1_000_000)
    inbox = Inbox(workspace, report)
    async with AsyncExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor(2, "pictures"))
        writer = stack.enter_context(ThreadPoolExecutor(1, "corrections"))  # one after another
        followers = stack.enter_context(ThreadPoolExecutor(1, "reviews"))
        loop = asyncio.get_running_loop()
        reader: ImageReader | None = None
        try:
            reader = await loop.run_in_executor(threads, _open_reader, workspace)
        except UsageError as exc:  # the files are on a disk that is not mounted: texts can be read all the same
            logger.warning("%s", exc)
        if reader is not None:
            stack.push_async_callback(loop.run_in_executor, threads, reader.__exit__, None, None, None)

        async def save(line: bytes) -> Mapping[str, Any]:
            return await loop.run_in_executor(writer, inbox.add, line)

        changes = Changes(require_workspace(workspace).root, lambda _: None)  # the moment decides, not the build

        async def find_saved(after: int) -> bytes:
            is_waiting = not inbox.is_empty  # asked first, so that what was folded in meanwhile is among the reviews
            return await loop.run_in_executor(followers, partial(reviews.find, after, is_waiting=is_waiting))

        pictures = _Pictures(built.shown, reader, changes, threads)
        site = Site(report, built.build, pictures.find, save, find_saved)
        url = await stack.enter_async_context(serving(site, port))
        retries = asyncio.create_task(_fold_later(inbox, lambda: loop.run_in_executor(writer, inbox.fold)))
        stack.callback(retries.cancel)
        yield url


def _open_reader(workspace: Path) -> ImageReader:
    return ImageReader(workspace, "sent").__enter__()


async def _fold_later(inbox: Inbox, fold_in: Callable[[], asyncio.Future[list[tuple[bytes, str]]]]) -> None:
    """Fold in what waits for the end of a run."""
    while True:
        await asyncio.sleep(_RETRY_S)
        if inbox.is_empty:
            continue
        try:
            await fold_in()
        except StopError as exc:
            logger.debug("corrections wait: %s", exc)
        else:
            logger.info("the corrections that waited are folded in")
