"""The real application, with its page, in front of a scripted engine."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from aiohttp import web

from pipeline.server.access.access import Access
from pipeline.server.access.keyring import Keyring
from pipeline.server.access.keys import KeyStore
from pipeline.server.api.app import create_app
from pipeline.server.recognition import Line, Recognition
from tests.server.rendering import encode, font, render

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
    """Return the lines where `render` put them, the first ones surer than the last."""
    left, lines = SIZE_PX[0] * 0.07, []
    for i, text in enumerate(LINES):
        right = left + font(TYPE_PX).getlength(text)
        top = SIZE_PX[1] * 0.08 + 1.8 * TYPE_PX * i
        bottom = top + 1.4 * TYPE_PX
        lines.append(Line(text, 0.99 - i / 100, ((left, top), (right, top), (right, bottom), (left, bottom))))
    return lines


@dataclass(slots=True)
class ScriptedEngine:
    """What the engine finds.

    Attributes:
        lines: In each image.
        refusal: Raised in place of an answer.
        may_answer: Cleared, it holds answers back.
        seen: The images that came.
    """

    lines: list[Line] = field(default_factory=placed_lines)
    refusal: Exception | None = None
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    seen: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.may_answer.set()

    async def recognise(self, image: bytes) -> Recognition:
        """Return the lines, or raise."""
        self.seen.append(image)
        await self.may_answer.wait()
        if self.refusal is not None:
            raise self.refusal
        return Recognition("\n".join(line.text for line in self.lines), tuple(self.lines))


def make_key(path: Path, *, used: int = 0) -> str:
    """Make a key store with one key of the basic tier, some of its calls used; return the key."""
    store = KeyStore(path)
    try:
        secret, key = store.add(name="reading room", tier="basic", quota=None, now="2026-11-01T00:00:00Z")
        with store.transaction():
            for _ in range(used):
                store.take(key.id, "2026-11")
    finally:
        store.close()
    return secret


@asynccontextmanager
async def serving(engine: ScriptedEngine | None = None, *, keys: Path | None = None) -> AsyncIterator[str]:
    """Serve the application; yield its origin.

    Args:
        engine: Reads the images.
        keys: The key store; None lets everybody in.
    """
    async with AsyncExitStack() as stack:
        keyring = await stack.enter_async_context(Keyring(keys)) if keys else None
        app = create_app(engine or ScriptedEngine(), Access(keyring=keyring, now=lambda: NOW))
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        stack.push_async_callback(runner.cleanup)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield "http://127.0.0.1:{1}".format(*runner.addresses[0])
