"""A scripted OCR server: a real aiohttp server that answers by a script and records the calls and what it billed."""

import asyncio
import base64
import hashlib
import json
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

_QUIET_ROUNDS = 5
"""Consecutive rounds of the event loop without a connection or a call, after which no request is left to handle."""

Reply = Awaitable[web.StreamResponse] | web.StreamResponse
Script = Callable[["Call"], Reply]


@dataclass(slots=True)
class Call:
    """One request as the server received it.

    Attributes:
        number: 1-based, in the order of arrival.
        at_s: When it arrived, on the event loop's clock.
        request: aiohttp's request.
        digest: The sha256 of the image sent, or of the image's URL.
        media_type: As the data URL names it; for an image given as a URL, that URL.
        filename: The request's `filename`.
        key: The key in the query string.
    """

    number: int
    at_s: float
    request: web.Request = field(repr=False)
    digest: str
    media_type: str
    filename: str
    key: str | None


def accept(call: Call) -> web.Response:
    """Answer like the service, with a text that is made from the image's digest."""
    return web.json_response(
        {
            "id": f"doc-{call.number}",
            "filename": call.filename,
            "content": f"text of {call.digest[:12]}",
            "format": "text",
            "timestamp": 1640995200000,
            "payload": f"https://llmocr.com/api/text-recognition?key={call.key}",
        }
    )


def accept_when(released: asyncio.Event, *, from_call: int = 1) -> Script:
    """Return a script that accepts calls from this number on only when the event is set, and earlier ones at once."""

    async def script(call: Call) -> web.StreamResponse:
        if call.number >= from_call:
            await released.wait()
        return accept(call)

    return script


def answer_error(status: int, text: str = "Too Many Requests", **headers: str) -> Script:
    """Return a script that answers every call with an error; `Retry_After="7"` sets the header Retry-After."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: web.json_response({"statusText": text}, status=status, headers=named)


class FakeOcr:
    """The server's script, and what it has received and billed.

    Attributes:
        script: Answers each call; a test may replace it at any time.
        calls: All calls, in the order of arrival.
        billed: Number of 200 replies per content, by the sha256 of the image sent.
        in_flight: Calls that are being answered.
        most_in_flight: The most that were being answered at once.
        url: The server's base URL.
        arrived: Set with each call; a test may clear it.
        connections: Returns the number of open client connections.
    """

    def __init__(self, script: Script = accept) -> None:
        self.script = script
        self.calls: list[Call] = []
        self.billed: Counter[str] = Counter()
        self.in_flight = 0
        self.most_in_flight = 0
        self.url = ""
        self.arrived = asyncio.Event()
        self.connections: Callable[[], int] = lambda: 0

    async def wait_for_calls(self, count: int) -> None:
        """Return once the server has received `count` calls."""
        while len(self.calls) < count:
            self.arrived.clear()
            await self.arrived.wait()

    async def wait_until_quiet(self) -> None:
        """Return once all requests of clients that have died are answered; after that `billed` does not change."""
        host, _, port = self.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))  # accepted after all earlier connections
        writer.write(b"GET / HTTP/1.1\r\nHost: fake\r\nConnection: close\r\n\r\n")
        await reader.read()
        writer.close()
        await writer.wait_closed()
        quiet = 0
        while quiet < _QUIET_ROUNDS:
            await asyncio.sleep(0.001)
            quiet = quiet + 1 if self.connections() == self.in_flight == 0 else 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Record one request and answer it by the script."""
        body: dict[str, Any] = json.loads(await request.read())
        url = body["document"]["image_url"]
        head, _, data = url.partition(";base64,")
        image = base64.b64decode(data, validate=True) if data else url.encode()
        call = Call(
            number=len(self.calls) + 1,
            at_s=asyncio.get_running_loop().time(),
            request=request,
            digest=hashlib.sha256(image).hexdigest(),
            media_type=head.removeprefix("data:"),
            filename=body["filename"],
            key=request.query.get("key"),
        )
        self.calls.append(call)
        self.arrived.set()
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            answer = self.script(call)
            response = await answer if isinstance(answer, Awaitable) else answer
        finally:
            self.in_flight -= 1
        if response.status == 200:
            self.billed[call.digest] += 1
        return response


@asynccontextmanager
async def serve_fake(script: Script = accept) -> AsyncGenerator[FakeOcr]:
    """Run the scripted server on a free loopback port."""
    fake = FakeOcr(script)
    app = web.Application(client_max_size=64 * 1024 * 1024)
    for path in ("/api/text-recognition", "/api/advanced-recognition"):
        app.router.add_post(path, fake.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    server = runner.server
    assert server is not None
    fake.connections = lambda: len(server.connections)
    try:
        yield fake
    finally:
        await runner.cleanup()
