"""The HTTP application by its contract, over real connections, with a scripted recogniser."""

import logging

import pytest
from PIL import Image

from pipeline.engine.recognition import EngineState, RecognitionError
from pipeline.errors import TruncatedImageError
from pipeline.wire import TEXT_RECOGNITION_PATH, parse_reply, parse_status_text
from tests.rendering import encode
from tests.server.serving import IMAGE, KEY, NOW_MS, ScriptedRecogniser, request_body, serving_api


async def test_a_reply_has_the_six_documented_fields() -> None:
    recogniser = ScriptedRecogniser("第一行\nline two")
    async with serving_api(recogniser) as (url, call):
        response = await call(request_body(), headers={"Content-Type": "application/json"})
    assert response.status == 200
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    assert len(response.reply.pop("id")) == 36
    expected = {
        "filename": "scan 1.png",
        "content": "第一行\nline two",
        "format": "text",
        "timestamp": NOW_MS,
        "payload": f"{url}/api/text-recognition",
    }
    assert {name: value for name, value in response.reply.items() if name != "id"} == expected
    assert parse_reply(response.body).content == "第一行\nline two"
    assert recogniser.seen == [IMAGE]


async def test_no_response_and_no_log_line_has_the_key(caplog: pytest.LogCaptureFixture) -> None:
    """The reply's `payload` has the URL of the call with the key's value masked."""
    caplog.set_level(logging.DEBUG)
    async with serving_api(ScriptedRecogniser(), key=KEY) as (url, call):
        response = await call(request_body(), f"{TEXT_RECOGNITION_PATH}?key={KEY}")
        bad = await call(b"{", f"{TEXT_RECOGNITION_PATH}?key={KEY}")
        unknown = await call(b"", f"/elsewhere?key={KEY}")
    assert response.reply["payload"] == f"{url}/api/text-recognition?key=***"
    assert (bad.status, unknown.status) == (400, 404)
    assert KEY.encode() not in response.body + bad.body + unknown.body
    assert KEY not in caplog.text


@pytest.mark.parametrize("query", ["", "?key=", "?key=wrong", f"?KEY={KEY}", f"?key={KEY}x"])
async def test_a_wrong_or_missing_key_is_unauthorized(query: str) -> None:
    """The body is not parsed."""
    recogniser = ScriptedRecogniser()
    async with serving_api(recogniser, key=KEY) as (_, call):
        response = await call(b"{", TEXT_RECOGNITION_PATH + query)
    assert (response.status, parse_status_text(response.body)) == (401, "Unauthorized: invalid or missing API key")
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
    recogniser = ScriptedRecogniser()
    async with serving_api(recogniser) as (_, call):
        response = await call(body)
    assert response.status == 400
    assert message in parse_status_text(response.body)
    assert recogniser.seen == []


async def test_an_image_of_exactly_ten_mib_is_accepted() -> None:
    """The API's contract, "Is 10 MB of the file or of the base64?"."""
    image = IMAGE + bytes(10 * 1024 * 1024 - len(IMAGE))
    async with serving_api(ScriptedRecogniser()) as (_, call):
        assert (await call(request_body(image))).status == 200


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        pytest.param(TruncatedImageError("the image is truncated"), 400, "the image is truncated", id="truncated"),
        pytest.param(RecognitionError("worker 17 died"), 500, "Internal Server Error: processing failed", id="engine"),
        pytest.param(ZeroDivisionError("secret path"), 500, "Internal Server Error: processing failed", id="bug"),
    ],
)
async def test_an_internal_error_is_a_500_without_details(error: Exception, status: int, message: str) -> None:
    """An error of the page is a 400 with its reason."""
    async with serving_api(ScriptedRecogniser(error)) as (_, call):
        response = await call(request_body())
    assert (response.status, response.reply) == (status, {"statusText": message})


async def test_a_body_that_does_not_match_its_content_encoding_is_400() -> None:
    async with serving_api(ScriptedRecogniser()) as (_, call):
        response = await call(b"not gzip", headers={"Content-Encoding": "gzip"}, compress=None)
    assert (response.status, response.reply) == (400, {"statusText": "request body cannot be decoded"})


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", TEXT_RECOGNITION_PATH, 405, "Method Not Allowed"),
        ("POST", "/healthz", 405, "Method Not Allowed"),
        ("POST", "/api/elsewhere", 404, "Not Found"),
    ],
)
async def test_unknown_paths_and_methods_get_the_contract_s_error_reply(
    method: str, path: str, status: int, message: str
) -> None:
    async with serving_api(ScriptedRecogniser()) as (_, call):
        response = await call(b"", path, method)
    assert (response.status, response.reply) == (status, {"statusText": message})
    assert ("Allow" in response.headers) == (status == 405)


async def test_without_a_configured_key_any_key_or_none_is_accepted() -> None:
    """The vendor's examples then run unchanged against a server on loopback."""
    async with serving_api(ScriptedRecogniser()) as (_, call):
        assert (await call(request_body(), f"{TEXT_RECOGNITION_PATH}?key=anything")).status == 200
        assert (await call(request_body())).status == 200


async def test_health_needs_no_key() -> None:
    async with serving_api(ScriptedRecogniser(), key=KEY) as (_, call):
        response = await call(b"", "/healthz", "GET")
    assert (response.status, response.reply) == (200, {"status": "ok", "workers": 1, "queue": 0})


@pytest.mark.parametrize(
    ("state", "status", "message"),
    [
        pytest.param(EngineState(2, waiting=7), 200, "ok", id="busy"),
        pytest.param(EngineState(1, is_failing=True), 200, "ok", id="one-of-two-cannot-be-replaced"),
        pytest.param(EngineState(0, waiting=3), 503, "starting", id="being-replaced"),
        pytest.param(EngineState(0, is_failing=True), 503, "failing", id="cannot-be-replaced"),
    ],
)
async def test_health_is_503_while_no_worker_runs(state: EngineState, status: int, message: str) -> None:
    """Load balancers send no requests to a server that responses 503."""
    async with serving_api(ScriptedRecogniser(), engine_state=lambda: state) as (_, call):
        response = await call(b"", "/healthz", "GET")
    expected = {"status": message, "workers": state.workers, "queue": state.waiting}
    assert (response.status, response.reply) == (status, expected)


async def test_the_reply_to_a_request_without_a_name_has_an_empty_name() -> None:
    """`filename` is text in the API's contract."""
    async with serving_api(ScriptedRecogniser()) as (_, call):
        assert (await call(request_body(filename=None))).reply["filename"] == ""
