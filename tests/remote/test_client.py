"""The HTTP client: the request it sends and the replies it accepts; the key is in the request and nowhere else."""

import asyncio
import json
from functools import partial
from urllib.parse import quote

import pytest
from aiohttp import web

from pipeline.errors import UsageError
from pipeline.remote.client import open_client
from pipeline.remote.endpoint import check_base_url
from pipeline.remote.outcome import Fault, Hint, Outcome
from pipeline.remote.timeouts import Timeouts
from pipeline.service import Service
from pipeline.wire import REPLY_MAX_BYTES, BodyKind, WireReply, build_image_body
from tests.clients import BODY, connect, post
from tests.fakes import Call, accept, answer_error, serve_fake
from tests.faults.breakage import pour
from tests.faults.raw_server import Exchange, response, serve_act, serve_bytes
from tests.runs import KEY

OK = b'{"id":"doc-1","content":"text","timestamp":1}'
ACCEPTED = Outcome(200, reply=WireReply("doc-1", "text", 1))
TOO_LONG = f"a reply of more than {REPLY_MAX_BYTES} bytes"


def error(status: int, detail: str, *, retry_after_s: float | None = None) -> Outcome:
    """Return the outcome of an error with the API's JSON."""
    return Outcome(status, detail=detail, retry_after_s=retry_after_s, body=BodyKind.API)


class TestRequest:
    async def test_a_call_is_the_documented_request(self) -> None:
        async with serve_bytes(response(OK)) as server:
            assert await post(server.url) == ACCEPTED
        [exchange] = server.exchanges
        lines = exchange.head.decode().split("\r\n")
        assert lines[0] == f"POST /api/text-recognition?key={KEY} HTTP/1.1"
        assert {"Content-Type: application/json", f"Content-Length: {len(BODY)}", "User-Agent: pagemill"} <= set(lines)
        assert exchange.body == BODY

    @pytest.mark.parametrize("key", ["a+b/c=d", "a&b=c", "100%", "%20", "a?b#c", "schlüssel", "密钥", "a;b"])
    async def test_any_key_arrives_unchanged(self, key: str) -> None:
        async with serve_fake() as server:
            assert (await post(server.url, key=key)).status == 200
        assert [call.key for call in server.calls] == [key]

    async def test_without_a_key_there_is_no_query(self) -> None:
        async with serve_bytes(response(OK)) as server:
            assert await post(server.url, key=None) == ACCEPTED
        assert server.exchanges[0].head.startswith(b"POST /api/text-recognition HTTP/1.1\r\n")

    @pytest.mark.parametrize("base", ["", "/", "/proxy", "/proxy/"])
    async def test_the_path_is_added_to_the_base_url(self, base: str) -> None:
        async with serve_bytes(response(OK)) as server:
            await post(server.url + base, key=None)
        expected = f"POST {base.rstrip('/')}/api/text-recognition HTTP/1.1\r\n".encode()
        assert server.exchanges[0].head.startswith(expected)

    async def test_the_embedded_engine_is_asked_for_the_quality_too(self) -> None:
        """Its calls cost nothing, and a metered text must be the one that was asked for before."""
        async with (
            serve_bytes(response(OK)) as server,
            open_client(Service(server.url, KEY, "embedded"), Timeouts(), connections=1) as client,
        ):
            assert await client.post(BODY) == ACCEPTED
        assert server.exchanges[0].head.startswith(f"POST /api/advanced-recognition?key={KEY} HTTP/1.1\r\n".encode())

    async def test_two_calls_share_one_connection(self) -> None:
        async with serve_bytes(response(OK), ending="stay") as server, connect(server.url) as client:
            assert [await client.post(BODY), await client.post(BODY)] == [ACCEPTED, ACCEPTED]
        assert (len(server.exchanges), server.connections) == (2, 1)

    async def test_a_lost_call_is_not_repeated_by_the_library(self) -> None:
        """Such a retry would be billed and not counted."""

        async def answer_once(exchange: Exchange) -> None:
            if exchange.number == 1:
                await exchange.send(response(OK))
            else:
                exchange.writer.transport.abort()

        async with serve_act(answer_once) as server, connect(server.url) as client:
            assert await client.post(BODY) == ACCEPTED
            assert (await client.post(BODY)).fault is Fault.LOST
        assert len(server.exchanges) == 2

    async def test_no_cookie_is_kept(self) -> None:
        async with serve_bytes(response(OK, "200 OK", "Set-Cookie: a=b"), ending="stay") as server:
            by_name = server.url.replace("127.0.0.1", "localhost")  # aiohttp never keeps cookies of IP addresses
            async with connect(by_name) as client:
                assert [await client.post(BODY), await client.post(BODY)] == [ACCEPTED, ACCEPTED]
        assert b"\r\nCookie" not in server.exchanges[1].head


class TestReplies:
    async def test_a_documented_reply_is_accepted(self) -> None:
        """Id, text and timestamp are kept; `payload`, which echoes the key, is not."""
        async with serve_fake() as server:
            outcome = await post(server.url)
        assert outcome == Outcome(
            200, reply=WireReply("doc-1", f"text of {server.calls[0].digest[:12]}", 1640995200000)
        )

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 415, 429, 500, 502, 503, 504])
    async def test_an_error_keeps_its_status_and_status_text(self, status: int) -> None:
        async with serve_fake(answer_error(status, "Error description")) as server:
            assert await post(server.url) == error(status, "Error description")

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
    async def test_the_retry_after_header_is_read(self, headers: list[str], retry_after_s: float) -> None:
        async with serve_bytes(response(b'{"statusText":"slow"}', "429 Too Many Requests", *headers)) as server:
            assert await post(server.url) == error(429, "slow", retry_after_s=retry_after_s)

    @pytest.mark.parametrize(
        ("body", "detail", "kind"),
        [
            pytest.param(OK[:-10], "the reply is not JSON", BodyKind.OTHER, id="half-json"),
            pytest.param(b"", "the reply is not JSON", BodyKind.OTHER, id="empty"),
            pytest.param(b"[]", "the reply is not a JSON object", BodyKind.JSON, id="no-object"),
            pytest.param(b'{"id":"i"}', "the reply has no text in 'content'", BodyKind.JSON, id="no-text"),
            pytest.param(
                json.dumps({"payload": f"?key={KEY}"}).encode(),
                "the reply has no text in 'content'",
                BodyKind.JSON,
                id="key",
            ),
            pytest.param(f"{KEY}".encode(), "the reply is not JSON", BodyKind.OTHER, id="nothing-but-the-key"),
            pytest.param(
                b"<html><body>It works!</body></html>",
                "an HTML page instead of the API's JSON",
                BodyKind.PAGE,
                id="html",
            ),
        ],
    )
    async def test_a_200_without_the_documented_body_is_no_reply(
        self, body: bytes, detail: str, kind: BodyKind
    ) -> None:
        """The outcome keeps the status, never quotes the body, and keeps the bytes of a paid reply without the key."""
        async with serve_bytes(response(body)) as server:
            outcome = await post(server.url)
        assert outcome == Outcome(200, detail=detail, body=kind)
        kept = None if kind is BodyKind.PAGE or not body else body.replace(KEY.encode(), b"***")
        assert outcome.kept == kept

    async def test_a_reply_is_decoded_by_its_charset(self) -> None:
        body = '{"content":"收据"}'.encode("gb18030")
        raw = b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=GB18030\r\nContent-Length: %d\r\n\r\n%b"
        async with serve_bytes(raw % (len(body), body)) as server:
            assert await post(server.url) == Outcome(200, reply=WireReply(None, "收据", None))

    async def test_what_has_arrived_of_a_reply_that_breaks_off_is_kept(self) -> None:
        """It was paid for; half a key at its end goes, too."""
        body = b'{"content":"half a text' + KEY[:5].encode()
        async with serve_bytes(response(body + bytes(100))[:-100]) as server:
            outcome = await post(server.url)
        assert outcome.fault is Fault.LOST
        assert outcome.kept == b'{"content":"half a text***'

    async def test_a_redirect_is_not_followed_and_its_host_is_named(self) -> None:
        raw = response(b"", "302 Found", f"Location: https://other.example/login?back=key={KEY}")
        async with serve_bytes(raw) as server:
            assert await post(server.url) == Outcome(
                302, detail="redirects to https://other.example", body=BodyKind.JSON
            )

    async def test_the_html_of_a_gateways_error_page_is_not_quoted(self) -> None:
        async with serve_bytes(response(b"<html>Bad Gateway</html>", "502 Bad Gateway")) as server:
            assert await post(server.url) == Outcome(502, body=BodyKind.PAGE, hint=Hint.OUTAGE)


class TestSize:
    async def test_a_reply_of_exactly_16_mib_is_accepted(self) -> None:
        fixed = len(b'{"id":"i","content":"","timestamp":1}')
        body = b'{"id":"i","content":"%b","timestamp":1}' % (b"x" * (REPLY_MAX_BYTES - fixed))
        async with serve_bytes(response(body)) as server:
            outcome = await post(server.url)
        assert outcome.reply is not None
        assert len(outcome.reply.content) == REPLY_MAX_BYTES - fixed

    async def test_one_byte_more_is_no_reply(self) -> None:
        async with serve_bytes(response(bytes(REPLY_MAX_BYTES + 1))) as server:
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
    async def test_the_client_closes_the_connection_of_an_endless_body(self, head: str, outcome: Outcome) -> None:
        endless = partial(pour, f"HTTP/1.1 {head}\r\n".encode(), bytes(1 << 16))
        async with serve_act(endless) as server:
            assert await post(server.url) == outcome
            await asyncio.wait_for(server.client_gone.wait(), 10)


class TestKey:
    @pytest.mark.parametrize(
        ("key", "status_text", "detail"),
        [
            pytest.param(KEY, f"bad key {KEY}, sorry", "bad key ***, sorry", id="plain"),
            pytest.param(KEY, f"POST /api?key={KEY}&a={KEY}", "POST /api?key=***&a=***", id="twice"),
            pytest.param("a+b/c=d", f"?key={quote('a+b/c=d', safe='')}", "?key=***", id="quoted-for-a-url"),
            pytest.param("a+bé", "?key=a%2Bb%C3%A9", "?key=***", id="quoted-as-we-sent-it"),
            pytest.param(KEY, "x" * 295 + KEY, "x" * 295 + "***", id="where-the-message-is-shortened"),
            pytest.param(KEY, "x" * 299 + KEY, "x" * 299 + "*", id="shortened-within-the-stars"),
        ],
    )
    async def test_the_key_is_removed_from_the_services_message(self, key: str, status_text: str, detail: str) -> None:
        """Services quote the request's URL in their errors."""
        async with serve_fake(answer_error(401, status_text)) as server:
            assert await post(server.url, key=key) == error(401, detail)

    async def test_a_long_message_is_shortened(self) -> None:
        async with serve_fake(answer_error(500, "x" * 5_000)) as server:
            assert await post(server.url) == error(500, "x" * 300)

    async def test_the_key_is_in_no_repr(self) -> None:
        service = Service("http://127.0.0.1:1", KEY, "test")
        async with connect(service.base_url) as client:
            assert repr(client) == "<Client 127.0.0.1>"
            assert KEY not in f"{service!r} {client!r} {service}"

    async def test_the_key_is_in_no_log_of_a_library(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(1)
        async with serve_bytes(b"garbage\r\n\r\n") as server:
            await post(server.url)
        assert KEY not in "".join(record.getMessage() for record in caplog.records if record.name != "aiohttp.access")


async def test_many_calls_at_once_get_their_own_replies() -> None:
    release = asyncio.Event()

    async def answer_together(call: Call) -> web.StreamResponse:
        if call.number == 8:
            release.set()
        await release.wait()
        return accept(call)

    async with serve_fake(answer_together) as server, connect(server.url, connections=8) as client:
        outcomes = await asyncio.gather(*(client.post(numbered(number)) for number in range(8)))
        digests = {call.filename: call.digest for call in server.calls}
        assert server.most_in_flight == 8
    for number, outcome in enumerate(outcomes):
        assert outcome.reply is not None
        assert outcome.reply.content == f"text of {digests[f'{number}.png'][:12]}"


def numbered(number: int) -> bytes:
    """Return a request whose image and name depend on the number."""
    return build_image_body(bytes([number]), "image/png", f"{number}.png")


async def test_a_cancelled_call_closes_its_connection() -> None:
    arrived = asyncio.Event()

    async def never_end(exchange: Exchange) -> None:
        arrived.set()
        await pour(b"HTTP/1.1 200 OK\r\n\r\n", b" ", exchange)

    async with serve_act(never_end) as server, connect(server.url) as client:
        call = asyncio.create_task(client.post(BODY))
        await arrived.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(server.client_gone.wait(), 10)


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
def test_a_base_url_loses_its_trailing_slash(url: str, expected: str) -> None:
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
def test_an_invalid_base_url_is_a_usage_error_that_does_not_quote_it(url: str) -> None:
    """The URL may contain a key or a password."""
    with pytest.raises(UsageError, match="not a base URL") as caught:
        check_base_url(url)
    assert "secret" not in str(caught.value)
