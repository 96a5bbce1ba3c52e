"""A fast server of the API: it reads each request and answers a constant text, in a process of its own."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from tests.runs import environment

REPLY = {
    "id": "fast",
    "filename": "page",
    "content": "a page of text",
    "format": "text",
    "timestamp": 1640995200000,
    "payload": "/api/text-recognition?key=***",
}


async def answer(request: web.Request) -> web.Response:
    """Read the whole request and answer the constant text."""
    await request.read()
    return web.json_response(REPLY)


@contextmanager
def fast_server() -> Iterator[str]:
    """Run the server in a process of its own; yield its base URL."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.fast_server"],
        env=environment(None),
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()
            process.wait(10)


async def main() -> None:
    """Serve on a free loopback port, print the base URL, and end when stdin is closed."""
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/api/text-recognition", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
