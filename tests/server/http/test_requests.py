"""Requests by the contract."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from pipeline.server.http.answers import answer_errors
from pipeline.server.http.requests import (
    BODY_MAX_BYTES,
    RequestError,
    is_key_right,
    parse_image_url,
    parse_request,
    read_body,
)
from pipeline.wire import build_image_body
from tests.server.serving import port_of, serving


def body(**changes: object) -> bytes:
    """Return a request with parts of it replaced."""
    request: dict[str, object] = {"document": {"type": "image_url", "image_url": "QUJD"}, "filename": "a.png"}
    return json.dumps(request | changes).encode()


@given(st.binary(min_size=1, max_size=200), st.text(max_size=20))
def test_what_the_client_builds_is_understood(image: bytes, filename: str) -> None:
    """The shared wire code of the client and this parser agree on every byte."""
    request = parse_request(build_image_body(image, "image/png", filename))
    assert request.image == image
    assert request.filename == filename.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@pytest.mark.parametrize(
    "image_url",
    [
        pytest.param("data:image/jpeg;base64,QUJD", id="data-url"),
        pytest.param("DATA:image/jpeg;charset=binary;BASE64,QUJD", id="data-url-in-capitals"),
        pytest.param("QUJD", id="raw-base64"),
        pytest.param("QU\nJD\r\n", id="base64-in-lines"),
    ],
)
def test_an_image_is_taken_as_data_url_or_base64(image_url: str) -> None:
    """The contract's part 2 takes both."""
    assert parse_image_url(image_url) == b"ABC"


@pytest.mark.parametrize(
    ("image_url", "message"),
    [
        pytest.param("file:///etc/passwd", "neither a data URL nor base64", id="file"),
        pytest.param("data:image/png,plain", "must be base64", id="data-url-without-base64"),
        pytest.param("data:image/png;base64", "must be base64", id="data-url-without-data"),
        pytest.param("data:image/png;base64,", "is empty", id="empty-data-url"),
        pytest.param("  ", "is empty", id="empty"),
        pytest.param("QUJ", "neither a data URL nor base64", id="padding-missing"),
        pytest.param("QU*D", "neither a data URL nor base64", id="alphabet"),
        pytest.param("图像", "neither a data URL nor base64", id="not-ascii"),
    ],
)
def test_anything_else_is_refused_with_a_reason(image_url: str, message: str) -> None:
    """The message says which rule the value breaks."""
    with pytest.raises(RequestError, match=message) as caught:
        parse_image_url(image_url)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        pytest.param(b"", "not valid JSON", id="empty"),
        pytest.param(b"{", "not valid JSON", id="torn"),
        pytest.param(b'{"document":"\xff"}', "invalid request|not valid JSON", id="not-utf-8"),
        pytest.param(b'{"x":' + b"[" * 100_000, "not valid JSON", id="too-deep"),
        pytest.param(b"[]", "Expected `object`", id="an-array"),
        pytest.param(b"{}", "missing required field `document`", id="no-document"),
        pytest.param(body(document="x"), r"\$\.document", id="document-is-text"),
        pytest.param(body(document={"type": "image_url"}), "missing required field `image_url`", id="no-image-url"),
        pytest.param(body(document={"image_url": "QUJD"}), "missing required field `type`", id="no-type"),
        pytest.param(body(document={"type": "file", "image_url": "QUJD"}), 'must be "image_url"', id="other-type"),
        pytest.param(body(document={"type": "image_url", "image_url": 1}), r"image_url", id="image-url-is-a-number"),
        pytest.param(body(filename=7), r"\$\.filename", id="filename-is-a-number"),
    ],
)
def test_a_body_that_is_not_the_documented_object_is_refused(sent: bytes, message: str) -> None:
    """The message names the field."""
    with pytest.raises(RequestError, match=message):
        parse_request(sent)


@pytest.mark.parametrize("sent", [body(filename=None), body(extra=[1, {"a": None}]), body()])
def test_the_name_is_optional_and_unknown_fields_are_ignored(sent: bytes) -> None:
    """Clients that send more than the documented fields are served."""
    assert parse_request(sent).image == base64.b64decode("QUJD")


@pytest.mark.parametrize("url", ["https://example.org/a.png", "HTTP://example.org/a.png", " http://[::1]/a.png\n"])
def test_an_image_behind_a_url_is_not_in_the_request(url: str) -> None:
    """Where it is gets handed on; whether it is fetched, others decide."""
    request = parse_request(body(document={"type": "image_url", "image_url": url}))
    assert (request.image, request.url) == (b"", url.strip())


def test_a_request_without_a_name_has_the_empty_name() -> None:
    """The reply's `filename` is text in the contract, so it is never null."""
    assert parse_request(body(filename=None)).filename == ""


@pytest.mark.parametrize(
    ("given", "expected", "right"),
    [
        ("k", "k", True),
        ("K", "k", False),
        ("", "k", False),
        ("ключ", "k", False),
        ("\udcff", "k", False),
    ],
)
def test_only_the_right_key_is_let_in(given: str, expected: str, right: bool) -> None:  # noqa: FBT001
    """Whatever characters a guess has."""
    assert is_key_right(given, expected) is right


Send = Callable[[bytes], Awaitable[bytes]]


@asynccontextmanager
async def reading(hold: Callable[[int], None], *, deadline_s: float = 60.0) -> AsyncIterator[Send]:
    """Serve a handler that answers with the body's length; yield what sends bytes and returns status and answer."""

    async def measure(request: web.Request) -> web.Response:
        return web.Response(text=str(len(await read_body(request, hold, deadline_s=deadline_s))))

    app = web.Application(middlewares=[answer_errors])
    app.router.add_post("/", measure)

    async def send(sent: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(url))
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\n" + sent)
        async with asyncio.timeout(30):
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].split()[0])
            answer = head.split()[1] + b" " + await reader.readexactly(length)
        writer.close()
        return answer

    async with serving(app, linger_s=0.1) as url:
        yield send


def chunked(*chunks: bytes) -> bytes:
    """Return a body of unknown length."""
    return b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in (*chunks, b""))


async def test_a_body_is_held_as_it_arrives() -> None:
    """Each byte once, whether the length was told or not."""
    held: list[int] = []
    async with reading(held.append) as send:
        assert await send(b"Content-Length: 5\r\n\r\nhello") == b"200 5"
        assert await send(chunked(b"hello", b"world")) == b"200 10"
        assert await send(b"\r\n") == b"200 0"
    assert sum(held) == 15


async def test_a_body_that_says_it_is_too_large_is_not_read() -> None:
    """The answer comes before the first byte of it."""
    held: list[int] = []
    async with reading(held.append) as send:
        answer = await send(b"Content-Length: %d\r\n\r\n" % (BODY_MAX_BYTES + 1))
    assert answer == b'400 {"statusText":"request body is larger than 15 MB"}'
    assert held == []


async def test_a_body_that_becomes_too_large_is_left() -> None:
    """No more of it is held than is allowed."""
    held: list[int] = []
    async with reading(held.append) as send:
        answer = await send(chunked(*[bytes(1024 * 1024)] * 16))
    assert answer == b'400 {"statusText":"request body is larger than 15 MB"}'
    assert sum(held) <= BODY_MAX_BYTES


async def test_a_body_that_does_not_come_is_refused() -> None:
    """A caller who sends a byte now and then holds nothing up."""
    async with reading(lambda _: None, deadline_s=0.2) as send:
        answer = await send(b"Content-Length: 5\r\n\r\nhell")
    assert answer == b'400 {"statusText":"request body did not arrive within 0.2 s"}'


async def test_a_refusal_to_hold_more_is_the_answer() -> None:
    """All requests together hold too much."""

    def refuse(_count: int) -> None:
        raise RequestError("busy", 429, retry_after_s=2)

    async with reading(refuse) as send:
        assert await send(b"Content-Length: 5\r\n\r\nhello") == b'429 {"statusText":"busy"}'


@pytest.mark.parametrize("size", [0, 1, 70_000])
async def test_what_is_read_is_what_was_sent(size: int) -> None:
    """Of any length, in one piece or in many."""
    async with reading(lambda _: None) as send:
        assert await send(b"Content-Length: %d\r\n\r\n" % size + bytes(size)) == b"200 %d" % size
