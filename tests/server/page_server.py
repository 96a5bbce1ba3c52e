"""The real application with its page, in front of a scripted recogniser."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path

from pipeline.engine.recognition import Line, Recogniser, Recognition
from pipeline.server.access.authentication import Authenticator
from pipeline.server.access.keyring import Keyring
from pipeline.server.access.keys import KeyStore
from pipeline.server.api.app import create_app
from pipeline.server.http.admission import AdmissionControl
from pipeline.server.workers.pdf_renderer import PdfProcess
from tests.rendering import encode, font, render
from tests.server.keyed import make_key
from tests.server.serving import ScriptedRecogniser, already_set, serving

LINES = (
    "东湖区档案馆 馆藏目录",
    "The parish register of 1887 was copied by hand,",
    "one leaf a day, before the harvest.",
    "新华街文具店 1984年9月3日",
    "Received with thanks.",
    "经手人 赵明",
)
SIZE_PX = (1000, 640)
TYPE_PX = 32
PAGE = encode(render(*LINES, size_px=SIZE_PX, type_px=TYPE_PX))

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def placed_lines() -> list[Line]:
    """Return the lines at the positions where `render` drew them, with falling confidence."""
    left, lines = SIZE_PX[0] * 0.07, []
    for i, text in enumerate(LINES):
        right = left + font(TYPE_PX).getlength(text)
        top = SIZE_PX[1] * 0.08 + 1.8 * TYPE_PX * i
        bottom = top + 1.4 * TYPE_PX
        lines.append(Line(text, 0.99 - i / 100, ((left, top), (right, top), (right, bottom), (left, bottom))))
    return lines


def page_reader(lines: Sequence[Line] | None = None, *, may_answer: asyncio.Event | None = None) -> ScriptedRecogniser:
    """Return a recogniser that finds these lines in each image; by default those of the test page."""
    found = tuple(placed_lines() if lines is None else lines)
    return ScriptedRecogniser(Recognition("\n".join(line.text for line in found), found), may_answer or already_set())


def make_used_key(path: Path, used: int = 0) -> str:
    """Make a key of the basic tier with some of its calls used; return the key."""
    secret, key = make_key(path, "basic")
    with closing(KeyStore(path)) as store, store.transaction():
        for _ in range(used):
            store.take_call(key.id, "2026-11")
    return secret


@asynccontextmanager
async def serving_page(
    recogniser: Recogniser | None = None,
    *,
    keys: Path | None = None,
    admission: AdmissionControl | None = None,
    renders_pdfs: bool = False,
) -> AsyncIterator[str]:
    """Serve the application; yield its origin.

    Args:
        recogniser: Reads the images.
        keys: The key store; None accepts requests without a key.
        admission: Bounds the requests.
        renders_pdfs: Whether there is a process that renders pages of PDFs.
    """
    async with AsyncExitStack() as stack:
        keyring = await stack.enter_async_context(Keyring(keys)) if keys else None
        renderer = await stack.enter_async_context(PdfProcess()) if renders_pdfs else None
        authenticator = Authenticator(keyring=keyring, now=lambda: NOW)
        app = create_app(recogniser or page_reader(), authenticator, admission=admission, pdf_renderer=renderer)
        yield await stack.enter_async_context(serving(app))
