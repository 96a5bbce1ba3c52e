"""The HTTP application by its contract, over real connections, with a scripted recogniser."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Any

import pytest
from aiohttp import ClientSession
from PIL import Image

from pipeline.engine.recognition import EngineState, Recogniser, RecognitionError
from pipeline.errors import TruncatedImageError
from pipeline.server.access.access import Access
from pipeline.server.api.app import create_app
from pipeline.wire import TEXT_RECOGNITION_PATH, parse_reply, parse_status_text
from tests.rendering import encode
from tests.server.serving import IMAGE, KEY, Answer, ScriptedRecogniser, request_body, serving

NOW_MS = 1640995200000


Call = Callable[..., Awaitable[Answer]]


@asynccontextmanager
async def served(
    recogniser: Recogniser, *, key: str | None = None, access: Access | None = None, **parts: Any
) -> AsyncIterator[tuple[str, Call]]:
    """Serve the application; yield its base URL and a function that calls it."""
    app = create_app(recogniser, access or Access(key=key), now_ms=lambda: NOW_MS, **parts)
    async with serving(app) as url, ClientSession() as session:

        async def call(body: bytes, path: str = TEXT_RECOGNITION_PATH, method: str = "POST", **options: Any) -> Answer:
            data = BytesIO(body) if body else None
            async with session.request(method, url + path, data=data, **options) as response:
                return Answer(response.status, dict(response.headers), await response.read())

        yield url, call


async def test_a_page_is_answered_with_all_six_documented_fields() -> None:
    """The golden reply of the contract's part 1."""
    recogniser = ScriptedRecogniser("第一行\nline two")
    async with served(recogniser) as (url, call):
        answer = await call(request_body(), headers={"Content-Type": "application/json"})
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert len(answer.reply.pop("id")) == 36
    expected = {
        "filename": "scan 1.png",
        "content": "第一行\nline two",
        "format": "text",
        "timestamp": NOW_MS,
        "payload": f"{url}/api/text-recognition",
    }
    assert {name: value for name, value in answer.reply.items() if name != "id"} == expected
    assert parse_reply(answer.body).content == "第一行\nline two"
    assert recogniser.seen == [IMAGE]


async def test_the_key_never_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    """The payload names the endpoint with the key's value masked; no log line holds it either."""
    caplog.set_level(logging.DEBUG)
    async with served(ScriptedRecogniser(), key=KEY) as (url, call):
        answer = await call(request_body(), f"{TEXT_RECOGNITION_PATH}?key={KEY}")
        refused = await call(b"{", f"{TEXT_RECOGNITION_PATH}?key={KEY}")
        lost = await call(b"", f"/elsewhere?key={KEY}")
    assert answer.reply["payload"] == f"{url}/api/text-recognition?key=***"
    assert (refused.status, lost.status) == (400, 404)
    assert KEY.encode() not in answer.body + refused.body + lost.body
    assert KEY not in caplog.text


@pytest.mark.parametrize("query", ["", "?key=", "?key=wrong", f"?KEY={KEY}", f"?key={KEY}x"])
async def test_a_wrong_or_missing_key_is_unauthorized(query: str) -> None:
    """401, before anything of the body is looked at."""
    recogniser = ScriptedRecogniser()
    async with served(recogniser, key=KEY) as (_, call):
        answer = await call(b"{", TEXT_RECOGNITION_PATH + query)
    assert (answer.status, parse_status_text(answer.body)) == (401, "Unauthorized: invalid or missing API key")
    assert recogniser.seen == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(b"{", "not valid JSON", id="malformed"),
        pytest.param(b"{}", "document", id="no-document"),
        pytest.param(request_body(document={"type": "image_url", "image_url": "*"}), "base64", id="bad-base64"),
        pytest.param(
            request_body(document={"type": "image_url", "image_url": "https://a/b.png"}),
            "URLs is not enabled",
            id="url",
        ),
        pytest.param(request_body(b"text"), "no image", id="not-an-image"),
        pytest.param(request_body(encode(Image.new("L", (200, 200)), "TIFF")), "TIFF", id="unsupported-format"),
        pytest.param(request_body(bytes(10 * 1024 * 1024 + 1)), "larger than 10 MB", id="image-too-large"),
        pytest.param(request_body(bytes(13 * 1024 * 1024)), "body is larger", id="body-too-large"),
        pytest.param(request_body(encode(Image.new("L", (99, 400)))), "at least 100x100", id="too-small"),
        pytest.param(request_body(encode(Image.new("L", (4001, 400)))), "at most 4000x4000", id="too-wide"),
    ],
)
async def test_a_bad_request_is_400_and_never_reaches_the_engine(body: bytes, message: str) -> None:
    """Every refusal has the contract's body and says why."""
    recogniser = ScriptedRecogniser()
    async with served(recogniser) as (_, call):
        answer = await call(body)
    assert answer.status == 400
    assert message in parse_status_text(answer.body)
    assert recogniser.seen == []


async def test_an_image_of_exactly_ten_mib_is_taken() -> None:
    """The server's limit is 10 MiB of the decoded file."""
    image = IMAGE + bytes(10 * 1024 * 1024 - len(IMAGE))
    async with served(ScriptedRecogniser()) as (_, call):
        assert (await call(request_body(image))).status == 200


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        pytest.param(TruncatedImageError("the image is truncated"), 400, "the image is truncated", id="truncated"),
        pytest.param(RecognitionError("worker 17 died"), 500, "Internal Server Error: processing failed", id="engine"),
        pytest.param(ZeroDivisionError("secret path"), 500, "Internal Server Error: processing failed", id="bug"),
    ],
)
async def test_a_failure_inside_tells_the_caller_no_details(error: Exception, status: int, message: str) -> None:
    """The page's fault is a 400 with its reason, everything else a 500 without one."""
    async with served(ScriptedRecogniser(error)) as (_, call):
        answer = await call(request_body())
    assert (answer.status, answer.reply) == (status, {"statusText": message})


async def test_a_body_that_cannot_be_decompressed_is_the_callers_fault() -> None:
    """Content-Encoding says gzip, the body does not."""
    async with served(ScriptedRecogniser()) as (_, call):
        answer = await call(b"not gzip", headers={"Content-Encoding": "gzip"}, compress=None)
    assert (answer.status, answer.reply) == (400, {"statusText": "request body cannot be decoded"})


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", TEXT_RECOGNITION_PATH, 405, "Method Not Allowed"),
        ("POST", "/healthz", 405, "Method Not Allowed"),
        ("POST", "/api/elsewhere", 404, "Not Found"),
    ],
)
async def test_unknown_paths_and_methods_are_told_in_json(method: str, path: str, status: int, message: str) -> None:
    """Clients parse one kind of error body only."""
    async with served(ScriptedRecogniser()) as (_, call):
        answer = await call(b"", path, method)
    assert (answer.status, answer.reply) == (status, {"statusText": message})
    assert ("Allow" in answer.headers) == (status == 405)


async def test_without_a_configured_key_any_key_or_none_is_taken() -> None:
    """So that the vendor's examples run unchanged against a server on loopback."""
    async with served(ScriptedRecogniser()) as (_, call):
        assert (await call(request_body(), f"{TEXT_RECOGNITION_PATH}?key=anything")).status == 200
        assert (await call(request_body())).status == 200


async def test_health_needs_no_key() -> None:
    """A probe asks without credentials."""
    async with served(ScriptedRecogniser(), key=KEY) as (_, call):
        answer = await call(b"", "/healthz", "GET")
    assert (answer.status, answer.reply) == (200, {"status": "ok", "workers": 1, "queue": 0})


@pytest.mark.parametrize(
    ("state", "status", "message"),
    [
        pytest.param(EngineState(2, waiting=7), 200, "ok", id="busy"),
        pytest.param(EngineState(1, is_failing=True), 200, "ok", id="one-of-two-cannot-be-replaced"),
        pytest.param(EngineState(0, waiting=3), 503, "starting", id="being-replaced"),
        pytest.param(EngineState(0, is_failing=True), 503, "failing", id="cannot-be-replaced"),
    ],
)
async def test_health_tells_whether_a_worker_runs(state: EngineState, status: int, message: str) -> None:
    """503 keeps a balancer's requests away, for as long as no page can be read."""
    async with served(ScriptedRecogniser(), engine_state=lambda: state) as (_, call):
        answer = await call(b"", "/healthz", "GET")
    expected = {"status": message, "workers": state.workers, "queue": state.waiting}
    assert (answer.status, answer.reply) == (status, expected)


async def test_a_request_without_a_name_gets_an_empty_one_back() -> None:
    """`filename` is text in the contract."""
    async with served(ScriptedRecogniser()) as (_, call):
        assert (await call(request_body(filename=None))).reply["filename"] == ""
