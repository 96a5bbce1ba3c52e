"""From a configuration to a server, and to its end."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import anyio
import pytest
import requests
from aiohttp import ClientError, ClientSession

from pipeline.config import ServeConfig
from pipeline.errors import EngineError, UsageError
from pipeline.server.recognition import Recogniser, Recognition
from pipeline.server.serve import base_url, is_loopback, read_serve_key, serve
from tests.server.api.test_app import request_body
from tests.server.conftest import start_engine_server, stop_engine_server
from tests.server.processes import wait_until
from tests.server.rendering import encode, render


class SlowRecogniser:
    """Answers when it is let."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.state = "new"

    async def recognise(self, image: bytes) -> Recognition:
        """Wait, then answer."""
        self.began.set()
        await self.may_answer.wait()
        return Recognition(f"{len(image)} bytes")

    @asynccontextmanager
    async def started(self) -> AsyncIterator[Recogniser]:
        """Stand in for the pool."""
        self.state = "started"
        yield self
        self.state = "ended"


class Server:
    """A server in a task, its base URL, and the way to stop it."""

    def __init__(self, recogniser: SlowRecogniser, *, drain_s: float = 10.0) -> None:
        self.stop = anyio.Event()
        self.url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(
            serve(
                ServeConfig(port=0),
                key=None,
                stop=self.stop,
                ready=self.url.set_result,
                recogniser=recogniser.started(),
                drain_s=drain_s,
            )
        )


async def post(url: str) -> int:
    """Send a page and return the status."""
    async with ClientSession() as session, session.post(f"{url}/api/text-recognition", data=request_body()) as response:
        return response.status


async def test_a_stop_lets_requests_in_flight_finish() -> None:
    """The caller gets its 200, new callers are refused, and the engine ends last."""
    recogniser = SlowRecogniser()
    server = Server(recogniser)
    url = await server.url
    request = asyncio.create_task(post(url))
    await recogniser.began.wait()
    server.stop.set()
    await asyncio.sleep(0.1)
    assert not server.task.done()
    assert recogniser.state == "started"
    recogniser.may_answer.set()
    assert await request == 200
    await server.task
    assert recogniser.state == "ended"
    with pytest.raises(ClientError, match="Connect"):
        await post(url)


@pytest.mark.engine
def test_sigterm_lets_the_page_under_way_finish() -> None:
    """A service manager stops a server without an answer lost; who calls after that is refused."""
    server = start_engine_server("drain-key", "--workers", "1")
    page = encode(render(*["a page that takes a while"] * 20, size_px=(1240, 1754)))
    try:
        with ThreadPoolExecutor(1) as thread:
            answer = thread.submit(server.post, page)
            wait_until(lambda: is_busy(server.base_url))
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: is_refused(server.base_url))
            assert not answer.done()
            assert answer.result(timeout=60).status_code == 200
    finally:
        status = stop_engine_server(server)
    assert status == 0


def is_busy(base_url: str) -> bool:
    """Return whether a page is in the server's hands."""
    figures = requests.get(f"{base_url}/metrics", timeout=10).text
    return "pagemill_body_bytes 0.0" not in figures


def is_refused(base_url: str) -> bool:
    """Return whether the server takes no more connections."""
    try:
        requests.get(f"{base_url}/healthz", timeout=10)
    except requests.ConnectionError:
        return True
    return False


async def test_a_body_that_is_on_its_way_at_the_stop_arrives() -> None:
    """Its caller gets the answer, and then the end of the connection."""
    recogniser = SlowRecogniser()
    recogniser.may_answer.set()
    server = Server(recogniser)
    reader, writer = await asyncio.open_connection("127.0.0.1", int((await server.url).rpartition(":")[2]))
    body = request_body()
    head = f"POST /api/text-recognition HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {len(body)}"
    writer.write(head.encode() + b"\r\n\r\n" + body[:100])
    async with asyncio.timeout(10):
        assert await reader.readline() == b"HTTP/1.1 100 Continue\r\n"  # the request is under way
        server.stop.set()
        await asyncio.to_thread(wait_until, lambda: is_refused(server.url.result()))
        writer.write(body[100:])
        answer = await reader.read()
        await server.task
    assert b"HTTP/1.1 200 OK" in answer
    assert b"Connection: close" in answer
    writer.close()


async def test_a_stop_does_not_wait_forever() -> None:
    """A request that takes too long is dropped."""
    recogniser = SlowRecogniser()
    server = Server(recogniser, drain_s=0.2)
    request = asyncio.create_task(post(await server.url))
    await recogniser.began.wait()
    server.stop.set()
    async with asyncio.timeout(5):
        await server.task
    with pytest.raises(ClientError, match="disconnected"):
        await request


async def test_a_stop_while_the_engine_loads_ends_the_server() -> None:
    """Nobody waits for models that nobody wants any more."""

    @asynccontextmanager
    async def loading() -> AsyncIterator[Recogniser]:
        await asyncio.sleep(600)
        yield SlowRecogniser()

    stop = anyio.Event()
    announced: list[str] = []
    task = asyncio.create_task(
        serve(ServeConfig(port=0), key=None, stop=stop, ready=announced.append, recogniser=loading())
    )
    await asyncio.sleep(0.05)
    stop.set()
    async with asyncio.timeout(5):
        await task
    assert announced == []


async def test_an_engine_that_does_not_start_is_the_server_s_error() -> None:
    """It reaches the command line as it is."""

    @asynccontextmanager
    async def failing(problem: EngineError | None) -> AsyncIterator[Recogniser]:
        if problem is not None:
            raise problem
        yield SlowRecogniser()

    problem = EngineError("no engine")
    with pytest.raises(EngineError, match="no engine"):
        await serve(ServeConfig(port=0), key=None, stop=anyio.Event(), ready=print, recogniser=failing(problem))


async def test_a_port_in_use_is_told_before_anything_is_loaded() -> None:
    """The message names the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            await serve(ServeConfig(port=port), key=None, stop=anyio.Event(), ready=print)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
async def test_without_a_key_only_this_machine_is_served(host: str) -> None:
    """An open engine on the network is a mistake, not a default."""
    with pytest.raises(UsageError, match="needs a key: set PAGEMILL_SERVE_KEY"):
        await serve(ServeConfig(host=host, port=0), key=None, stop=anyio.Event(), ready=print)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost", "LOCALHOST"])
def test_loopback_is_this_machine_alone(host: str) -> None:
    """By number or by name."""
    assert is_loopback(host)


def test_an_ipv6_address_gets_brackets_in_a_url() -> None:
    """As RFC 3986 has it."""
    assert base_url("::1", 80) == "http://[::1]:80"
    assert base_url("127.0.0.1", 80) == "http://127.0.0.1:80"


def test_the_key_leaves_the_environment_when_it_is_read() -> None:
    """Children inherit the environment."""
    environ = {"PAGEMILL_SERVE_KEY": "k", "HOME": "/"}
    assert read_serve_key(environ) == "k"
    assert environ == {"HOME": "/"}
    assert read_serve_key(environ) is None


@pytest.mark.parametrize("value", ["", "two words", "line\nbreak"])
def test_an_unusable_key_stops_the_server(value: str) -> None:
    """An empty variable does not open the server to everybody."""
    with pytest.raises(UsageError, match="PAGEMILL_SERVE_KEY: not a key"):
        read_serve_key({"PAGEMILL_SERVE_KEY": value})
