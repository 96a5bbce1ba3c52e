"""The server from its configuration to its shutdown."""

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
from pipeline.engine.recognition import Recogniser, Recognition
from pipeline.errors import EngineError, UsageError
from pipeline.server.http.admission import RETRY_AFTER_S
from pipeline.server.serve import base_url, read_serve_key, serve
from tests.engine_server import start_engine_server, stop_engine_server
from tests.rendering import encode, render
from tests.runs import run_command
from tests.server.processes import children, is_running, wait_until
from tests.server.serving import ScriptedRecogniser, port_of, request_body


class Server:
    """A running server, its base URL, and the event that stops it."""

    def __init__(self, recogniser: Recogniser, *, shutdown_s: float = 10.0) -> None:
        self.stop = anyio.Event()
        self.engine_ended = asyncio.Event()
        self.url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(
            serve(
                ServeConfig(port=0),
                key=None,
                stop=self.stop,
                ready=self.url.set_result,
                recogniser=self._start(recogniser),
                shutdown_s=shutdown_s,
            )
        )

    @asynccontextmanager
    async def _start(self, recogniser: Recogniser) -> AsyncIterator[Recogniser]:
        yield recogniser
        self.engine_ended.set()


async def post(url: str) -> int:
    """Send a page and return the status."""
    async with ClientSession() as session, session.post(f"{url}/api/text-recognition", data=request_body()) as response:
        return response.status


async def test_a_stop_lets_requests_in_flight_finish() -> None:
    recogniser = ScriptedRecogniser(may_answer=asyncio.Event())
    server = Server(recogniser)
    url = await server.url
    request = asyncio.create_task(post(url))
    await recogniser.began.wait()
    server.stop.set()
    await asyncio.to_thread(wait_until, lambda: has_stopped_listening(url))
    assert not server.task.done()
    assert not server.engine_ended.is_set()
    recogniser.may_answer.set()
    assert await request == 200
    await server.task
    assert server.engine_ended.is_set()
    with pytest.raises(ClientError, match="Connect"):
        await post(url)


@pytest.mark.engine
def test_sigterm_lets_the_page_in_flight_finish() -> None:
    server = start_engine_server("the-key-of-the-sigterm-test", "--workers", "1")
    page = encode(render(*["a page that takes a while"] * 20, size_px=(1240, 1754)))
    try:
        with ThreadPoolExecutor(1) as thread:
            answer = thread.submit(server.post, page)
            wait_until(lambda: is_busy(server.base_url))
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: has_stopped_listening(server.base_url))
            assert not answer.done()
            assert answer.result(timeout=60).status_code == 200
    finally:
        status = stop_engine_server(server)
    assert status == 0


@pytest.mark.engine
def test_a_second_signal_ends_server_and_workers_at_once() -> None:
    server = start_engine_server("the-key-of-the-abort-test", "--workers", "1")
    page = encode(render(*["a page that takes a while"] * 20, size_px=(1240, 1754)))
    try:
        with ThreadPoolExecutor(1) as thread:
            answer = thread.submit(server.post, page)
            wait_until(lambda: is_busy(server.base_url))
            workers = children(server.process.pid)
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: has_stopped_listening(server.base_url))
            server.process.send_signal(signal.SIGTERM)
            with pytest.raises(requests.ConnectionError):
                answer.result(timeout=60)
    finally:
        status = stop_engine_server(server)
    assert status == 128 + signal.SIGTERM
    assert workers
    wait_until(lambda: not any(map(is_running, workers)))


def is_busy(base_url: str) -> bool:
    """Return whether the server holds a request's body."""
    figures = requests.get(f"{base_url}/metrics", timeout=10).text
    return "pagemill_body_bytes 0.0" not in figures


def has_stopped_listening(base_url: str) -> bool:
    """Return whether the server accepts no more connections."""
    try:
        requests.get(f"{base_url}/healthz", timeout=10)
    except requests.ConnectionError:
        return True
    return False


async def test_a_malformed_request_is_counted_without_a_route() -> None:
    server = Server(ScriptedRecogniser())
    url = await server.url
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(url))
    writer.write(b"hello\r\n\r\n")
    await reader.read()
    writer.close()
    figures = (await asyncio.to_thread(requests.get, f"{url}/metrics", timeout=10)).text
    assert 'pagemill_requests_total{route="malformed",status="400"} 1.0' in figures
    server.stop.set()
    await server.task


async def test_a_body_in_transit_at_the_stop_is_received_and_answered() -> None:
    server = Server(ScriptedRecogniser())
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(await server.url))
    body = request_body()
    head = (
        f"POST /api/text-recognition HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: {len(body)}"
    )
    writer.write(head.encode() + b"\r\n\r\n" + body[:100])
    async with asyncio.timeout(10):
        assert await reader.readline() == b"HTTP/1.1 100 Continue\r\n"  # the request is in flight
        server.stop.set()
        await asyncio.to_thread(wait_until, lambda: has_stopped_listening(server.url.result()))
        writer.write(body[100:])
        answer = await reader.read()
        await server.task
    assert b"HTTP/1.1 200 OK" in answer
    assert b"Connection: close" in answer
    writer.close()


class SingleAnswer:
    """Waits until three images have arrived, then answers one of them."""

    def __init__(self) -> None:
        self.all_came = asyncio.Event()
        self.may_answer = asyncio.Semaphore(0)
        self.came = 0

    async def recognise(self, _image: bytes) -> Recognition:
        """Wait for the permit to answer."""
        self.came += 1
        if self.came == 3:
            self.all_came.set()
        await self.may_answer.acquire()
        return Recognition("")


async def test_requests_unfinished_at_the_shutdown_s_timeout_get_429() -> None:
    """Both a request that waits for a worker, and one whose body has not arrived."""
    recogniser = SingleAnswer()
    server = Server(recogniser, shutdown_s=0.5)
    url = await server.url
    _, sender = sending = await asyncio.open_connection("127.0.0.1", port_of(url))
    sender.write(b"POST /api/text-recognition HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
    in_flight = [asyncio.create_task(post(url)) for _ in range(3)]
    async with asyncio.timeout(10):
        await recogniser.all_came.wait()
        server.stop.set()
        recogniser.may_answer.release()
        statuses = await asyncio.gather(*in_flight)
        answer = await sending[0].read()
        await server.task
    assert sorted(statuses) == [200, 429, 429]
    assert answer.startswith(b"HTTP/1.1 429 ")
    assert f"Retry-After: {RETRY_AFTER_S}\r\n".encode() in answer
    assert answer.endswith(b'{"statusText":"Too Many Requests: the server is stopping"}')
    sender.close()


async def test_a_stop_while_the_engine_loads_ends_the_server() -> None:
    @asynccontextmanager
    async def loading() -> AsyncIterator[Recogniser]:
        await asyncio.sleep(600)
        yield ScriptedRecogniser()

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


async def test_the_error_of_an_engine_that_does_not_start_propagates() -> None:
    @asynccontextmanager
    async def failing(problem: EngineError | None) -> AsyncIterator[Recogniser]:
        if problem is not None:
            raise problem
        yield ScriptedRecogniser()

    problem = EngineError("no engine")
    with pytest.raises(EngineError, match="no engine"):
        await serve(ServeConfig(port=0), key=None, stop=anyio.Event(), ready=print, recogniser=failing(problem))


async def test_a_port_in_use_is_reported_before_the_models_load() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            await serve(ServeConfig(port=port), key=None, stop=anyio.Event(), ready=print)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
async def test_without_a_key_only_loopback_can_be_served(host: str) -> None:
    with pytest.raises(UsageError, match="needs a key: set PAGEMILL_OPERATOR_KEY"):
        await serve(ServeConfig(host=host, port=0), key=None, stop=anyio.Event(), ready=print)


def test_an_ipv6_address_gets_brackets_in_a_url() -> None:
    """RFC 3986, 3.2.2."""
    assert base_url("::1", 80) == "http://[::1]:80"
    assert base_url("127.0.0.1", 80) == "http://127.0.0.1:80"


def test_reading_the_operator_s_key_deletes_it_from_the_environment() -> None:
    """Child processes inherit the environment."""
    environ = {"PAGEMILL_OPERATOR_KEY": "k" * 20, "HOME": "/"}
    assert read_serve_key(environ) == "k" * 20
    assert environ == {"HOME": "/"}
    assert read_serve_key(environ) is None


@pytest.mark.parametrize("value", ["", "two words", "line\nbreak"])
def test_an_unusable_key_stops_the_server(value: str) -> None:
    """An empty variable must not open the server to callers without a key."""
    with pytest.raises(UsageError, match="PAGEMILL_OPERATOR_KEY: not a key"):
        read_serve_key({"PAGEMILL_OPERATOR_KEY": value})


@pytest.mark.parametrize("length", [1, 4, 19])
def test_an_operator_s_key_of_less_than_20_characters_is_refused(length: int) -> None:
    """PAGEMILL_OPERATOR_KEY=7315 was guessed in 1.4 s."""
    with pytest.raises(UsageError, match=f"a key of {length} characters can be guessed; at least 20") as caught:
        read_serve_key({"PAGEMILL_OPERATOR_KEY": ("7315" * 5)[:length]})
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("arguments", [("serve", "--port", "0"), ("config", "check"), ("config", "show")])
async def test_a_short_operator_s_key_is_exit_2_whatever_the_address(arguments: tuple[str, ...]) -> None:
    done = await run_command(*arguments, key=None, PAGEMILL_OPERATOR_KEY="7315")
    assert done.returncode == 2
    assert b"PAGEMILL_OPERATOR_KEY: a key of 4 characters can be guessed" in done.stderr
    assert b"7315" not in done.stderr
