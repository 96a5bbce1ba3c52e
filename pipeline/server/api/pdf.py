"""PDFs for the page at `/`: it sends a document once and gets its pages as images, which it then sends to the API.

Rendering costs no call, so it is bounded otherwise: callers must have a call left, one process at a low priority serves
all of them in turn, and a page that waits for it has a slot of the queue.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, TypeVar

from aiohttp import web
from msgspec import Struct

from pipeline.errors import ConverterStartError
from pipeline.server.access.authentication import Authenticator
from pipeline.server.access.callers import Caller
from pipeline.server.api.pdf_documents import Document, HeldDocuments
from pipeline.server.http.admission import AdmissionControl, Share
from pipeline.server.http.connections import SHARE
from pipeline.server.http.in_flight import InFlightRequests
from pipeline.server.http.observability import CALLER
from pipeline.server.http.pacing import BodyPacer
from pipeline.server.http.requests import BodyTooLargeError, RequestError, read_body
from pipeline.server.http.responses import json_response
from pipeline.server.http.turns import FairTurns
from pipeline.server.workers.pdf_renderer import PdfRenderer

PDF_PATH: Final = "/page/pdf"
PDF_MAX_BYTES: Final = 48 * 1024 * 1024
BODY_TIMEOUT_S: Final = 240.0
"""The largest document needs 1.7 Mbit/s to arrive in this time."""
MAX_PAGES: Final = 500
"""Pages of a document: more are work for a run, which resumes."""

_NO_RENDERER: Final = "this server reads no PDF; its operator can change that: pip install 'pagemill[pdf]'"
_DROP_INTERVAL_S: Final = 60.0

T = TypeVar("T")


class OpenedPdf(Struct, frozen=True):
    """A document that the server holds for a while."""

    id: str
    pages: int


class PdfHandlers:
    """Holds documents, and renders their pages.

    Args:
        renderer: Renders pages; None rejects PDFs.
        authenticator: Finds the caller of a request.
        admission: Shares memory and the queue among callers.
        in_flight: Ends the work at the shutdown's timeout.
        documents: The documents that callers have sent.
        clock_s: A monotonic clock.
    """

    def __init__(
        self,
        renderer: PdfRenderer | None,
        authenticator: Authenticator,
        *,
        admission: AdmissionControl,
        in_flight: InFlightRequests,
        documents: HeldDocuments | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._renderer = renderer
        self._authenticator = authenticator
        self._admission = admission
        self._in_flight = in_flight
        self._documents = documents or HeldDocuments()
        self._clock_s = clock_s
        self._pacer = BodyPacer()
        self._turns = FairTurns(1, finishes_jobs=False)

    async def open_pdf(self, request: web.Request) -> web.Response:
        """Keep the document in the body; return its id and number of pages."""
        caller, renderer = await self._admit(request)
        with self._admission.share(caller.share_name) as share:
            async with self._until_ended(share):
                content = await self._read(request, share)
                document_id = secrets.token_urlsafe(16)
                pages = await self._in_turn(share, lambda: renderer.count_pages(document_id, content))
        if pages > MAX_PAGES:
            raise RequestError(
                f"the PDF has {pages:,} pages; this page takes {MAX_PAGES} at most: split it, or use pagemill run"
            )
        self._documents.keep(document_id, Document(caller.name, content, pages, self._clock_s()))
        return json_response(201, OpenedPdf(document_id, pages))

    async def get_page(self, request: web.Request) -> web.Response:
        """Return a page of a document as a JPEG."""
        caller, renderer = await self._admit(request)
        document_id, page = request.match_info["id"], int(request.match_info["page"])
        document = self._documents.find(caller.name, document_id, self._clock_s())
        if document is None or not 1 <= page <= document.pages:
            raise RequestError("Not Found: no page of this number of a PDF with this id, or no longer", 404)
        with self._admission.share(caller.share_name) as share:
            async with self._until_ended(share):
                image = await self._in_turn(share, lambda: renderer.render(document_id, document.content, page))
        return web.Response(body=image, content_type="image/jpeg")

    async def close_pdf(self, request: web.Request) -> web.Response:
        """Drop a document."""
        caller = await self._authenticator.authenticate(request)
        request[CALLER], request[SHARE] = caller.name, caller.share_name
        self._documents.drop(caller.name, request.match_info["id"])
        return web.Response(status=204)

    async def drop_idle(self, _app: web.Application) -> AsyncGenerator[None]:
        """Drop idle documents while the application runs."""

        async def drop() -> None:
            while True:
                await asyncio.sleep(_DROP_INTERVAL_S)
                self._documents.drop_idle(self._clock_s())

        dropping = asyncio.ensure_future(drop())
        yield
        dropping.cancel()

    async def _admit(self, request: web.Request) -> tuple[Caller, PdfRenderer]:
        caller = await self._authenticator.admit(request)
        request[CALLER], request[SHARE] = caller.name, caller.share_name
        if self._renderer is None:
            raise RequestError(_NO_RENDERER, 501)
        await caller.check_quota()
        return caller, self._renderer

    async def _read(self, request: web.Request, share: Share) -> bytes:
        try:
            content = await read_body(
                request,
                partial(self._admission.count_bytes, share),
                delay_s=partial(self._pacer.delay_s, share.caller),
                max_bytes=PDF_MAX_BYTES,
                timeout_s=BODY_TIMEOUT_S,
            )
        except BodyTooLargeError as exc:
            raise RequestError(f"the PDF is larger than {PDF_MAX_BYTES // 1024 // 1024} MB: split it") from exc
        share.end_body()
        return content

    async def _in_turn(self, share: Share, job: Callable[[], Awaitable[T]]) -> T:
        with self._admission.queue_slot(share):
            try:
                return await self._turns.run(share.caller, job)
            except ConverterStartError as exc:
                raise RequestError("the server cannot start the process that renders PDFs", 503) from exc

    @asynccontextmanager
    async def _until_ended(self, share: Share) -> AsyncGenerator[None]:
        async with share.until_given_way(), self._in_flight.until_shutdown():
            yield


def add_pdf_routes(app: web.Application, handlers: PdfHandlers) -> None:
    """Add the routes of the page's PDFs."""
    app.router.add_post(PDF_PATH, handlers.open_pdf)
    app.router.add_get(f"{PDF_PATH}/{{id}}/{{page:[0-9]{{1,4}}}}", handlers.get_page, allow_head=False)
    app.router.add_delete(f"{PDF_PATH}/{{id}}", handlers.close_pdf)
    app.cleanup_ctx.append(handlers.drop_idle)
