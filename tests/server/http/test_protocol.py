"""What is no HTTP, or asks for what no handler knows: sent as bytes, answered as the contract has it."""

import asyncio
import logging

import orjson
import pytest

from pipeline.server.api.app import create_app
from pipeline.server.http.answers import HEADERS
from tests.server.serving import Answer, ScriptedRecogniser, port_of, request_body, serving

POST = b"POST /api/text-recognition HTTP/1.1\r\nHost: localhost\r\n"
GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


async def exchange(sent: bytes, after_continue: bytes = b"") -> list[Answer]:
    """Send bytes to the application; return all answers that come until it hangs up.

    Args:
        sent: At once.
        after_continue: Sent when the server has said that it waits for it.
    """
    async with serving(create_app(ScriptedRecogniser()), linger_s=0.1, headers_deadline_s=0.5) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(url))
        writer.write(sent)
        try:
            async with asyncio.timeout(20):
                if after_continue:
                    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
                    writer.write(after_continue)
                received = await reader.read()
        finally:
            writer.close()
    return parse_answers(received)


def parse_answers(received: bytes) -> list[Answer]:
    """Return the answers in what came over a connection."""
    answers = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        line, *fields = head.decode("ascii").split("\r\n")
        headers = dict(field.split(": ", 1) for field in fields)
        length = int(headers.get("Content-Length", "0"))
        answers.append(Answer(int(line.split()[1]), headers, rest[:length]))
        received = rest[length:]
    return answers


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", id="tls"),
        pytest.param(b"hello\r\n\r\n", id="a-word"),
        pytest.param(b"GET /a b HTTP/1.1\r\n\r\n", id="space-in-the-path"),
        pytest.param(b"GET / HTTP/9.x\r\n\r\n", id="version"),
        pytest.param(b"G\xc4T / HTTP/1.1\r\n\r\n", id="method"),
        pytest.param(b"GET http://[::1 HTTP/1.1\r\n\r\n", id="url"),
        pytest.param(GET + b"no colon\r\n\r\n", id="header-without-colon"),
        pytest.param(GET + b"a b: c\r\n\r\n", id="header-with-a-space-in-its-name"),
        pytest.param(GET + b"X: \x00\r\n\r\n", id="header-with-a-zero"),
        pytest.param(GET + b"Host: b\r\n\r\n", id="two-hosts"),
        pytest.param(POST + b"Content-Length: -1\r\n\r\n", id="negative-length"),
        pytest.param(POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", id="two-lengths"),
        pytest.param(POST + b"Content-Length: 5\r\n" + CHUNKED, id="length-and-chunks"),
        pytest.param(POST + b"Transfer-Encoding: rot13\r\n\r\n", id="unknown-transfer-encoding"),
        pytest.param(POST + CHUNKED + b"xyz\r\n", id="chunk-without-size"),
        pytest.param(POST + CHUNKED + b"2\r\nabc\r\n", id="chunk-longer-than-it-says"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="http-2"),
    ],
)
async def test_what_is_no_http_is_told_in_json(sent: bytes) -> None:
    """The last answer of the connection is 400, with the body and the headers that every answer has."""
    *_, answer = await exchange(sent)
    assert answer.status == 400
    assert orjson.loads(answer.body).keys() == {"statusText"}
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert answer.headers["Server"] == "pagemill"


async def test_a_chunk_that_breaks_off_the_body_is_told_once() -> None:
    """The request was under way already; the connection ends behind the answer."""
    (answer,) = await exchange(POST + b"Expect: 100-continue\r\n" + CHUNKED, b"2\r\n{}\r\nxyz\r\n")
    assert (answer.status, answer.reply) == (400, {"statusText": "request body cannot be decoded"})


async def test_a_line_that_is_too_long_is_told_as_such() -> None:
    """Of the request or of a header."""
    for sent in (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n", GET + b"X: " + b"x" * 20_000 + b"\r\n\r\n"):
        (answer,) = await exchange(sent)
        assert (answer.status, answer.reply) == (400, {"statusText": "the request line or a header is too long"})


@pytest.mark.parametrize("path", [b"/api/text-recognition", b"/session", b"/elsewhere"])
async def test_an_expectation_that_nobody_knows_is_refused(path: bytes) -> None:
    """By a status that is documented, whatever the path."""
    (answer,) = await exchange(
        b"POST " + path + b" HTTP/1.1\r\nHost: localhost\r\nExpect: tea\r\nContent-Length: 0\r\n\r\n"
    )
    told = {"statusText": "the Expect header asks for what this server does not know"}
    assert (answer.status, answer.reply) == (400, told)


async def test_what_stands_in_a_broken_request_is_not_repeated(caplog: pytest.LogCaptureFixture) -> None:
    """It may be a key: neither the log nor the answer has it."""
    caplog.set_level(logging.DEBUG)
    (answer,) = await exchange(b"POST /api/text-recognition?key=secret HTTP/9.x\r\n\r\n")
    assert b"secret" not in answer.body
    assert "BadStatusLine" in caplog.text
    assert "secret" not in caplog.text


async def test_garbage_behind_a_request_spoils_nothing_of_it() -> None:
    """The request is answered, and then the garbage."""
    body = request_body()
    head = POST + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body)
    first, second = await exchange(head, body + b"garbage\r\n\r\n")
    assert (first.status, first.reply["content"]) == (200, "the text")
    assert second.status == 400
