"""One POST, one outcome: against real servers, and against sockets that break the protocol."""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from urllib.parse import quote

import pytest
from aiohttp import web

from pipeline.errors import UsageError
from pipeline.records import Service
from pipeline.remote.client import Client, Timeouts, check_base_url, open_client
from pipeline.remote.verdict import Fault, Outcome
from pipeline.wire import REPLY_MAX_BYTES, WireReply, build_image_body
from tests.fakes import Call, accept, refuse, serve_fake
from tests.faults.raw_server import response

KEY = "sk-a-secret-key"
BODY = build_image_body(b"an image", "image/png", "a.png")
OK = b'{"id":"doc-1","content":"text","timestamp":1}'
ACCEPTED = Outcome(200, reply=WireReply("doc-1", "text", 1))
TOO_LONG = f"a reply of more than {REPLY_MAX_BYTES} bytes"


async def post(url: str, *, key: str | None = KEY, timeouts: Timeouts | None = None, body: bytes = BODY) -> Outcome:
    """Make one call with a client of its own; the key must be in nothing that comes back."""
    service = Service(url, key, "test")
    async with open_client(service, timeouts or Timeouts(), connections=1) as client, asyncio.timeout(20):
        outcome = await client.post(body)
    if key is not None:
        assert key not in repr(outcome)
    return outcome


def open_one(url: str, connections: int = 1) -> AbstractAsyncContextManager[Client]:
    """Open a client for several calls."""
    return open_client(Service(url, KEY, "test"), Timeouts(), connections=connections)


class RawServer:
    """A server that speaks bytes, not HTTP.

    Attributes:
        requests: The requests that arrived whole, with their bodies.
        connections: How many were opened.
        gone: Set when a client has closed its connection while it was being written to.
    """

    def __init__(self, answer: "Callable[[RawServer, asyncio.StreamWriter], Awaitable[None]]") -> None:
        self.answer = answer
        self.requests: list[bytes] = []
        self.connections = 0
        self.gone = asyncio.Event()
        self.over = asyncio.Event()
        self.url = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request after the other until the client or the answer ends the connection."""
        self.connections += 1
        try:
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line.partition(b":")[2])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length:")
                )
                self.requests.append(head + await reader.readexactly(length))
                await self.answer(self, writer)
        except asyncio.IncompleteReadError:
            return
        except ConnectionError:
            self.gone.set()
        finally:
            writer.close()


@asynccontextmanager
async def serve_raw(
    answer: Callable[[RawServer, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncGenerator[RawServer]:
    """Run the raw server on a free loopback port, and wait for its connections to end."""
    raw = RawServer(answer)
    handlers: set[asyncio.Task[None]] = set()

    def accept_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.add(asyncio.create_task(raw.handle(reader, writer)))

    server = await asyncio.start_server(accept_connection, "127.0.0.1", 0)
    raw.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield raw
    finally:
        raw.over.set()
        server.close()
        await asyncio.gather(*handlers)
        await server.wait_closed()


def say(data: bytes, *, ending: str = "close") -> Callable[[RawServer, asyncio.StreamWriter], Awaitable[None]]:
    """Return an answer: these bytes, then "close", "abort" (RST), "stay" (keep-alive), or "hang" without a word."""

    async def answer(server: RawServer, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        match ending:
            case "close":
                writer.close()
            case "abort":
                writer.transport.abort()
            case "hang":
                await server.over.wait()
                writer.close()
            case _:
                pass

    return answer


class TestRequest:
    """What goes out."""

    async def test_a_call_is_the_documented_request(self) -> None:
        """Method, path, key, headers and body."""
        async with serve_raw(say(response(OK))) as server:
            assert await post(server.url) == ACCEPTED
        head, _, body = server.requests[0].partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        assert lines[0] == f"POST /api/text-recognition?key={KEY} HTTP/1.1"
        assert {"Content-Type: application/json", f"Content-Length: {len(BODY)}", "User-Agent: pagemill"} <= set(lines)
        assert body == BODY

    @pytest.mark.parametrize("key", ["a+b/c=d", "a&b=c", "100%", "%20", "a?b#c", "schlüssel", "密钥", "a;b"])
    async def test_any_key_arrives_as_it_is(self, key: str) -> None:
        """It is quoted for the URL exactly once."""
        async with serve_fake() as server:
            assert (await post(server.url, key=key)).status == 200
        assert [call.key for call in server.calls] == [key]

    async def test_without_a_key_there_is_no_query(self) -> None:
        """Not an empty one either."""
        async with serve_raw(say(response(OK))) as server:
            assert await post(server.url, key=None) == ACCEPTED
        assert server.requests[0].startswith(b"POST /api/text-recognition HTTP/1.1\r\n")

    @pytest.mark.parametrize("base", ["", "/", "/proxy", "/proxy/"])
    async def test_the_path_is_added_to_the_base_url(self, base: str) -> None:
        """Whether it ends in a slash or not."""
        async with serve_raw(say(response(OK))) as server:
            await post(server.url + base, key=None)
        expected = f"POST {base.rstrip('/')}/api/text-recognition HTTP/1.1\r\n".encode()
        assert server.requests[0].startswith(expected)

    async def test_connections_are_used_again(self) -> None:
        """Two calls, one connection."""
        async with serve_raw(say(response(OK), ending="stay")) as server, open_one(server.url) as client:
            assert [await client.post(BODY), await client.post(BODY)] == [ACCEPTED, ACCEPTED]
        assert (len(server.requests), server.connections) == (2, 1)

    async def test_a_lost_call_is_not_sent_again_behind_our_back(self) -> None:
        """A library's own retry would be billed and not counted."""

        async def once(server: RawServer, writer: asyncio.StreamWriter) -> None:
            await say(response(OK) if len(server.requests) == 1 else b"", ending="stay")(server, writer)
            if len(server.requests) == 2:
                writer.transport.abort()

        async with serve_raw(once) as server, open_one(server.url) as client:
            assert await client.post(BODY) == ACCEPTED
            assert (await client.post(BODY)).fault is Fault.LOST
        assert len(server.requests) == 2

    async def test_no_cookie_is_kept(self) -> None:
        """Calls share nothing but the connection."""
        answer = say(response(OK, "200 OK", "Set-Cookie: a=b"), ending="stay")
        async with serve_raw(answer) as server:
            by_name = server.url.replace("127.0.0.1", "localhost")  # aiohttp keeps no cookies of addresses anyway
            async with open_one(by_name) as client:
                assert [await client.post(BODY), await client.post(BODY)] == [ACCEPTED, ACCEPTED]
        assert b"\r\nCookie" not in server.requests[1]


class TestReplies:
    """What a service says."""

    async def test_a_documented_reply_is_accepted(self) -> None:
        """Id, text and time are kept; the payload, which echoes the key, is not."""
        async with serve_fake() as server:
            outcome = await post(server.url)
        assert outcome == Outcome(
            200, reply=WireReply("doc-1", f"text of {server.calls[0].digest[:12]}", 1640995200000)
        )

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 415, 429, 500, 502, 503, 504])
    async def test_an_error_keeps_its_status_and_what_it_says(self, status: int) -> None:
        """The rules decide what it means."""
        async with serve_fake(refuse(status, "Error description")) as server:
            assert await post(server.url) == Outcome(status, detail="Error description")

    @pytest.mark.parametrize(
        ("headers", "retry_after_s"),
        [
            pytest.param(["Retry-After: 3"], 3.0, id="seconds"),
            pytest.param(["Retry-After: 60", "Retry-After-Ms: 250"], 0.25, id="milliseconds"),
            pytest.param(
                ["Date: Sat, 31 Jan 2026 11:00:00 GMT", "Retry-After: Sat, 31 Jan 2026 11:00:42 GMT"],
                42.0,
                id="date-against-the-services-clock",
            ),
            pytest.param(["Retry-After: 3", "Retry-After: 9"], 3.0, id="twice-the-first-counts"),
            pytest.param(["Retry-After: soon\xff"], None, id="garbage"),
        ],
    )
    async def test_the_wait_that_a_service_names_is_read(self, headers: list[str], retry_after_s: float) -> None:
        """In every form, on any error."""
        async with serve_raw(say(response(b'{"statusText":"slow"}', "429 Too Many Requests", *headers))) as server:
            assert await post(server.url) == Outcome(429, detail="slow", retry_after_s=retry_after_s)

    @pytest.mark.parametrize(
        ("body", "detail"),
        [
            pytest.param(b"<html><body>It works!</body></html>", "the reply is not JSON", id="html"),
            pytest.param(OK[:-10], "the reply is not JSON", id="half-json"),
            pytest.param(b"", "the reply is not JSON", id="empty"),
            pytest.param(b"[]", "the reply is not a JSON object", id="no-object"),
            pytest.param(b'{"id":"i","timestamp":1}', "the reply has no text in 'content'", id="no-text"),
            pytest.param(
                json.dumps({"payload": f"?key={KEY}"}).encode(), "the reply has no text in 'content'", id="key"
            ),
            pytest.param(f"{KEY}".encode(), "the reply is not JSON", id="nothing-but-the-key"),
        ],
    )
    async def test_a_200_without_the_documented_body_is_no_reply(self, body: bytes, detail: str) -> None:
        """It has a status, so it may have been billed; its body is never quoted."""
        async with serve_raw(say(response(body))) as server:
            assert await post(server.url) == Outcome(200, detail=detail)

    async def test_an_error_in_html_says_nothing(self) -> None:
        """A gateway's page is not for the log."""
        async with serve_raw(say(response(b"<html>Bad Gateway</html>", "502 Bad Gateway"))) as server:
            assert await post(server.url) == Outcome(502)


class TestSize:
    """A reply is read to 16 MiB, after decompression."""

    async def test_a_text_of_just_16_mib_is_accepted(self) -> None:
        """The bound is far beyond any page and holds exactly."""
        fixed = len(b'{"id":"i","content":"","timestamp":1}')
        body = b'{"id":"i","content":"%b","timestamp":1}' % (b"x" * (REPLY_MAX_BYTES - fixed))
        async with serve_raw(say(response(body))) as server:
            outcome = await post(server.url)
        assert outcome.reply is not None
        assert len(outcome.reply.content) == REPLY_MAX_BYTES - fixed

    async def test_one_byte_more_is_no_reply(self) -> None:
        """It may have been billed, so it has a status."""
        async with serve_raw(say(response(bytes(REPLY_MAX_BYTES + 1)))) as server:
            assert await post(server.url) == Outcome(200, detail=TOO_LONG)

    @pytest.mark.parametrize(
        ("head", "outcome"),
        [
            pytest.param("200 OK\r\n", Outcome(200, detail=TOO_LONG), id="reply"),
            pytest.param(
                "429 No\r\nRetry-After: 3\r\n",
                Outcome(429, detail=TOO_LONG, retry_after_s=3.0),
                id="error-keeps-its-wait",
            ),
        ],
    )
    async def test_an_endless_body_is_cut_off(self, head: str, outcome: Outcome) -> None:
        """The client hangs up."""

        async def pour(_: RawServer, writer: asyncio.StreamWriter) -> None:
            writer.write(f"HTTP/1.1 {head}\r\n".encode())
            while True:
                writer.write(bytes(1 << 16))
                await writer.drain()

        async with serve_raw(pour) as server:
            assert await post(server.url) == outcome
            await asyncio.wait_for(server.gone.wait(), 10)


class TestNotSent:
    """What cannot have been billed."""

    async def test_a_refused_connection(self) -> None:
        """Nobody listens."""
        with bound_socket() as (_, url):
            outcome = await post(url)
        assert outcome.fault is Fault.NOT_SENT
        assert outcome.detail.startswith("cannot connect")

    async def test_a_host_that_does_not_resolve(self) -> None:
        """A name longer than DNS allows needs no network to fail."""
        outcome = await post(f"http://{'.'.join(['a'] * 200)}")
        assert outcome == Outcome(fault=Fault.NOT_SENT, detail="the host name does not resolve")

    async def test_a_server_without_tls(self) -> None:
        """The handshake fails before a byte of the request is sent."""

        async def answer_in_clear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(100)
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(answer_in_clear, "127.0.0.1", 0) as server:
            outcome = await post(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        assert outcome.fault is Fault.NOT_SENT
        assert outcome.detail.startswith("TLS failed")

    async def test_a_connection_that_does_not_come_about_in_time(self) -> None:
        """A host behind a firewall that drops everything: here, a full queue of connections."""
        with bound_socket() as (listener, url):
            listener.listen(0)
            queue = [socket.socket() for _ in range(4)]
            for each in queue:
                each.settimeout(0)
                each.connect_ex(listener.getsockname())
            outcome = await post(url, timeouts=Timeouts(connect_s=0.2))
            for each in queue:
                each.close()
        assert outcome == Outcome(fault=Fault.NOT_SENT, detail="time-out while connecting")


@contextmanager
def bound_socket() -> Iterator[tuple[socket.socket, str]]:
    """Hold a loopback port on which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound, f"http://127.0.0.1:{bound.getsockname()[1]}"


class TestLost:
    """What may have been billed."""

    @pytest.mark.parametrize(
        "raw",
        [
            pytest.param(b"", id="before-the-head"),
            pytest.param(b"HTTP/1.1 200 OK\r\nContent-", id="within-the-head"),
            pytest.param(response(OK)[:-5], id="within-the-body"),
        ],
    )
    @pytest.mark.parametrize(
        "timeouts", [pytest.param(Timeouts(read_s=0.1), id="read"), pytest.param(Timeouts(total_s=0.1), id="total")]
    )
    async def test_a_reply_that_does_not_come_in_time(self, raw: bytes, timeouts: Timeouts) -> None:
        """The service may still be at it, and bill it."""
        async with serve_raw(say(raw, ending="hang")) as server:
            outcome = await post(server.url, timeouts=timeouts)
        assert outcome == Outcome(fault=Fault.LOST, detail="time-out while waiting for the reply")

    @pytest.mark.parametrize("ending", ["close", "abort", "hang"])
    @pytest.mark.parametrize("status", [400, 401, 403, 413, 429, 500])
    async def test_an_error_whose_body_breaks_off_keeps_its_status(self, status: int, ending: str) -> None:
        """A rejected key must not be retried as a lost call, and a 429 keeps its wait."""
        raw = response(b'{"statusText":"no"}', f"{status} No", "Retry-After: 7")[:-3]
        async with serve_raw(say(raw, ending=ending)) as server:
            outcome = await post(server.url, timeouts=Timeouts(read_s=0.1))
        assert outcome == Outcome(status, retry_after_s=7.0)


class TestKey:
    """The key is in the request and nowhere else."""

    @pytest.mark.parametrize(
        ("key", "said", "detail"),
        [
            pytest.param(KEY, f"bad key {KEY}, sorry", "bad key ***, sorry", id="as-it-is"),
            pytest.param(KEY, f"POST /api?key={KEY}&a={KEY}", "POST /api?key=***&a=***", id="twice"),
            pytest.param("a+b/c=d", f"?key={quote('a+b/c=d', safe='')}", "?key=***", id="quoted-for-a-url"),
            pytest.param("a+bé", "?key=a%2Bb%C3%A9", "?key=***", id="quoted-as-we-sent-it"),
            pytest.param(KEY, "x" * 295 + KEY, "x" * 295 + "***", id="where-the-message-is-shortened"),
            pytest.param(KEY, "x" * 299 + KEY, "x" * 299 + "*", id="shortened-within-the-stars"),
        ],
    )
    async def test_it_is_taken_out_of_what_the_service_says(self, key: str, said: str, detail: str) -> None:
        """Services quote the URL in their errors."""
        async with serve_fake(refuse(401, said)) as server:
            assert await post(server.url, key=key) == Outcome(401, detail=detail)

    async def test_a_long_message_is_shortened(self) -> None:
        """A message is one line for a person."""
        async with serve_fake(refuse(500, "x" * 5_000)) as server:
            assert await post(server.url) == Outcome(500, detail="x" * 300)

    async def test_it_is_in_no_repr(self) -> None:
        """Debuggers and tracebacks show reprs."""
        service = Service("http://127.0.0.1:1", KEY, "test")
        async with open_client(service, Timeouts(), connections=1) as client:
            assert repr(client) == "<Client 127.0.0.1>"
            assert KEY not in f"{service!r} {client!r} {service}"

    async def test_it_stays_out_of_the_libraries_logs(self, caplog: pytest.LogCaptureFixture) -> None:
        """Even at the level where they tell everything."""
        caplog.set_level(1)
        async with serve_raw(say(b"garbage\r\n\r\n")) as server:
            await post(server.url)
        assert KEY not in "".join(record.getMessage() for record in caplog.records if record.name != "aiohttp.access")


async def test_many_calls_at_once_get_their_own_replies() -> None:
    """No reply is handed to another page."""
    release = asyncio.Event()

    async def answer_together(call: Call) -> web.StreamResponse:
        if call.number == 8:
            release.set()
        await release.wait()
        return accept(call)

    async with serve_fake(answer_together) as server, open_one(server.url, connections=8) as client:
        recorder = await asyncio.gather(*(client.post(numbered(number)) for number in range(8)))
        digests = {call.filename: call.digest for call in server.calls}
        assert server.most_in_flight == 8
    for number, outcome in enumerate(recorder):
        assert outcome.reply is not None
        assert outcome.reply.content == f"text of {digests[f'{number}.png'][:12]}"


def numbered(number: int) -> bytes:
    """Return a request whose image and name depend on the number."""
    return build_image_body(bytes([number]), "image/png", f"{number}.png")


async def test_a_cancelled_call_closes_its_connection() -> None:
    """A second Ctrl-C leaves nothing behind."""
    arrived = asyncio.Event()

    async def never_end(_: RawServer, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0)

    async with serve_raw(never_end) as server, open_one(server.url) as client:
        call = asyncio.create_task(client.post(BODY))
        await arrived.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(server.gone.wait(), 10)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://llmocr.com", "https://llmocr.com"),
        ("https://llmocr.com/", "https://llmocr.com"),
        ("http://127.0.0.1:8080/proxy/", "http://127.0.0.1:8080/proxy"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("https://例子.测试", "https://例子.测试"),
    ],
)
def test_a_base_url_is_taken(url: str, expected: str) -> None:
    """Without the slash at its end."""
    assert check_base_url(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "llmocr.com",
        "ftp://llmocr.com",
        "file:///etc/passwd",
        "https://",
        "https:///api",
        "https://llmocr.com?key=sk-a-secret-key",
        "https://llmocr.com/#a",
        "https://user:sk-a-secret-key@llmocr.com",
        "https://user@llmocr.com",
        "http://[::1",
        "http://llmocr.com:99999",
        "http://a..b",
        f"http://{'a' * 64}.com",
    ],
)
def test_what_is_no_base_url_is_a_usage_error_that_quotes_nothing(url: str) -> None:
    """It may hold a key or a password."""
    with pytest.raises(UsageError, match="not a base URL") as caught:
        check_base_url(url)
    assert "secret" not in str(caught.value)
