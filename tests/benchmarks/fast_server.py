"""A server of the API that reads a request, answers a constant text and remembers nothing; ends with its stdin."""

import asyncio
import sys

from aiohttp import web

REPLY = {
    "id": "fast",
    "filename": "page",
    "content": "a page of text",
    "format": "text",
    "timestamp": 1640995200000,
    "payload": "/api/text-recognition?key=***",
}


async def answer(request: web.Request) -> web.Response:
    """Read the whole request and answer."""
    await request.read()
    return web.json_response(REPLY)


async def main() -> None:
    """Serve on a free loopback port, print the URL, end when stdin does."""
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
