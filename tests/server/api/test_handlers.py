"""Replies with positions, kept replies, load, the access log and headers."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec
import orjson
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine.quality import judge
from pipeline.engine.recognition import BusyError, Line, Recognition
from pipeline.quality import parse_quality
from pipeline.server.access.authentication import Authenticator
from pipeline.server.access.callers import Caller, UnmeteredCaller, utc_now
from pipeline.server.api.handlers import RecentReplies
from pipeline.server.http.admission import FETCHES, AdmissionControl, AdmissionStatistics
from pipeline.server.http.observability import access_logger
from pipeline.server.http.requests import RequestError
from pipeline.server.http.responses import DEFAULT_HEADERS
from pipeline.server.http.turns import FairTurns
from pipeline.wire import ADVANCED_RECOGNITION_PATH, TEXT_RECOGNITION_PATH
from tests.server import attackers
from tests.server.keyed import JSON, keyed_server, make_key, used
from tests.server.serving import (
    IMAGE,
    KEY,
    TWO_LINES,
    Response,
    ScriptedRecogniser,
    port_of,
    request_body,
    serving_api,
)

STUCK = IMAGE + b"stuck"


class Stuck(ScriptedRecogniser):
    """A pool whose worker goes on when its caller is gone: one image takes until the test says so."""

    def __init__(self, image: bytes) -> None:
        super().__init__()
        self.image = image
        self.may_end = asyncio.Event()
        self.stuck: list[bytes] = []

    async def recognise(self, image: bytes) -> Recognition:
        """Return the text; for the stuck image only when it may end."""
        if image == self.image:
            self.stuck.append(image)
            self.began.set()
            await self.may_end.wait()
        return Recognition("the text")


class KeyAsName(Authenticator):
    """Accepts every key, and uses it as the caller's name."""

    async def admit(self, request: web.Request) -> Caller:
        """Return a caller with the name in the query."""
        return UnmeteredCaller(request.query["key"], utc_now, self._unmetered_calls)


@pytest.fixture
def access_lines() -> Iterator[list[str]]:
    """Return the lines of the access log, appended as they are logged."""
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


async def test_positions_are_those_of_each_line_to_a_tenth_of_a_pixel() -> None:
    async with serving_api(ScriptedRecogniser(TWO_LINES)) as (url, call):
        response = await call(request_body(), f"{ADVANCED_RECOGNITION_PATH}?key=anything")
    assert response.status == 200
    first, second = response.reply["ocrResult"]["words_info"]
    assert first == {
        "text": "第一行",
        "confidence": 0.98,
        "location": [10, 20, 90, 20, 90, 40, 10, 40],
        "rotate_rect": [50, 30, 80, 20, 0],
    }
    assert second["rotate_rect"] == [10, 60, 0, 0, 0]
    assert response.reply["quality"] == orjson.loads(orjson.dumps(judge(TWO_LINES)))
    assert response.reply["warnings"] == []
    others = {"id", "ocrResult", "quality", "warnings", "timestamp"}
    rest = {name: value for name, value in response.reply.items() if name not in others}
    assert rest == {
        "filename": "scan 1.png",
        "content": "第一行\nsecond",
        "format": "json",
        "payload": f"{url}/api/advanced-recognition?key=***",
    }


async def test_a_page_of_which_much_ink_is_unread_is_in_doubt_and_the_reply_says_why() -> None:
    """With the best of confidences: lines that were not found have none."""
    async with serving_api(ScriptedRecogniser(msgspec.structs.replace(TWO_LINES, unread_ink=0.9))) as (_, call):
        reply = (await call(request_body(), ADVANCED_RECOGNITION_PATH)).reply
        assert "quality" not in (await call(request_body())).reply
    assert reply["quality"]["score"] < reply["quality"]["threshold"]
    assert reply["warnings"] == ["much ink is unread: 90 %"]
    assert parse_quality(reply["quality"]) == judge(msgspec.structs.replace(TWO_LINES, unread_ink=0.9))


ROWS = Recognition(
    "Item Price\npaper 3.20\n总计 9.60",
    tuple(
        Line(text, 0.9, ((10.0, 10.0), (90.0, 10.0), (90.0, 20.0), (10.0, 20.0)))
        for text in ("Item", "Price", "paper", "3.20", "总计", "9.60")
    ),
)


async def test_both_endpoints_give_one_text_in_which_the_cells_of_a_row_are_one_line() -> None:
    async with serving_api(ScriptedRecogniser(ROWS)) as (_, call):
        text = (await call(request_body())).reply
        positions = (await call(request_body(), ADVANCED_RECOGNITION_PATH)).reply
    assert positions["content"] == text["content"] == ROWS.text
    assert [word["text"] for word in positions["ocrResult"]["words_info"]] == [line.text for line in ROWS.lines]


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        pytest.param(TEXT_RECOGNITION_PATH, ["id", "filename", "content", "format", "timestamp", "payload"], id="text"),
        pytest.param(
            ADVANCED_RECOGNITION_PATH,
            ["id", "filename", "content", "format", "ocrResult", "quality", "warnings", "timestamp", "payload"],
            id="positions",
        ),
    ],
)
async def test_the_fields_of_a_reply_keep_their_order(path: str, fields: list[str]) -> None:
    async with serving_api(ScriptedRecogniser(TWO_LINES)) as (_, call):
        assert list((await call(request_body(), path)).reply) == fields


async def test_the_reply_for_a_page_without_text_has_an_empty_list_of_lines() -> None:
    async with serving_api(ScriptedRecogniser("")) as (_, call):
        reply = (await call(request_body(), ADVANCED_RECOGNITION_PATH)).reply
    assert (reply["content"], reply["ocrResult"]) == ("", {"words_info": []})


@pytest.mark.parametrize("path", [TEXT_RECOGNITION_PATH, ADVANCED_RECOGNITION_PATH])
async def test_a_reply_is_returned_again_byte_for_byte_to_its_caller_only(path: str) -> None:
    async with serving_api(ScriptedRecogniser(TWO_LINES), authenticator=KeyAsName()) as (_, call):
        response = await call(request_body(), f"{path}?key=anna")
        place = f"/api/documents/{response.reply['id']}"
        again = await call(b"", f"{place}?key=anna", "GET")
        other = await call(b"", f"{place}?key=ben", "GET")
        unknown = await call(b"", "/api/documents/1?key=anna", "GET")
    assert (again.status, again.body) == (200, response.body)
    assert (other.status, other.reply) == (unknown.status, unknown.reply)
    assert other.reply == {"statusText": "Not Found: no document with this id, or no longer"}


async def test_a_kept_reply_needs_a_key_where_calls_do() -> None:
    async with serving_api(ScriptedRecogniser(), key=KEY) as (_, call):
        assert (await call(b"", "/api/documents/1", "GET")).status == 401


async def test_a_full_queue_is_429_with_retry_after() -> None:
    recogniser = ScriptedRecogniser(may_answer=asyncio.Event())
    async with serving_api(recogniser, admission=AdmissionControl(1)) as (_, call):
        first = asyncio.ensure_future(call(request_body()))
        await recogniser.began.wait()
        shed = await call(request_body())
        recogniser.may_answer.set()
        assert (await first).status == 200
        assert (await call(request_body())).status == 200
        figures = await call(b"", "/metrics", "GET")
    assert (shed.status, shed.reply) == (429, {"statusText": "Too Many Requests: the server is busy"})
    assert int(shed.headers["Retry-After"]) > 0
    assert b"pagemill_calls_shed_total 1.0" in figures.body
    assert len(recogniser.seen) == 2


async def test_a_body_beyond_the_limit_for_all_bodies_is_429() -> None:
    admission = AdmissionControl(bodies_max_bytes=1000)
    async with serving_api(ScriptedRecogniser(), admission=admission) as (_, call):
        response = await call(request_body(bytes(1000)))
        assert (await call(request_body())).status == 200
    assert response.status == 429
    assert admission.statistics().body_bytes == 0


async def test_a_key_that_fills_the_memory_gives_way_to_another_and_is_not_charged(tmp_path: Path) -> None:
    """Both bodies have not ended; the memory holds one of them."""
    path = tmp_path / "keys.sqlite3"
    (greedy, greedy_key), (modest, _) = make_key(path), make_key(path)
    admission = AdmissionControl(bodies_max_bytes=1_000_000)
    async with (
        keyed_server(path, admission=admission) as client,
        attackers.connected(port_of(client.url)) as (reader, writer),
    ):
        writer.write(attackers.request_head(greedy, 2_000_000) + b" " * 990_000)
        async with asyncio.timeout(20):
            await attackers.wait_until(lambda: admission.statistics().body_bytes >= 990_000)
            assert (await client.recognise(modest, IMAGE + bytes(20_000))).status == 200
            assert b" 429 " in await reader.readline()
    assert used(path, greedy_key) == 0


async def test_a_page_that_waits_gives_way_to_another_key_s_and_its_call_is_refunded(tmp_path: Path) -> None:
    path = tmp_path / "keys.sqlite3"
    (greedy, greedy_key), (modest, _) = make_key(path), make_key(path)
    recogniser, admission = ScriptedRecogniser(may_answer=asyncio.Event()), AdmissionControl(2)
    turns = FairTurns(1, finishes_jobs=True)
    async with keyed_server(path, recogniser, admission=admission, turns=turns) as client, asyncio.timeout(20):
        calls = [asyncio.create_task(client.recognise(greedy)) for _ in range(2)]
        await attackers.wait_until(lambda: turns.waiting >= 1)
        assert used(path, greedy_key) == 2
        other = asyncio.create_task(client.recognise(modest))
        done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        assert [task.result().status for task in done] == [429]
        assert used(path, greedy_key) == 1
        health = await client.call("GET", "/healthz")
        assert health.reply["queue"] == 1
        recogniser.may_answer.set()
        assert (await other).status == 200
        assert sorted([(await call).status for call in calls]) == [200, 429]


async def test_a_key_that_disconnects_from_pages_that_take_long_never_has_every_worker(tmp_path: Path) -> None:
    path = tmp_path / "keys.sqlite3"
    (greedy, greedy_key), (modest, _) = make_key(path), make_key(path)
    recogniser = Stuck(STUCK)
    turns = FairTurns(2, finishes_jobs=True)
    async with keyed_server(path, recogniser, turns=turns) as client, asyncio.timeout(60):
        assert (await client.recognise(modest)).status == 200
        for _ in range(3):
            call = asyncio.create_task(client.recognise(greedy, STUCK))
            await asyncio.wait({call}, timeout=0.2)
            call.cancel()
            await asyncio.wait({call})
            assert (await client.recognise(modest)).status == 200
        assert len(recogniser.stuck) == 1
        assert used(path, greedy_key) >= 1
        recogniser.may_end.set()


async def test_a_key_whose_urls_hang_gives_way_to_another_key_s_url(tmp_path: Path) -> None:
    path = tmp_path / "keys.sqlite3"
    (greedy, _), (modest, _) = make_key(path), make_key(path)
    begun = asyncio.Semaphore(0)

    async def fetch(url: str) -> bytes:
        if url.endswith("hangs"):
            begun.release()
            await asyncio.Event().wait()
        return IMAGE

    def url_body(name: str) -> bytes:
        return request_body(document={"type": "image_url", "image_url": f"https://images.example/{name}"})

    async with keyed_server(path, fetch=fetch) as client, asyncio.timeout(60):
        send = partial(client.call, "POST", headers=JSON)
        hanging = [
            asyncio.create_task(send(f"{TEXT_RECOGNITION_PATH}?key={greedy}", url_body("hangs")))
            for _ in range(FETCHES)
        ]
        for _ in hanging:
            await begun.acquire()
        assert (await send(f"{TEXT_RECOGNITION_PATH}?key={modest}", url_body("1.png"))).status == 200
        done, waiting = await asyncio.wait(hanging, return_when=asyncio.FIRST_COMPLETED)
        assert [task.result().status for task in done] == [429]
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)


async def test_without_a_key_two_addresses_share_the_memory() -> None:
    admission = AdmissionControl(bodies_max_bytes=1_000_000)
    async with (
        serving_api(ScriptedRecogniser(), admission=admission) as (url, call),
        attackers.connected(port_of(url), "127.0.0.3") as (reader, writer),
        asyncio.timeout(20),
    ):
        writer.write(attackers.request_head("", 2_000_000) + b" " * 990_000)
        await attackers.wait_until(lambda: admission.statistics().body_bytes >= 990_000)
        assert (await call(request_body(IMAGE + bytes(20_000)))).status == 200
        assert b" 429 " in await reader.readline()


async def test_an_error_response_leaves_no_reference_cycle() -> None:
    """A cycle through the exception would keep the request's body in memory until the garbage collector runs."""
    gc.collect()
    before = _request_errors()
    gc.disable()
    try:
        async with serving_api(ScriptedRecogniser(), admission=AdmissionControl(bodies_max_bytes=1000)) as (_, call):
            assert (await call(request_body(bytes(1000)))).status == 429
            assert (await call(request_body(b"no image"))).status == 400
        left = [error for error in _request_errors() if not any(error is other for other in before)]
    finally:
        gc.enable()
    assert left == []


def _request_errors() -> list[RequestError]:
    """Return all RequestErrors in memory, including those of other tests."""
    return [thing for thing in gc.get_objects() if isinstance(thing, RequestError)]


async def test_a_busy_engine_is_429_with_retry_after() -> None:
    async with serving_api(ScriptedRecogniser(BusyError("no worker"))) as (_, call):
        response = await call(request_body())
    assert (response.status, "Retry-After" in response.headers) == (429, True)


async def test_a_caller_who_disconnects_frees_the_slot_and_is_logged_as_499(access_lines: list[str]) -> None:
    recogniser, admission = ScriptedRecogniser(may_answer=asyncio.Event()), AdmissionControl(1)
    async with serving_api(recogniser, admission=admission) as (url, _):
        async with raw_request(url, "Host: localhost"):
            await recogniser.began.wait()
            assert admission.statistics().slots_taken == 1
        await recogniser.ended.wait()
    assert admission.statistics() == AdmissionStatistics(slots_taken=0, body_bytes=0, shed_requests=0)
    assert " anyone POST /api/text-recognition 499 0 B " in access_lines[0]


@asynccontextmanager
async def raw_request(url: str, head: str) -> AsyncIterator[asyncio.StreamReader]:
    """Send an image under these headers; yield the reader of the response, then close the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(url))
    body = request_body()
    request = f"POST {TEXT_RECOGNITION_PATH} HTTP/1.1\r\n{head}\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(request.encode("latin-1") + body)
    try:
        yield reader
    finally:
        writer.close()
        await writer.wait_closed()


async def test_each_request_is_logged_in_one_line_without_secrets(access_lines: list[str]) -> None:
    """Also a key that is in the path, because somebody mistyped `?`, is not logged."""
    async with serving_api(ScriptedRecogniser(), key=KEY) as (_, call):
        response = await call(request_body(), f"{TEXT_RECOGNITION_PATH}?key={KEY}")
        await call(b"", f"/api/text-recognition&key={KEY}")
        await call(b"", "/api/documents/secret-id", "GET")
    assert len(access_lines) == 3
    begin = f"127.0.0.1 operator POST /api/text-recognition 200 {len(response.body)} B "
    assert access_lines[0].startswith(begin)
    assert access_lines[1].startswith("127.0.0.1 - POST other 404 ")
    assert access_lines[2].startswith("127.0.0.1 - GET /api/documents/{id} 401 ")
    assert not [line for line in access_lines if "secret" in line]


async def test_every_response_has_the_default_headers() -> None:
    async with serving_api(ScriptedRecogniser(ZeroDivisionError())) as (_, call):
        responses: list[Response] = [
            await call(b"", "/healthz", "GET"),
            await call(b"", "/metrics", "GET"),
            await call(b"", "/elsewhere", "GET"),
            await call(b"", TEXT_RECOGNITION_PATH, "PUT"),
            await call(b"{"),
            await call(request_body()),
        ]
    assert [response.status for response in responses] == [200, 200, 404, 405, 400, 500]
    for response in responses:
        assert {name: response.headers[name] for name in DEFAULT_HEADERS} == DEFAULT_HEADERS
        assert response.headers["Server"] == "pagemill"


async def test_the_metrics_are_in_prometheus_text_format() -> None:
    """Labels have the route's pattern, not the requested path."""
    async with serving_api(ScriptedRecogniser()) as (_, call):
        await call(b"", "/api/documents/1", "GET")
        response = await call(b"", "/metrics", "GET")
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    assert b'pagemill_requests_total{route="/api/documents/{id}",status="404"} 1.0' in response.body


@pytest.mark.parametrize(
    ("head", "status"),
    [
        pytest.param("Host: \xff", 403, id="host-not-ascii"),
        pytest.param("Host: localhost\r\nExpect: something", 400, id="unknown-expectation"),
        pytest.param("Host: localhost\r\nCookie: \xff=;;==\x01", 400, id="control-character"),
        pytest.param("Host: localhost\r\nContent-Encoding: br", 400, id="encoding-other-than-the-body-s"),
    ],
)
async def test_odd_headers_get_a_documented_4xx(head: str, status: int) -> None:
    async with serving_api(ScriptedRecogniser()) as (url, _), raw_request(url, head) as reader, asyncio.timeout(10):
        assert int((await reader.readline()).split()[1]) == status


async def test_a_caller_without_calls_does_not_make_the_server_fetch_urls(tmp_path: Path) -> None:
    """An image that cannot be fetched costs no call."""
    url, fetched = "https://images.example/1.png", list[str]()

    async def fetch(url: str) -> bytes:
        fetched.append(url)
        if len(fetched) == 1:
            raise RequestError("document.image_url cannot be fetched")
        return IMAGE

    secret, key = make_key(tmp_path / "keys.sqlite3", quota=1)
    body = request_body(document={"type": "image_url", "image_url": url})
    async with keyed_server(tmp_path / "keys.sqlite3", fetch=fetch) as client:
        statuses = [
            (await client.call("POST", f"{TEXT_RECOGNITION_PATH}?key={secret}", body, JSON)).status for _ in range(3)
        ]
    assert statuses == [400, 200, 403]
    assert fetched == [url, url]
    assert used(tmp_path / "keys.sqlite3", key) == 1


def test_a_kept_reply_is_found_by_its_caller_only() -> None:
    """The id is not secret; the text is."""
    replies = RecentReplies()
    replies.keep("anna", "1", b"text")
    assert replies.find("anna", "1") == b"text"
    assert replies.find("ben", "1") is None
    assert replies.find("anna", "2") is None


def test_beyond_the_maximum_number_the_oldest_reply_is_dropped() -> None:
    replies = RecentReplies(max_replies=2)
    for i in range(3):
        replies.keep(f"caller {i}", str(i), b"text")
    assert [replies.find(f"caller {i}", str(i)) for i in range(3)] == [None, b"text", b"text"]
    assert repr(replies) == "<RecentReplies 2, 8 bytes>"


def test_a_reply_larger_than_the_limit_is_not_kept() -> None:
    replies = RecentReplies(max_bytes=4)
    replies.keep("anna", "1", b"text!")
    assert len(replies) == 0
    replies.keep("anna", "2", b"text")
    assert replies.find("anna", "2") == b"text"


@given(st.lists(st.binary(max_size=30), max_size=30), st.integers(1, 10), st.integers(1, 100))
def test_kept_replies_never_exceed_number_and_size_and_are_the_latest(
    responses: list[bytes], max_replies: int, max_bytes: int
) -> None:
    replies = RecentReplies(max_replies, max_bytes)
    for i, response in enumerate(responses):
        replies.keep("anna", str(i), response)
        kept = [replies.find("anna", str(j)) for j in range(i + 1)]
        found = [one for one in kept if one is not None]
        assert len(found) == len(replies) <= max_replies
        assert sum(map(len, found)) <= max_bytes
        fitting = [one for one, response in zip(kept, responses, strict=False) if len(response) <= max_bytes]
        assert fitting[len(fitting) - len(found) :] == found
