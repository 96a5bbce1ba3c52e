"""Renders pages of PDFs in a process of its own, which is started with the first one."""

from types import TracebackType
from typing import Final, Protocol, Self

from pipeline.convert.command import module_command
from pipeline.convert.pool import ConversionPool, PoolOptions
from pipeline.errors import ConversionError
from pipeline.server.workers.pdf_messages import (
    PDF_RESULT,
    DocumentMissing,
    NotRendered,
    PageRendered,
    PagesCounted,
    PdfResult,
    PdfTask,
)

PAGE_TIMEOUT_S: Final = 20.0
"""A page of 300 dpi takes 12 to 90 ms, a map with 100,000 paths some seconds."""
MEMORY_BYTES: Final = 1 << 30
"""Four times what the largest document and a page of 4000×4000 px take."""


class PdfRenderer(Protocol):
    """What renders PDFs: a process, or a fake."""

    async def count_pages(self, document: str, content: bytes) -> int:
        """Return the number of pages, at least 1.

        Args:
            document: An id that no other document has.
            content: The file.

        Raises:
            ConversionError: it cannot be opened; the message says what to do.
            ConverterStartError: the process cannot be started.
        """
        ...

    async def render(self, document: str, content: bytes, page: int) -> bytes:
        """Return a page as a JPEG.

        Args:
            document: As above.
            content: The file.
            page: 1-based.

        Raises:
            ConversionError: it cannot be rendered; the message says why.
            ConverterStartError: the process cannot be started.
        """
        ...


class PdfProcess:
    """Renders in one worker process, which is replaced after a crash or a timeout; an async context manager.

    Args:
        options: How the process is started, and its bounds.
    """

    def __init__(self, options: PoolOptions | None = None) -> None:
        command = module_command("pipeline.server.workers.pdf_worker", "--memory-bytes", str(MEMORY_BYTES))
        self._pool: ConversionPool[PdfResult] = ConversionPool(
            options or PoolOptions(command, 1, PAGE_TIMEOUT_S), PDF_RESULT
        )

    def __repr__(self) -> str:
        return f"<PdfProcess {self._pool!r}>"

    async def __aenter__(self) -> Self:
        """Start nothing: the first document does."""
        await self._pool.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process."""
        await self._pool.__aexit__(kind, error, trace)

    async def count_pages(self, document: str, content: bytes) -> int:
        """See `PdfRenderer`."""
        result = await self._run("the PDF", PdfTask(document, 0, content))
        assert isinstance(result, PagesCounted)
        return result.pages

    async def render(self, document: str, content: bytes, page: int) -> bytes:
        """See `PdfRenderer`; the file goes to the process only when that does not have it."""
        name = f"page {page} of the PDF"
        result = await self._run(name, PdfTask(document, page))
        if isinstance(result, DocumentMissing):
            result = await self._run(name, PdfTask(document, page, content))
        assert isinstance(result, PageRendered)
        return result.image

    async def _run(self, name: str, task: PdfTask) -> PdfResult:
        try:
            result = await self._pool.run(task, key=task.document)
        except ConversionError as exc:
            raise ConversionError(f"{name} cannot be rendered: {exc}") from exc
        if isinstance(result, NotRendered):
            raise ConversionError(f"{name} {result.reason}")
        return result
