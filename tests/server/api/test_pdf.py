"""The routes that give the page the pages of a PDF as images."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.errors import ConversionError
from pipeline.server.access.authentication import Authenticator
from pipeline.server.access.keyring import Keyring
from pipeline.server.api import pdf
from pipeline.server.api.pdf_documents import Document, HeldDocuments
from pipeline.server.http.admission import AdmissionControl
from pipeline.server.workers.pdf_renderer import PdfProcess
from tests.server.keyed import make_key
from tests.server.page_server import NOW, make_used_key
from tests.server.pdfs import pdf_of
from tests.server.serving import Call, Response, ScriptedRecogniser, already_set, serving_api


@dataclass(slots=True)
class ScriptedRenderer:
    """Renders nothing: a page is the document and its number.

    Attributes:
        pages: Number of pages of each document, or the error that opening it raises.
        may_answer: Holds the answers back until it is set.
        waiting: Set when a task has arrived.
    """

    pages: int | Exception = 3
    may_answer: asyncio.Event = field(default_factory=already_set)
    waiting: asyncio.Event = field(default_factory=asyncio.Event)

    async def count_pages(self, document: str, content: bytes) -> int:
        self.waiting.set()
        await self.may_answer.wait()
        assert document
        assert content
        if isinstance(self.pages, Exception):
            raise self.pages
        return self.pages

    async def render(self, document: str, content: bytes, page: int) -> bytes:
        await self.may_answer.wait()
        assert document
        return content + b"#%d" % page


@asynccontextmanager
async def serving_pdfs(renderer: ScriptedRenderer | None, **parts: Any) -> AsyncIterator[Call]:
    """Serve the application with this renderer; yield a function that calls it."""
    async with serving_api(ScriptedRecogniser(), pdf_renderer=renderer, **parts) as (_, call):
        yield call


async def send(call: Call, content: bytes = b"%PDF-1", **options: Any) -> Response:
    """Send a document."""
    return await call(content, pdf.PDF_PATH, **options)


async def get(call: Call, path: str, method: str = "GET", **options: Any) -> Response:
    return await call(b"", f"{pdf.PDF_PATH}/{path}", method, **options)


async def test_a_document_is_sent_once_and_its_pages_are_images() -> None:
    async with PdfProcess() as renderer, serving_api(ScriptedRecogniser(), pdf_renderer=renderer) as (_, call):
        opened = await send(call, pdf_of((72, 72), (144, 72)))
        assert (opened.status, opened.reply["pages"]) == (201, 2)
        page = await get(call, f"{opened.reply['id']}/2")
        assert (page.status, page.headers["Content-Type"]) == (200, "image/jpeg")
        assert Image.open(io.BytesIO(page.body)).size == (600, 300)
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        for path in ("0", "3", "9999"):
            assert (await get(call, f"{opened.reply['id']}/{path}")).status == 404
        assert (await get(call, opened.reply["id"], "DELETE")).status == 204
        assert (await get(call, f"{opened.reply['id']}/1")).status == 404


@pytest.mark.parametrize(
    ("pages", "message"),
    [
        pytest.param(
            ConversionError("the PDF needs a password: save it"), "the PDF needs a password: save it", id="no"
        ),
        pytest.param(501, "the PDF has 501 pages; this page takes 500 at most", id="too-many-pages"),
    ],
)
async def test_a_document_that_is_not_taken_gets_a_reason(pages: int | Exception, message: str) -> None:
    async with serving_pdfs(ScriptedRenderer(pages)) as call:
        response = await send(call)
        assert response.status == 400
        assert response.reply["statusText"].startswith(message)


async def test_a_server_without_the_extra_says_how_to_install_it() -> None:
    async with serving_pdfs(None) as call:
        response = await send(call)
        assert (response.status, response.reply["statusText"]) == (
            501,
            "this server reads no PDF; its operator can change that: pip install 'pagemill[pdf]'",
        )


async def test_a_document_beyond_the_limit_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "PDF_MAX_BYTES", 1 << 20)
    async with serving_pdfs(ScriptedRenderer()) as call:
        response = await send(call, bytes((1 << 20) + 1))
        assert (response.status, response.reply["statusText"]) == (400, "the PDF is larger than 1 MB: split it")


class TestAccess:
    """The rules of the API's other routes."""

    async def test_a_caller_without_a_key_or_without_a_call_left_gets_no_page(self, tmp_path: Path) -> None:
        used = make_used_key(tmp_path / "keys", used=1000)
        async with Keyring(tmp_path / "keys") as keyring:
            authenticator = Authenticator(keyring=keyring, now=lambda: NOW)
            async with serving_pdfs(ScriptedRenderer(), authenticator=authenticator) as call:
                assert (await send(call)).status == 401
                assert (await get(call, "x/1")).status == 401
                assert (await get(call, "x", "DELETE")).status == 401
                assert (await send(call, params={"key": used})).status == 403
                assert (await get(call, "x/1", params={"key": used})).status == 403

    async def test_a_caller_gets_no_page_of_another_s_document(self, tmp_path: Path) -> None:
        one, other = (make_key(tmp_path / "keys", "basic")[0] for _ in range(2))
        async with Keyring(tmp_path / "keys") as keyring:
            authenticator = Authenticator(keyring=keyring, now=lambda: NOW)
            async with serving_pdfs(ScriptedRenderer(), authenticator=authenticator) as call:
                document = (await send(call, params={"key": one})).reply["id"]
                assert (await get(call, f"{document}/1", params={"key": other})).status == 404
                assert (await get(call, document, "DELETE", params={"key": other})).status == 204
                assert (await get(call, f"{document}/1", params={"key": one})).status == 200

    async def test_rendering_costs_no_call(self, tmp_path: Path) -> None:
        key = make_used_key(tmp_path / "keys", used=5)
        async with Keyring(tmp_path / "keys") as keyring:
            authenticator = Authenticator(keyring=keyring, now=lambda: NOW)
            async with serving_pdfs(ScriptedRenderer(), authenticator=authenticator) as call:
                document = (await send(call, params={"key": key})).reply["id"]
                assert (await get(call, f"{document}/1", params={"key": key})).status == 200
                usage = await call(b"", "/api/usage", "GET", params={"key": key})
                assert usage.reply["used"] == 5

    @pytest.mark.parametrize("method", ["POST", "DELETE"])
    async def test_the_page_of_another_site_cannot_send_or_drop_a_document(self, method: str) -> None:
        """On a server that its machine may call without a key."""
        async with serving_pdfs(ScriptedRenderer()) as call:
            path = pdf.PDF_PATH if method == "POST" else f"{pdf.PDF_PATH}/x"
            response = await call(b"%PDF", path, method, headers={"Origin": "https://example.org"})
            assert response.status == 403

    async def test_a_document_waits_in_a_slot_of_the_queue_and_beyond_the_bound_gets_429(self) -> None:
        renderer = ScriptedRenderer(may_answer=asyncio.Event())
        async with serving_pdfs(renderer, admission=AdmissionControl(1)) as call:
            first = asyncio.ensure_future(send(call))
            await renderer.waiting.wait()
            async with asyncio.timeout(20):  # at once: a wait for its turn would end in 429, too
                second = await send(call)
            assert (second.status, second.headers["Retry-After"]) == (429, "5")
            renderer.may_answer.set()
            assert (await first).status == 201

    async def test_documents_of_all_callers_count_as_buffered_bytes_while_they_arrive(self) -> None:
        async with serving_pdfs(ScriptedRenderer(), admission=AdmissionControl(bodies_max_bytes=1000)) as call:
            assert (await send(call, bytes(900))).status == 201
            assert (await send(call, bytes(1100))).status == 429


class TestHeldDocuments:
    """What the server keeps between a document and its pages."""

    def test_the_caller_that_holds_most_loses_the_document_that_it_used_the_longest_ago(self) -> None:
        held = HeldDocuments(max_bytes=100)
        for number, (owner, size) in enumerate((("a", 30), ("b", 20), ("a", 30))):
            held.keep(str(number), Document(owner, bytes(size), 1, float(number)))
        held.find("a", "0", 5.0)
        held.keep("3", Document("b", bytes(30), 1, 6.0))
        assert [key for key in "0123" if held.find("a", key, 7.0) or held.find("b", key, 7.0)] == ["0", "1", "3"]

    def test_a_document_that_nobody_asks_for_is_dropped(self) -> None:
        held = HeldDocuments(idle_s=10)
        held.keep("0", Document("a", b"", 1, 0.0))
        held.keep("1", Document("a", b"", 1, 5.0))
        assert held.find("a", "1", 9.0)
        held.drop_idle(10.0)
        assert len(held) == 1
        assert held.find("a", "0", 10.0) is None
