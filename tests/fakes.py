"""A scripted OCR server: a real aiohttp server that answers as it is told and remembers what it saw and billed."""

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
"""Of the event loop, without a connection or a call: what was read last has come to its handler by then."""

Script = Callable[["Call"], "Awaitable[web.StreamResponse] | web.StreamResponse"]


@dataclass(slots=True)
class Call:
    """One request as the server saw it."""

    number: int
    at_s: float
    request: web.Request = field(repr=False)
    digest: str
    media_type: str
    filename: str
    key: str | None


def accept(call: Call) -> web.Response:
    """Answer as the service does, with a text that names the image's content."""
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


def refuse(status: int, text: str = "Too Many Requests", **headers: str) -> Script:
    """Return a script that answers with an error."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: web.json_response({"statusText": text}, status=status, headers=named)


class FakeOcr:
    """The server's memory and script."""

    def __init__(self, script: Script = accept) -> None:
        self.script = script
        self.calls: list[Call] = []
        self.billed: Counter[str] = Counter()
        """How often each content was answered with a text, by sha256 of the image sent."""
        self.in_flight = 0
        self.most_in_flight = 0
        self.url = ""
        self.arrived = asyncio.Event()
        self.connections: Callable[[], int] = lambda: 0
        """How many connections clients hold."""

    async def wait_until_quiet(self) -> None:
        """Return once all that clients sent before they died is answered; what is billed now stays as it is."""
        host, _, port = self.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))  # is accepted after all that came before
        writer.write(b"GET / HTTP/1.1\r\nHost: fake\r\nConnection: close\r\n\r\n")
        await reader.read()
        writer.close()
        await writer.wait_closed()
        quiet = 0
        while quiet < _QUIET_ROUNDS:
            await asyncio.sleep(0.001)
            quiet = quiet + 1 if self.connections() == self.in_flight == 0 else 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request by the script."""
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
    """Run the fake on a free loopback port."""
    fake = FakeOcr(script)
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/api/text-recognition", fake.handle)
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
