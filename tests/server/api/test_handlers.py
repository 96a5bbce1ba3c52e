"""What the handlers answer beside the text: positions, earlier answers, and refusals under load."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine.recognition import BusyError
from pipeline.server.access.access import Access
from pipeline.server.access.callers import Caller, UnmeteredCaller, utc_now
from pipeline.server.api.handlers import Documents
from pipeline.server.api.openapi import POSITIONS_PATH
from pipeline.server.http.answers import HEADERS
from pipeline.server.http.load import Load, LoadStatistics
from pipeline.server.http.metrics import access_logger
from pipeline.server.http.requests import RequestError
from pipeline.wire import TEXT_RECOGNITION_PATH
from tests.server.api.test_app import served
from tests.server.api.test_openapi import TWO_LINES
from tests.server.keyed import JSON, keyed_server, make_key, used
from tests.server.serving import IMAGE, KEY, Answer, ScriptedRecogniser, port_of, request_body


class NamedAccess(Access):
    """Takes the key for the caller's name."""

    async def admit(self, request: web.Request) -> Caller:
        """Let everybody in."""
        return UnmeteredCaller(request.query["key"], utc_now, self._unmetered_calls)


@pytest.fixture
def access_lines() -> Iterator[list[str]]:
    """The access log's lines."""
    lines: list[str] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    handler, level = Keeper(), access_logger.level
    access_logger.addHandler(handler)
    access_logger.setLevel(logging.INFO)
    yield lines
    access_logger.removeHandler(handler)
    access_logger.setLevel(level)


async def test_positions_are_told_line_by_line() -> None:
    """In the order of reading, to a tenth of a pixel; the content is the lines' texts."""
    async with served(ScriptedRecogniser(TWO_LINES)) as (url, call):
        answer = await call(request_body(), f"{POSITIONS_PATH}?key=anything")
    assert answer.status == 200
    first, second = answer.reply["ocrResult"]["words_info"]
    assert first == {
        "text": "第一行",
        "confidence": 0.98,
        "location": [10, 20, 90, 20, 90, 40, 10, 40],
        "rotate_rect": [50, 30, 80, 20, 0],
    }
    assert second["rotate_rect"] == [10, 60, 0, 0, 0]
    rest = {name: value for name, value in answer.reply.items() if name not in {"id", "ocrResult", "timestamp"}}
    assert rest == {
        "filename": "scan 1.png",
        "content": "第一行\nsecond",
        "format": "json",
        "payload": f"{url}/api/advanced-recognition?key=***",
    }


async def test_a_page_without_text_has_no_lines() -> None:
    """Empty, not absent."""
    async with served(ScriptedRecogniser("")) as (_, call):
        reply = (await call(request_body(), POSITIONS_PATH)).reply
    assert (reply["content"], reply["ocrResult"]) == ("", {"words_info": []})


@pytest.mark.parametrize("path", [TEXT_RECOGNITION_PATH, POSITIONS_PATH])
async def test_an_answer_is_told_again_to_the_caller_who_got_it(path: str) -> None:
    """Byte for byte; to anybody else it does not exist."""
    async with served(ScriptedRecogniser(TWO_LINES), access=NamedAccess()) as (_, call):
        answer = await call(request_body(), f"{path}?key=anna")
        place = f"/api/documents/{answer.reply['id']}"
        again = await call(b"", f"{place}?key=anna", "GET")
        other = await call(b"", f"{place}?key=ben", "GET")
        unknown = await call(b"", "/api/documents/1?key=anna", "GET")
    assert (again.status, again.body) == (200, answer.body)
    assert (other.status, other.reply) == (unknown.status, unknown.reply)
    assert other.reply == {"statusText": "Not Found: no document with this id, or no longer"}


async def test_a_document_needs_a_key_where_calls_do() -> None:
    """401 without one."""
    async with served(ScriptedRecogniser(), key=KEY) as (_, call):
        assert (await call(b"", "/api/documents/1", "GET")).status == 401


async def test_a_full_queue_is_429_with_the_time_to_come_back() -> None:
    """The engine never sees the request; those before it are answered."""
    recogniser = ScriptedRecogniser(may_answer=asyncio.Event())
    async with served(recogniser, load=Load(1)) as (_, call):
        first = asyncio.ensure_future(call(request_body()))
        await recogniser.began.wait()
        refused = await call(request_body())
        recogniser.may_answer.set()
        assert (await first).status == 200
        assert (await call(request_body())).status == 200
        figures = await call(b"", "/metrics", "GET")
    assert (refused.status, refused.reply) == (429, {"statusText": "Too Many Requests: the server is busy"})
    assert int(refused.headers["Retry-After"]) > 0
    assert b"pagemill_calls_shed_total 1.0" in figures.body
    assert len(recogniser.seen) == 2


async def test_bodies_beyond_the_memory_for_all_are_429() -> None:
    """What was read of it is let go."""
    load = Load(bodies_max_bytes=1000)
    async with served(ScriptedRecogniser(), load=load) as (_, call):
        answer = await call(request_body(bytes(1000)))
        assert (await call(request_body())).status == 200
    assert answer.status == 429
    assert load.statistics().body_bytes == 0


async def test_a_refusal_leaves_nothing_for_the_garbage_collector() -> None:
    """An error in a cycle keeps its frames, and with them the body, long after the answer."""
    gc.collect()
    before = _error_responses()
    gc.disable()
    try:
        async with served(ScriptedRecogniser(), load=Load(bodies_max_bytes=1000)) as (_, call):
            assert (await call(request_body(bytes(1000)))).status == 429
            assert (await call(request_body(b"no image"))).status == 400
        left = [refusal for refusal in _error_responses() if not any(refusal is other for other in before)]
    finally:
        gc.enable()
    assert left == []


def _error_responses() -> list[RequestError]:
    """Return all that are in memory: other tests may have kept some."""
    return [thing for thing in gc.get_objects() if isinstance(thing, RequestError)]


async def test_an_engine_without_time_is_429() -> None:
    """Load is no failure."""
    async with served(ScriptedRecogniser(BusyError("no worker"))) as (_, call):
        answer = await call(request_body())
    assert (answer.status, "Retry-After" in answer.headers) == (429, True)


async def test_a_caller_who_leaves_gives_the_place_back(access_lines: list[str]) -> None:
    """And the log says that nobody waited for the answer."""
    recogniser, load = ScriptedRecogniser(may_answer=asyncio.Event()), Load(1)
    async with served(recogniser, load=load) as (url, _):
        async with raw_request(url, "Host: localhost"):
            await recogniser.began.wait()
            assert load.statistics().places == 1
        await recogniser.ended.wait()
    assert load.statistics() == LoadStatistics(places=0, body_bytes=0, shed=0)
    assert " anyone POST /api/text-recognition 499 0 B " in access_lines[0]


@asynccontextmanager
async def raw_request(url: str, head: str) -> AsyncIterator[asyncio.StreamReader]:
    """Send a page under these headers, as bytes; yield what the answer is read from, then hang up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(url))
    body = request_body()
    request = f"POST {TEXT_RECOGNITION_PATH} HTTP/1.1\r\n{head}\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(request.encode("latin-1") + body)
    try:
        yield reader
    finally:
        writer.close()
        await writer.wait_closed()


async def test_a_line_a_request_without_secrets(access_lines: list[str]) -> None:
    """Who, what, how it ended; a key in the query, or in the path by a slip, is not in it."""
    async with served(ScriptedRecogniser(), key=KEY) as (_, call):
        answer = await call(request_body(), f"{TEXT_RECOGNITION_PATH}?key={KEY}")
        await call(b"", f"/api/text-recognition&key={KEY}")
        await call(b"", "/api/documents/secret-id", "GET")
    assert len(access_lines) == 3
    begin = f"127.0.0.1 operator POST /api/text-recognition 200 {len(answer.body)} B "
    assert access_lines[0].startswith(begin)
    assert access_lines[1].startswith("127.0.0.1 - POST other 404 ")
    assert access_lines[2].startswith("127.0.0.1 - GET /api/documents/{id} 401 ")
    assert not [line for line in access_lines if "secret" in line]


async def test_every_answer_has_the_headers_that_keep_browsers_careful() -> None:
    """Whether it is a success, a refusal or a failure."""
    async with served(ScriptedRecogniser(ZeroDivisionError())) as (_, call):
        answers: list[Answer] = [
            await call(b"", "/healthz", "GET"),
            await call(b"", "/metrics", "GET"),
            await call(b"", "/elsewhere", "GET"),
            await call(b"", TEXT_RECOGNITION_PATH, "PUT"),
            await call(b"{"),
            await call(request_body()),
        ]
    assert [answer.status for answer in answers] == [200, 200, 404, 405, 400, 500]
    for answer in answers:
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
        assert answer.headers["Server"] == "pagemill"


async def test_the_metrics_are_in_prometheus_text_format() -> None:
    """Routes are labels, paths are not."""
    async with served(ScriptedRecogniser()) as (_, call):
        await call(b"", "/api/documents/1", "GET")
        answer = await call(b"", "/metrics", "GET")
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    assert b'pagemill_requests_total{route="/api/documents/{id}",status="404"} 1.0' in answer.body


@pytest.mark.parametrize(
    ("head", "status"),
    [
        pytest.param("Host: \xff", 403, id="host-that-is-no-text"),
        pytest.param("Host: localhost\r\nExpect: something", 400, id="expectation-nobody-knows"),
        pytest.param("Host: localhost\r\nCookie: \xff=;;==\x01", 400, id="control-character"),
        pytest.param("Host: localhost\r\nContent-Encoding: br", 400, id="encoding-of-the-body-that-it-has-not"),
    ],
)
async def test_odd_headers_are_no_failure(head: str, status: int) -> None:
    """Never a 5xx, and no status that is not documented, for a client's mistake."""
    async with served(ScriptedRecogniser()) as (url, _), raw_request(url, head) as reader, asyncio.timeout(10):
        assert int((await reader.readline()).split()[1]) == status


async def test_who_has_no_call_left_does_not_send_the_server_about(tmp_path: Path) -> None:
    """The quota is asked before the image is; an image that cannot be had costs nothing."""
    url, fetched = "https://images.example/1.png", list[str]()

    async def fetch(url: str) -> bytes:
        fetched.append(url)
        if len(fetched) == 1:
            raise RequestError("document.image_url cannot be fetched")
        return IMAGE

    secret, key = make_key(tmp_path / "keys.sqlite3", quota=1)
    body = request_body(document={"type": "image_url", "image_url": url})
    async with keyed_server(tmp_path / "keys.sqlite3", fetch=fetch) as caller:
        statuses = [
            (await caller.call("POST", f"{TEXT_RECOGNITION_PATH}?key={secret}", body, JSON)).status for _ in range(3)
        ]
    assert statuses == [400, 200, 403]
    assert fetched == [url, url]
    assert used(tmp_path / "keys.sqlite3", key) == 1


def test_an_answer_is_found_by_its_caller_alone() -> None:
    """The id is no secret, the text is."""
    documents = Documents()
    documents.keep("anna", "1", b"text")
    assert documents.find("anna", "1") == b"text"
    assert documents.find("ben", "1") is None
    assert documents.find("anna", "2") is None


def test_the_oldest_makes_room() -> None:
    """By number, whoever's it is."""
    documents = Documents(at_most=2)
    for i in range(3):
        documents.keep(f"caller {i}", str(i), b"text")
    assert [documents.find(f"caller {i}", str(i)) for i in range(3)] == [None, b"text", b"text"]
    assert repr(documents) == "<Documents 2, 8 bytes>"


def test_an_answer_larger_than_all_room_is_not_kept() -> None:
    """And the store goes on with nothing in it."""
    documents = Documents(max_bytes=4)
    documents.keep("anna", "1", b"text!")
    assert len(documents) == 0
    documents.keep("anna", "2", b"text")
    assert documents.find("anna", "2") == b"text"


@given(st.lists(st.binary(max_size=30), max_size=30), st.integers(1, 10), st.integers(1, 100))
def test_the_room_is_never_exceeded(answers: list[bytes], at_most: int, max_bytes: int) -> None:
    """The kept ones are the latest of those that fit, and their sizes add up."""
    documents = Documents(at_most, max_bytes)
    for i, answer in enumerate(answers):
        documents.keep("anna", str(i), answer)
        kept = [documents.find("anna", str(j)) for j in range(i + 1)]
        found = [one for one in kept if one is not None]
        assert len(found) == len(documents) <= at_most
        assert sum(map(len, found)) <= max_bytes
        fitting = [one for one, answer in zip(kept, answers, strict=False) if len(answer) <= max_bytes]
        assert fitting[len(fitting) - len(found) :] == found
